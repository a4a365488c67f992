//! Watching a profile go by.

use atb_measurements::{Failure, Header, Record, Statistics};

use crate::error::ProfileError;
use crate::plan::Item;

/// Watches a profile go by.
pub trait Observer {
    /// The agent is ready; `done` of the plan's `total` measurements are already in the file.
    fn ready(&mut self, header: &Header, done: usize, total: usize);
    /// A measurement begins.
    fn begin(&mut self, item: &Item);
    /// A measurement is in the file.
    fn measured(&mut self, record: &Record, statistics: &Statistics);
    /// The agent is gone and will be started again.
    fn lost(&mut self, error: &ProfileError);
    /// An item was given up, which is in the file, or left out because another item of the
    /// same subject was.
    fn gave_up(&mut self, failure: &Failure);
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn ready(&mut self, _: &Header, _: usize, _: usize) {}
    fn begin(&mut self, _: &Item) {}
    fn measured(&mut self, _: &Record, _: &Statistics) {}
    fn lost(&mut self, _: &ProfileError) {}
    fn gave_up(&mut self, _: &Failure) {}
}
