//! Profile, predict, search, extract and export tiny BERTs for a latency budget.
fn main() {}
