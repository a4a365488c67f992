//! Which sub-architectures a step trains, and which are watched.

use atb_space::{Architecture, Layer, Sampler, Space, SpaceError};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::random::{Purpose, generator};

/// Architectures of a space that a panel holds besides its smallest and its largest.
const BETWEEN: usize = 4;

/// What a step trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SubModels {
    /// One-shot training: some sub-architectures of a space, drawn anew in every step.
    OneShot {
        /// The space; only what the model contains of it is drawn.
        space: Space,
        /// How many a step.
        per_step: usize,
        /// Whether the space's largest and smallest architecture are always among them.
        sandwich: bool,
    },
    /// Further training of one architecture.
    Fixed(Architecture),
}

impl SubModels {
    /// The same, limited to what a model of the shape `largest` contains.
    pub(super) fn within(&self, largest: &Architecture) -> Result<Self, TrainError> {
        let Self::OneShot { space, per_step, sandwich } = self else {
            return Ok(self.clone());
        };
        let problem = match (per_step, sandwich) {
            (0, _) => "is 0, expected at least 1 sub-model a step",
            (1, true) => "is 1, too few for the largest and the smallest of sandwich sampling",
            _ => {
                let space = space.within(largest)?;
                return Ok(Self::OneShot { space, per_step: *per_step, sandwich: *sandwich });
            }
        };
        Err(TrainError::Setting { key: "sub_models.per_step", problem: problem.to_owned() })
    }

    /// The architectures of a step.
    pub(super) fn of_step(&self, seed: u64, step: u64) -> Result<Vec<Architecture>, SpaceError> {
        match self {
            Self::Fixed(arch) => Ok(vec![arch.clone()]),
            Self::OneShot { space, per_step, sandwich } => {
                let mut chosen =
                    if *sandwich { vec![largest(space)?, smallest(space)?] } else { Vec::new() };
                let seed = generator(seed, Purpose::Sampling, step).next_u64();
                chosen.extend(Sampler::new(space, seed).take(per_step - chosen.len()));
                Ok(chosen)
            }
        }
    }
}

/// A fixed panel of architectures across what a model of the shape `whole` contains of a
/// space: the smallest, four between, and the largest.
///
/// # Errors
/// [`SpaceError`] if the model contains none of the space.
pub fn default_panel(space: &Space, whole: &Architecture) -> Result<Vec<Architecture>, SpaceError> {
    let space = space.within(whole)?;
    let mut panel = vec![smallest(&space)?];
    panel.extend(Sampler::new(&space, 0).take(BETWEEN));
    panel.push(largest(&space)?);
    panel.dedup();
    Ok(panel)
}

fn smallest(space: &Space) -> Result<Architecture, SpaceError> {
    let heads =
        space.heads.values().find_map(|heads| Some((heads, space.qkv.sizes(heads).next()?)));
    corner(space, space.layers.min, space.hidden.min, space.intermediate.min, heads)
}

fn largest(space: &Space) -> Result<Architecture, SpaceError> {
    let heads = space
        .heads
        .values()
        .rev()
        .find_map(|heads| Some((heads, space.qkv.sizes(heads).next_back()?)));
    let last = |range: atb_space::Range| range.last().unwrap_or_default();
    corner(space, last(space.layers), last(space.hidden), last(space.intermediate), heads)
}

fn corner(
    space: &Space,
    layers: usize,
    hidden: usize,
    intermediate: usize,
    heads: Option<(usize, usize)>,
) -> Result<Architecture, SpaceError> {
    heads
        .and_then(|(heads, qkv)| {
            Architecture::uniform(layers, hidden, Layer { intermediate, heads, qkv }).ok()
        })
        .ok_or_else(|| SpaceError::EmptyRange {
            space: space.name.clone(),
            what: "its corners",
            problem: "no number of heads divides any q|k|v size".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandwich_steps_hold_the_corners_and_a_draw_of_their_own() {
        let whole: Architecture = "6-384-1536-12-384".parse().expect("an architecture");
        let one_shot = |per_step, sandwich| SubModels::OneShot {
            space: Space::paper_kd(),
            per_step,
            sandwich,
        };
        let sub_models = one_shot(3, true).within(&whole).expect("fits");
        let ids = |step| -> Vec<String> {
            let chosen = sub_models.of_step(7, step).expect("draws");
            chosen.iter().map(Architecture::id).collect()
        };
        assert_eq!(ids(4)[..2], ["6-384-1536-12-384", "1-128-128-12-180"]);
        assert_eq!(ids(4), ids(4));
        assert_ne!(ids(4)[2], ids(5)[2]);
        assert_eq!(ids(4).len(), 3);

        for (per_step, sandwich) in [(0, false), (1, true)] {
            let error = one_shot(per_step, sandwich).within(&whole).expect_err("refused");
            assert!(error.to_string().starts_with("training setting `sub_models.per_step` is"));
        }
    }

    #[test]
    fn a_panel_spans_the_space() {
        let whole: Architecture = "4-256-1024-12-252".parse().expect("an architecture");
        let panel = default_panel(&Space::paper_kd(), &whole).expect("fits");
        assert_eq!(panel.len(), 6);
        assert_eq!(panel[0].id(), "1-128-128-12-180");
        assert_eq!(panel[5].id(), "4-256-1024-12-252");
    }
}
