//! What the main job tells whoever watches it.

/// Hears what the main job does. The command line shows it to people.
pub trait Reporter: Send {
    /// A step begins; `detail` says what it works on.
    fn step(&mut self, name: &str, detail: &str);
    /// The step's inputs are what they were: its result is kept.
    fn kept(&mut self);
    /// Counted work begins: `done` of `total` are there already.
    fn begin(&mut self, done: u64, total: u64);
    /// One more is done; `message` says how it looks.
    fn advance(&mut self, message: &str);
    /// So many are done; `message` says how it looks.
    fn reach(&mut self, done: u64, message: &str);
    /// The counted work is done.
    fn end(&mut self);
    /// A result worth a line.
    fn result(&mut self, text: &str);
    /// Something that lessens what the results are worth.
    fn warn(&mut self, text: &str);
}

/// A reporter that says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Reporter for Quiet {
    fn step(&mut self, _: &str, _: &str) {}
    fn kept(&mut self) {}
    fn begin(&mut self, _: u64, _: u64) {}
    fn advance(&mut self, _: &str) {}
    fn reach(&mut self, _: u64, _: &str) {}
    fn end(&mut self) {}
    fn result(&mut self, _: &str) {}
    fn warn(&mut self, _: &str) {}
}
