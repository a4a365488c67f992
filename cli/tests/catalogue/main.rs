//! A catalogue of bad inputs: each ends `atb` with status 1 and a message that names the place and
//! the remedy, before a device is asked for anything and without a file left behind.
//!
//! The messages are snapshots, one file for each kind of input. To add an input, add a case to its
//! kind's list and accept its message.

#![cfg(unix)]

mod case;
mod configurations;
mod fixtures;
mod flags;
mod measurements;
mod models;
mod onnx;
mod predictors;
mod proto;
mod runs;
mod targets;
mod tasks;
mod trainings;
