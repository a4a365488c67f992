//! What of a measurement is of interest: its latency, its memory, or its load time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{FileError, MeasurementFile, Record};

/// A measured property of an architecture on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Time of one run, in milliseconds.
    #[default]
    Latency,
    /// Memory that the model takes at its peak, building included, in MiB.
    Memory,
    /// Time to optimise and load the model, in milliseconds.
    LoadTime,
}

impl Quantity {
    /// Every quantity.
    pub const ALL: [Self; 3] = [Self::Latency, Self::Memory, Self::LoadTime];

    /// The unit of its values.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Latency | Self::LoadTime => "ms",
            Self::Memory => "MiB",
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::LoadTime => "load-time",
        })
    }
}

/// A name that is no quantity's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("there is no quantity `{0}`: there are latency, memory and load-time")]
pub struct UnknownQuantity(String);

impl FromStr for Quantity {
    type Err = UnknownQuantity;

    fn from_str(name: &str) -> Result<Self, UnknownQuantity> {
        let named = |quantity: &Self| quantity.to_string() == name;
        Self::ALL.into_iter().find(named).ok_or_else(|| UnknownQuantity(name.to_owned()))
    }
}

impl MeasurementFile {
    /// A record's value of `quantity` in the quantity's unit; `None` if the device did not
    /// tell.
    ///
    /// # Errors
    /// As [`MeasurementFile::latency_ms`].
    pub fn value(&self, record: &Record, quantity: Quantity) -> Result<Option<f64>, FileError> {
        let value = match quantity {
            Quantity::Latency => Some(self.latency_ms(record)?),
            Quantity::Memory => record.model_memory_kib().map(|kib| kib as f64 / 1024.0),
            Quantity::LoadTime => record.load_ms(),
        };
        Ok(value.filter(|value| *value > 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_names() {
        for quantity in Quantity::ALL {
            assert_eq!(quantity.to_string().parse(), Ok(quantity));
            let json = serde_json::to_string(&quantity).expect("serialises");
            assert_eq!(json, format!("\"{quantity}\""));
        }
        let error = "weight".parse::<Quantity>().expect_err("refused").to_string();
        assert!(error.contains("`weight`"), "{error}");
    }
}
