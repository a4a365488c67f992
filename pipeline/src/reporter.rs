//! What the main job tells whoever watches it.

/// Something that happens in the main job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A step begins; `detail` says what it works on.
    Step {
        /// The step.
        name: &'a str,
        /// What it works on.
        detail: &'a str,
    },
    /// The step's inputs are what they were: its result is kept.
    Kept,
    /// Counted work begins: `done` of `total` are there already.
    Begin {
        /// How many are there.
        done: u64,
        /// How many there will be.
        total: u64,
    },
    /// One more is done; the text says how it looks.
    Advance(&'a str),
    /// So many are done; `message` says how it looks.
    Reach {
        /// How many are done.
        done: u64,
        /// How it looks.
        message: &'a str,
    },
    /// The counted work is done.
    End,
    /// A result worth a line.
    Result(&'a str),
    /// Something that lessens what the results are worth.
    Warning(&'a str),
}

/// Hears what the main job does. The command line shows it to people.
pub trait Reporter: Send {
    /// Something happens.
    fn event(&mut self, event: Event<'_>);
}

/// A word for each event.
impl dyn Reporter + '_ {
    /// [`Event::Step`].
    pub fn step(&mut self, name: &str, detail: &str) {
        self.event(Event::Step { name, detail });
    }

    /// [`Event::Kept`].
    pub fn kept(&mut self) {
        self.event(Event::Kept);
    }

    /// [`Event::Begin`].
    pub fn begin(&mut self, done: u64, total: u64) {
        self.event(Event::Begin { done, total });
    }

    /// [`Event::Advance`].
    pub fn advance(&mut self, message: &str) {
        self.event(Event::Advance(message));
    }

    /// [`Event::Reach`].
    pub fn reach(&mut self, done: u64, message: &str) {
        self.event(Event::Reach { done, message });
    }

    /// [`Event::End`].
    pub fn end(&mut self) {
        self.event(Event::End);
    }

    /// [`Event::Result`].
    pub fn result(&mut self, text: &str) {
        self.event(Event::Result(text));
    }

    /// [`Event::Warning`].
    pub fn warn(&mut self, text: &str) {
        self.event(Event::Warning(text));
    }
}

/// A reporter that says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Reporter for Quiet {
    fn event(&mut self, _: Event<'_>) {}
}
