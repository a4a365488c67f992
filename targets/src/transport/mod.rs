//! The ways to reach a device. A new one is a file in this folder and its line in the list
//! below; whatever uses transports sees them through [`TransportKind`] alone.

mod adb;
mod command;
mod emulated;
mod kind;
mod local;
mod simulated;
mod ssh;

use std::ops::{Deref, DerefMut};

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use adb::{Adb, AdbDevice, adb_devices};
pub use command::CommandTransport;
pub use emulated::Emulated;
pub use kind::{Discovery, TransportKind};
pub use local::Local;
pub use simulated::Simulated;
pub use ssh::Ssh;

/// Reads something that has a transport's settings in it.
pub(crate) trait TransportReader {
    /// What is read.
    type Output;

    /// Reads it with settings of the type `T`; `wrap` makes the transport of them.
    fn read<T: DeserializeOwned>(self, wrap: fn(T) -> Transport) -> Self::Output;
}

macro_rules! transports {
    ($($(#[$documentation:meta])* $kind:literal => $variant:ident($settings:ty),)*) => {
        /// How to reach a device.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Transport {
            $($(#[$documentation])* $variant($settings),)*
        }

        /// The transports by the name that `kind` gives them.
        #[derive(Clone, Copy, Deserialize)]
        pub(crate) enum KindName {
            $(#[serde(rename = $kind)] $variant,)*
        }

        impl KindName {
            /// Reads with the settings of this transport.
            pub(crate) fn read<R: TransportReader>(self, reader: R) -> R::Output {
                match self {
                    $(Self::$variant => reader.read::<$settings>(Transport::$variant),)*
                }
            }
        }

        impl Transport {
            /// The kind, as a target file names it.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $kind,)*
                }
            }
        }

        impl Deref for Transport {
            type Target = dyn TransportKind;

            fn deref(&self) -> &Self::Target {
                match self {
                    $(Self::$variant(settings) => settings,)*
                }
            }
        }

        impl DerefMut for Transport {
            fn deref_mut(&mut self) -> &mut Self::Target {
                match self {
                    $(Self::$variant(settings) => settings,)*
                }
            }
        }
    };
}

transports! {
    /// A process on this machine.
    "local" => Local(Local),
    /// A machine with an SSH server.
    "ssh" => Ssh(Ssh),
    /// An Android device.
    "adb" => Adb(Adb),
    /// Whatever a program of this machine gives a shell on.
    "command" => Command(CommandTransport),
    /// An emulated processor on this machine.
    "emulated" => Emulated(Emulated),
    /// No device at all, only a cost model with noise.
    "simulated" => Simulated(Simulated),
}
