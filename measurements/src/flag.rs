//! What a reader must know about a measurement, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something about a record that a reader must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// There is no device, only a cost model.
    Simulated,
    /// The processor is emulated.
    Emulated,
    /// The run times had not settled when the warm-up ended.
    ColdStart,
    /// The ratio's confidence interval stayed wider than the protocol asks for.
    Noisy,
    /// Other programs took the processor away for more than 5 % of the time.
    Preempted,
    /// The device changed its speed by more than 10 %, and no cooling down helped.
    Drift,
    /// The device was slower than at the start because it got hot or short of power.
    Throttled,
    /// Runs took place on cores of different kinds.
    Migrated,
    /// The cores change their frequency as they like.
    UnlockedClocks,
    /// The battery is nearly empty and the device not on external power.
    LowBattery,
}

impl Flag {
    /// Every flag, the gravest first.
    pub const ALL: [Self; 10] = [
        Self::Simulated,
        Self::Emulated,
        Self::Migrated,
        Self::Noisy,
        Self::ColdStart,
        Self::Throttled,
        Self::Drift,
        Self::Preempted,
        Self::UnlockedClocks,
        Self::LowBattery,
    ];

    /// Whether it says that no device is behind the numbers.
    #[must_use]
    pub fn means_no_device(self) -> bool {
        matches!(self, Self::Simulated | Self::Emulated)
    }

    /// The flag's name, as files have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Emulated => "emulated",
            Self::ColdStart => "cold-start",
            Self::Noisy => "noisy",
            Self::Preempted => "preempted",
            Self::Drift => "drift",
            Self::Throttled => "throttled",
            Self::Migrated => "migrated",
            Self::UnlockedClocks => "unlocked-clocks",
            Self::LowBattery => "low-battery",
        }
    }

    /// What the flag says and what to do about it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Simulated => {
                "a cost model made these numbers, no device; measure on a device for real ones"
            }
            Self::Emulated => {
                "the processor is emulated, its times say nothing about a device; measure on one"
            }
            Self::ColdStart => {
                "run times had not settled when the warm-up ended; raise warm_up.max_runs"
            }
            Self::Noisy => {
                "the ratio's confidence interval stayed wide; close other programs or raise \
                 max_pairs and max_seconds"
            }
            Self::Preempted => {
                "other programs took the processor away for more than 5 % of the time; the ratio \
                 is of processor times and holds, but close them for numbers as an app has them"
            }
            Self::Drift => {
                "the device's speed moved by more than 10 %; let it rest, fix its clock, or stop \
                 other work on it"
            }
            Self::Throttled => {
                "the device slowed itself down, being hot or short of power; cool it, give it a \
                 better power supply, or fix its clock at a frequency that it can hold"
            }
            Self::Migrated => {
                "runs took place on cores of different kinds; pin them with `cores` in the \
                 target file"
            }
            Self::UnlockedClocks => {
                "the cores change their frequency as they like; set the governor to \
                 `performance`, or the lowest and the highest frequency to the same value"
            }
            Self::LowBattery => {
                "the battery is nearly empty, which makes phones save power; connect a charger"
            }
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_files_and_every_text_has_a_remedy() {
        for flag in Flag::ALL {
            let json = serde_json::to_string(&flag).expect("serialises");
            assert_eq!(json, format!("\"{flag}\""));
            assert!(flag.text().contains([';', ',']), "{flag}: {}", flag.text());
        }
        let mut all = Flag::ALL.to_vec();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), Flag::ALL.len());
    }
}
