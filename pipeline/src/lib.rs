//! The main job, step by step: configuration, up-to-date checks, report.
