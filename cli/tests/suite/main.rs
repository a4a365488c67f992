//! The program as a user runs it.

mod bad_input;
mod job;
mod profiles;
mod run;
