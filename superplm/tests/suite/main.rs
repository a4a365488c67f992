//! Loading, running, cutting and scoring models, as one test program.

mod common;
mod data;
mod elastic;
mod finetuning;
mod folders;
mod layouts;
mod ranks;
mod reference;
mod scoring;
mod training;
