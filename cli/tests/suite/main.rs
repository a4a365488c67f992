//! The program as a user runs it.

mod bad_input;
mod devices;
#[cfg(unix)]
mod documentation;
mod evaluate;
mod finetune;
mod first_steps;
mod job;
#[cfg(unix)]
mod liars;
mod locks;
mod profiles;
mod run;
mod train;
