//! Where a training computes.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::ops::Engine;

/// Where a training computes its steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// The processor, with all threads.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; only in a program that was built with the feature `cuda`.
    Cuda,
}

impl Accelerator {
    /// Refuses an accelerator that this program was not built for.
    pub(crate) fn check(self) -> Result<(), TrainError> {
        match self {
            Self::Cuda if !cfg!(feature = "cuda") => Err(TrainError::NoCuda),
            Self::Cpu | Self::Cuda => Ok(()),
        }
    }

    /// Opens it.
    pub(crate) fn engine(self) -> Result<Engine, TrainError> {
        self.check()?;
        match self {
            Self::Cpu => Ok(Engine::cpu()),
            Self::Cuda => {
                let failed = |error: candle_core::Error| {
                    let text = error.to_string();
                    let problem = text.lines().next().unwrap_or_default().to_owned();
                    TrainError::Accelerator { accelerator: self.to_string(), problem }
                };
                Ok(Engine::composite(Device::new_cuda(0).map_err(failed)?))
            }
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

impl FromStr for Accelerator {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Cpu, Self::Cuda]
            .into_iter()
            .find(|accelerator| accelerator.to_string() == name)
            .ok_or_else(|| "expected `cpu` or `cuda`".to_owned())
    }
}
