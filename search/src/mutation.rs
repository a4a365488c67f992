//! Changes to an architecture: a step or two on the grids of its sizes.

use atb_settings::{Check, Checked};
use atb_space::{Architecture, Layer, QkvSize, Range, Space};
use rand::{Rng, RngExt};
use serde::{Deserialize, Deserializer, Serialize};

/// How one size changes: with `probability`, by up to `reach` steps of `step` up or down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gene {
    /// Probability that the size changes at all.
    pub probability: f64,
    /// Most steps in either direction.
    pub reach: usize,
    /// Size of a step; rounded to the space's grid, and at least one grid step.
    pub step: usize,
}

/// How every size changes. The defaults are those of the paper's implementation; what a
/// configuration leaves out of a size keeps that size's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mutation {
    /// Number of layers.
    pub layers: Gene,
    /// Hidden size.
    pub hidden: Gene,
    /// Intermediate size.
    pub intermediate: Gene,
    /// Attention heads, where the space lets them range.
    pub heads: Gene,
    /// q|k|v size, where it does not follow from the heads.
    pub qkv: Gene,
}

impl Default for Mutation {
    fn default() -> Self {
        Self {
            layers: Gene { probability: 0.25, reach: 1, step: 1 },
            hidden: Gene { probability: 0.5, reach: 1, step: 16 },
            intermediate: Gene { probability: 0.5, reach: 2, step: 32 },
            heads: Gene { probability: 0.25, reach: 2, step: 1 },
            qkv: Gene { probability: 0.25, reach: 2, step: 12 },
        }
    }
}

impl<'de> Deserialize<'de> for Mutation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Written {
            layers: WrittenGene,
            hidden: WrittenGene,
            intermediate: WrittenGene,
            heads: WrittenGene,
            qkv: WrittenGene,
        }

        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct WrittenGene {
            probability: Option<f64>,
            reach: Option<usize>,
            step: Option<usize>,
        }

        let over = |written: WrittenGene, default: Gene| Gene {
            probability: written.probability.unwrap_or(default.probability),
            reach: written.reach.unwrap_or(default.reach),
            step: written.step.unwrap_or(default.step),
        };
        let (written, default) = (Written::deserialize(deserializer)?, Self::default());
        Ok(Self {
            layers: over(written.layers, default.layers),
            hidden: over(written.hidden, default.hidden),
            intermediate: over(written.intermediate, default.intermediate),
            heads: over(written.heads, default.heads),
            qkv: over(written.qkv, default.qkv),
        })
    }
}

impl Checked for Gene {
    fn check(&self, at: &mut Check) {
        at.range("probability", self.probability, 0.0..=1.0);
        at.range("reach", self.reach, 0..=1_000);
        at.range("step", self.step, 0..=100_000);
    }
}

impl Checked for Mutation {
    fn check(&self, at: &mut Check) {
        at.nested("layers", &self.layers);
        at.nested("hidden", &self.hidden);
        at.nested("intermediate", &self.intermediate);
        at.nested("heads", &self.heads);
        at.nested("qkv", &self.qkv);
    }
}

impl Gene {
    /// The size `value` after the change; a step that would leave `range` is not taken.
    fn apply(self, value: usize, range: Range, rng: &mut impl Rng) -> usize {
        if !rng.random_bool(self.probability) {
            return value;
        }
        let reach = self.reach as i64;
        let grid_steps = (self.step / range.step.max(1)).max(1) * range.step;
        let offset = rng.random_range(-reach..=reach) * grid_steps as i64;
        match value.checked_add_signed(offset as isize) {
            Some(changed) if range.contains(changed) => changed,
            _ => value,
        }
    }
}

impl Mutation {
    /// A changed copy of `arch` that lies in `space`, or an equal one. Where the space
    /// allows it every layer changes on its own.
    pub(crate) fn apply(
        &self,
        arch: &Architecture,
        space: &Space,
        rng: &mut impl Rng,
    ) -> Option<Architecture> {
        let num_layers = self.layers.apply(arch.num_layers(), space.layers, rng);
        let hidden = self.hidden.apply(arch.hidden(), space.hidden, rng);
        let old = |index: usize| arch.layers()[index.min(arch.num_layers() - 1)];
        let layers = if space.per_layer {
            (0..num_layers).map(|index| self.layer(old(index), space, rng)).collect()
        } else {
            vec![self.layer(old(0), space, rng); num_layers]
        };
        Architecture::new(hidden, layers).ok()
    }

