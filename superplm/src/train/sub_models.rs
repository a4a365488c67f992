//! Which sub-architectures a step trains, and which are watched.

use atb_settings::{Check, Checked};
use atb_space::{Architecture, Layer, Sampler, Space, SpaceError};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::random::{Purpose, generator};

/// Architectures of a space that a panel holds besides its smallest and its largest.
const BETWEEN: usize = 4;

/// What a step trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SubModels {
    /// One-shot training: some sub-architectures of a space, drawn in every step.
    OneShot {
        /// The space; only what the model contains of it is drawn.
        space: Space,
        /// How many a step.
        per_step: usize,
        /// Whether the space's largest and smallest architecture are always among them.
        sandwich: bool,
        /// Probability with which each width of a drawn architecture (hidden size,
        /// intermediate size, q|k|v size) is the space's largest instead; its depth stays.
        /// On a fine grid the columns that only the largest widths have are else hardly
        /// ever trained in a shallow sub-model.
        #[serde(default)]
        max_width_probability: f64,
    },
    /// Further training of one architecture.
    Fixed(Architecture),
}

impl Checked for SubModels {
    fn check(&self, at: &mut Check) {
        if let Self::OneShot { per_step, sandwich, max_width_probability, .. } = *self {
            let least = if sandwich { 2 } else { 1 };
            at.range("per_step", per_step, least..=1000);
            at.range("max_width_probability", max_width_probability, 0.0..=1.0);
        }
    }
}

impl SubModels {
    /// The same, limited to what a model of the shape `largest` contains.
    pub(super) fn within(&self, largest: &Architecture) -> Result<Self, TrainError> {
        let mut limited = self.clone();
        let Self::OneShot { space, .. } = &mut limited else {
            return Ok(limited);
        };
        *space = space.within(largest)?;
        Ok(limited)
    }

    /// The architectures of a step.
    pub(super) fn of_step(&self, seed: u64, step: u64) -> Result<Vec<Architecture>, SpaceError> {
        match self {
            Self::Fixed(arch) => Ok(vec![arch.clone()]),
            Self::OneShot { space, per_step, sandwich, max_width_probability } => {
                let mut chosen =
                    if *sandwich { vec![largest(space)?, smallest(space)?] } else { Vec::new() };
                let mut rng = generator(seed, Purpose::Sampling, step);
                let drawn = Sampler::new(space, rng.next_u64()).take(per_step - chosen.len());
                chosen
                    .extend(drawn.map(|arch| widen(arch, space, *max_width_probability, &mut rng)));
                Ok(chosen)
            }
        }
    }
}

/// `arch` with each of its widths the largest of `space` with the probability `share`; in a
/// space of uniform architectures for all layers at once.
fn widen(arch: Architecture, space: &Space, share: f64, rng: &mut impl Rng) -> Architecture {
    let mut or_largest = |size: usize, largest: Option<usize>| {
        if rng.random_bool(share) { largest.unwrap_or(size) } else { size }
    };
    let hidden = or_largest(arch.hidden(), space.hidden.last());
    let mut widened = |layer: &Layer| Layer {
        intermediate: or_largest(layer.intermediate, space.intermediate.last()),
        qkv: or_largest(layer.qkv, space.qkv.sizes(layer.heads).next_back()),
        heads: layer.heads,
    };
    let layers = match arch.layers() {
        [first, ..] if !space.per_layer => vec![widened(first); arch.num_layers()],
        layers => layers.iter().map(widened).collect(),
    };
    Architecture::new(hidden, layers).unwrap_or(arch)
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
    use crate::TrainSettings;

    #[test]
    fn sandwich_steps_hold_the_corners_and_a_draw_of_their_own() {
        let whole: Architecture = "6-384-1536-12-384".parse().expect("an architecture");
        let one_shot = |per_step, sandwich| SubModels::OneShot {
            space: Space::paper_kd(),
            per_step,
            sandwich,
            max_width_probability: 0.0,
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
            let settings = TrainSettings::new(one_shot(per_step, sandwich), Vec::new(), 10, 1);
            let error = settings.checked().expect_err("refused").to_string();
            assert!(error.starts_with("`one_shot.per_step` is"), "{error}");
        }
    }

    #[test]
    fn widths_are_at_their_largest_as_often_as_asked() {
        let space = Space::paper_kd();
        let whole: Architecture = "8-768-3072-12-768".parse().expect("an architecture");
        for per_layer in [false, true] {
            let sub_models = |max_width_probability| {
                let space = Space { per_layer, ..space.clone() };
                SubModels::OneShot { space, per_step: 100, sandwich: false, max_width_probability }
                    .within(&whole)
            };
            let steps = sub_models(0.3).expect("fits");
            let drawn: Vec<Architecture> =
                (0..20).flat_map(|step| steps.of_step(3, step).expect("draws")).collect();
            let share = |largest: &dyn Fn(&Architecture) -> bool| {
                drawn.iter().filter(|&arch| largest(arch)).count() as f64 / drawn.len() as f64
            };
            let widest = largest(&space).expect("a corner");
            let hidden = share(&|arch| arch.hidden() == widest.hidden());
            let qkv = share(&|arch| arch.layers()[0].qkv == widest.layers()[0].qkv);
            let full_depth = share(&|arch| arch.num_layers() == 8);
            assert!((hidden - 0.32).abs() < 0.04, "{hidden}");
            assert!((qkv - 0.32).abs() < 0.04, "{qkv}");
            assert!((full_depth - 0.125).abs() < 0.03, "{full_depth}");
            let uniform =
                |arch: &Architecture| arch.layers().iter().all(|l| *l == arch.layers()[0]);
            assert!(drawn.iter().all(|arch| per_layer || uniform(arch)));
            let settings = TrainSettings::new(sub_models(1.5).expect("fits"), Vec::new(), 10, 1);
            let error = settings.checked().expect_err("refused").to_string();
            assert!(error.contains("`one_shot.max_width_probability` is 1.5"), "{error}");
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
