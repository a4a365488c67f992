//! The one interface to every kind of device.

use std::path::Path;

use crate::connection::Connection;
use crate::error::TargetError;

/// A device within reach: files go there and back, and the agent is started on it.
///
/// What is pushed stays on the device, so that it need not be pushed again, until
/// [`Device::clean_up`]. Nothing runs there longer than its [`Connection`].
pub trait Device: Send {
    /// What kind of machine it is, as `uname -m` names it.
    fn machine(&self) -> &str;

    /// Starts the agent, pushed before if the device lacks it.
    ///
    /// # Errors
    /// [`TargetError`] if there is no agent for the device or it cannot be brought there.
    fn connect(&self) -> Result<Box<dyn Connection>, TargetError>;

    /// Brings the file `local` to the device under `name`, unless it is there already with
    /// the same content, and returns its path there. On this machine that is the file itself.
    ///
    /// # Errors
    /// [`TargetError`] if it cannot be read or the device has no room for it.
    fn push(&self, local: &Path, name: &str) -> Result<String, TargetError>;

    /// Fetches the file at `path` of the device to `local`.
    ///
    /// # Errors
    /// [`TargetError`] if it is not there or cannot be written here.
    fn pull(&self, path: &str, local: &Path) -> Result<(), TargetError>;

    /// Removes what was pushed under `name`, if it is there.
    ///
    /// # Errors
    /// [`TargetError`] if the device refuses.
    fn remove(&self, name: &str) -> Result<(), TargetError>;

    /// Removes everything that was ever pushed.
    ///
    /// # Errors
    /// [`TargetError`] if the device refuses.
    fn clean_up(&self) -> Result<(), TargetError>;
}