    fn layer(&self, layer: Layer, space: &Space, rng: &mut impl Rng) -> Layer {
        let intermediate = self.intermediate.apply(layer.intermediate, space.intermediate, rng);
        let heads = self.heads.apply(layer.heads, space.heads, rng);
        let wanted = match space.qkv {
            QkvSize::Total(range) => self.qkv.apply(layer.qkv, range, rng),
            QkvSize::PerHead(fixed) => fixed.per_head * heads,
        };
        let nearest = space.qkv.sizes(heads).min_by_key(|size| size.abs_diff(wanted));
        match nearest {
            Some(qkv) => Layer { intermediate, heads, qkv },
            None => Layer { intermediate, ..layer },
        }
    }
}

/// An architecture with each size from either parent, both of which lie in `space`; in a
/// space whose layers differ, each layer from either.
pub(crate) fn cross(
    first: &Architecture,
    second: &Architecture,
    space: &Space,
    rng: &mut impl Rng,
) -> Option<Architecture> {
    let mut pick = |a: usize, b: usize| if rng.random_bool(0.5) { a } else { b };
    let num_layers = pick(first.num_layers(), second.num_layers());
    let hidden = pick(first.hidden(), second.hidden());
    let mut layer = |index: usize| {
        let at = |arch: &Architecture| arch.layers()[index.min(arch.num_layers() - 1)];
        let (a, b) = (at(first), at(second));
        let intermediate = pick(a.intermediate, b.intermediate);
        // Heads and q|k|v size go together: one must divide the other.
        let (heads, qkv) = if pick(0, 1) == 0 { (a.heads, a.qkv) } else { (b.heads, b.qkv) };
        Layer { intermediate, heads, qkv }
    };
    let layers = if space.per_layer {
        (0..num_layers).map(layer).collect()
    } else {
        vec![layer(0); num_layers]
    };
    Architecture::new(hidden, layers).ok()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn mutants_stay_in_the_space_and_near_their_parent() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let per_layer = Space { per_layer: true, ..Space::paper_kd() };
        let both = Space {
            heads: Range::new(1, 12, 1),
            qkv: QkvSize::Total(Range::new(180, 768, 4)),
            ..Space::paper_kd()
        };
        for (space, id) in [
            (Space::paper_mlm(), "5-564-1024-8-512"),
            (Space::paper_kd(), "8-768-3072-12-768"),
            (per_layer, "3-320-[608,608,512]-12-252"),
            (both, "4-320-640-7-252"),
        ] {
            let parent: Architecture = id.parse().expect(id);
            let mut changed = 0;
            for _ in 0..500 {
                let child =
                    Mutation::default().apply(&parent, &space, &mut rng).expect("an architecture");
                space.check(&child).expect("lies in the space");
                assert!(child.num_layers().abs_diff(parent.num_layers()) <= 1);
                assert!(child.hidden().abs_diff(parent.hidden()) <= 16);
                let (ours, theirs) = (child.layers()[0], parent.layers()[0]);
                assert!(ours.intermediate.abs_diff(theirs.intermediate) <= 64);
                changed += usize::from(child != parent);
            }
            assert!(changed > 200, "{changed} of 500 mutants of {id} differ from it");
        }
    }

    #[test]
    fn a_crossing_takes_every_size_from_a_parent() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (a, b): (Architecture, Architecture) = (
            "3-320-640-12-252".parse().expect("parses"),
            "6-512-1024-12-384".parse().expect("parses"),
        );
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let child = cross(&a, &b, &Space::paper_kd(), &mut rng).expect("an architecture");
            let layer = child.uniform_layer().expect("layers alike");
            assert!([3, 6].contains(&child.num_layers()) && [320, 512].contains(&child.hidden()));
            assert!([640, 1024].contains(&layer.intermediate) && [252, 384].contains(&layer.qkv));
            seen.insert(child);
        }
        assert_eq!(seen.len(), 16, "every combination turns up");
    }
}
