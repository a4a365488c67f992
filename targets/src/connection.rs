//! What a running agent looks like to the host: lines in, lines out.

use std::io;

/// A running agent at the other end of a line-wise connection.
pub trait Connection: Send {
    /// Sends one line.
    ///
    /// # Errors
    /// If the agent no longer listens.
    fn send(&mut self, line: &str) -> io::Result<()>;

    /// Waits for the next line; `None` once the agent has ended.
    ///
    /// # Errors
    /// If the connection breaks, nothing comes for too long, or the line is too long or not
    /// UTF-8.
    fn receive(&mut self) -> io::Result<Option<String>>;

    /// Ends the agent and says how it ended: its exit status and the last lines of its
    /// error output.
    fn end(&mut self) -> String;
}
