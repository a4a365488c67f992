//! Searches on a made-up device with a made-up loss.

mod common;
mod searching;
mod strategies;
