//! Drives the agent on a target and keeps the measurement file.
