//! What a transport does.

use atb_settings::Check;

use crate::deployment::Deployment;
use crate::device::Device;
use crate::error::TargetError;

/// Which devices a transport finds by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// The one that its settings describe.
    Itself,
    /// Those at these addresses.
    At(Vec<String>),
    /// None; a device is asked for by its address, or has a target file of its own.
    ByAddress,
}

/// What a transport does. Its settings are the type that implements this, and only
/// [`TransportKind::open`] has no default.
pub trait TransportKind {
    /// Reaches the device.
    ///
    /// # Errors
    /// [`TargetError`] if it does not answer.
    fn open(&self, deployment: &Deployment) -> Result<Box<dyn Device>, TargetError>;

    /// States the range of every value of its settings.
    fn check(&self, _at: &mut Check) {}

    /// Takes the address of `NAME@ADDRESS`; `false` if it has none.
    fn set_address(&mut self, _address: &str) -> bool {
        false
    }

    /// Looks for devices.
    fn discover(&self) -> Discovery {
        Discovery::Itself
    }

    /// Where the device keeps what is pushed, if the target file does not say.
    fn default_folder(&self) -> &'static str {
        "~/.cache/autotinybert"
    }

    /// Whether the device is this machine itself.
    fn is_this_machine(&self) -> bool {
        false
    }

    /// Whether it is a machine of its own, on which a `runner` may start the agent.
    fn is_remote(&self) -> bool {
        false
    }

    /// Whether the running `atb` is the agent, where the target file names no other.
    fn agent_is_atb(&self) -> bool {
        false
    }

    /// Whether there is anything that runs models.
    fn has_engine(&self) -> bool {
        true
    }

    /// How to keep the device's clocks at one frequency.
    fn how_to_lock_clocks(&self) -> &'static str {
        "on the device: echo performance | sudo tee \
         /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    }
}
