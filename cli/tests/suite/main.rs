//! The program as a user runs it.

mod bad_input;
mod devices;
mod evaluate;
mod finetune;
mod job;
mod locks;
mod profiles;
mod run;
mod train;
