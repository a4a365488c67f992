//! What an app embeds: a tract session.

mod session;

pub use session::{ENGINE, Inputs, Kernel, Outputs, Session, SessionError};
