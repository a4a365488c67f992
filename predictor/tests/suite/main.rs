//! Predictors fitted on measurement files of a made-up device.

mod calibrating;
mod common;
mod fitting;
mod kinds;
mod refining;
