//! Which architectures exist: the paper's two spaces and custom ones.

use serde::{Deserialize, Serialize};

use crate::{Architecture, Layer, Range};

/// How the total q|k|v size follows from the other sizes, or ranges on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected { per_head = .. }, a whole number or { min = .., max = .., step = .. }"
)]
pub enum QkvSize {
    /// A fixed size a head, the MLM space's way: `dq = per_head * h`.
    PerHead(PerHead),
    /// A range of total sizes, the KD space's way.
    Total(Range),
}

/// The table `{ per_head = 64 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerHead {
    /// Width of one head.
    pub per_head: usize,
}

impl QkvSize {
    /// A fixed size a head.
    #[must_use]
    pub const fn per_head(per_head: usize) -> Self {
        Self::PerHead(PerHead { per_head })
    }

    /// The sizes that `heads` heads may have: those of the range that `heads` divides.
    pub fn sizes(self, heads: usize) -> impl DoubleEndedIterator<Item = usize> + Clone {
        let range = match self {
            Self::PerHead(PerHead { per_head }) => Range::one(per_head * heads),
            Self::Total(range) => range,
        };
        range.values().filter(move |qkv| qkv.is_multiple_of(heads))
    }

    fn contains(self, heads: usize, qkv: usize) -> bool {
        match self {
            Self::PerHead(PerHead { per_head }) => per_head * heads == qkv,
            Self::Total(range) => range.contains(qkv),
        }
    }
}

/// A search space: the grid of every hyper-parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// What the space is called in files and messages.
    pub name: String,
    /// Number of layers, `L`.
    pub layers: Range,
    /// Hidden size, `dm`.
    pub hidden: Range,
    /// Intermediate size, `df`.
    pub intermediate: Range,
    /// Attention heads, `h`.
    pub heads: Range,
    /// Total q|k|v size, `dq`.
    pub qkv: QkvSize,
    /// Whether layers may differ in intermediate size, heads and q|k|v size.
    #[serde(default)]
    pub per_layer: bool,
}

/// Why an architecture is not in a space, or a space is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SpaceError {
    #[error("{arch} is not in the space `{space}`: {what} is {value}, the space has {allowed}")]
    Outside { arch: String, space: String, what: String, value: usize, allowed: String },
    #[error(
        "{arch} is not in the space `{space}`: its layers differ, the space's are alike (per_layer = false)"
    )]
    LayersDiffer { arch: String, space: String },
    #[error("the space `{space}` has no value for {what}: {problem}")]
    EmptyRange { space: String, what: &'static str, problem: String },
    #[error("in the space `{space}`, {what} goes up to {max}; it may go up to {most}")]
    TooLarge { space: String, what: &'static str, max: usize, most: usize },
    #[error(
        "the space `{space}` has {count} architectures, more than the {most} that one is searched of"
    )]
    #[diagnostic(help("give its ranges larger steps"))]
    TooMany { space: String, count: u64, most: u64 },
}

fn describe(range: Range) -> String {
    match range.last() {
        Some(last) if last == range.min => format!("{last}"),
        Some(last) => format!("{}..{last} in steps of {}", range.min, range.step),
        None => "no value".to_owned(),
    }
}

/// The most architectures with equal layers that a space may have: a search looks at each of
/// them. The paper's have about 50 and 11 million.
const MOST: u64 = 1_000_000_000_000;
/// The most heads.
const MAX_HEADS: usize = 1024;

impl Space {
    /// The paper's space for masked language modelling: heads of 64.
    #[must_use]
    pub fn paper_mlm() -> Self {
        Self {
            name: "mlm".to_owned(),
            layers: Range::new(1, 8, 1),
            hidden: Range::new(128, 768, 4),
            intermediate: Range::new(128, 3072, 4),
            heads: Range::new(1, 12, 1),
            qkv: QkvSize::per_head(64),
            per_layer: false,
        }
    }

    /// The paper's space for distillation: twelve heads of any size.
    #[must_use]
    pub fn paper_kd() -> Self {
        Self {
            name: "kd".to_owned(),
            heads: Range::one(12),
            qkv: QkvSize::Total(Range::new(180, 768, 12)),
            ..Self::paper_mlm()
        }
    }

    /// One of the paper's spaces by its name, `mlm` or `kd`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "mlm" => Some(Self::paper_mlm()),
            "kd" => Some(Self::paper_kd()),
            _ => None,
        }
    }

    /// The sub-space whose architectures a SuperPLM of the shape `largest` contains.
    ///
    /// # Errors
    /// [`SpaceError::EmptyRange`] if nothing is left.
    pub fn within(&self, largest: &Architecture) -> Result<Self, SpaceError> {
        let smallest =
            |size: fn(&Layer) -> usize| largest.layers().iter().map(size).min().unwrap_or_default();
        let space = Self {
            layers: self.layers.at_most(largest.num_layers()),
            hidden: self.hidden.at_most(largest.hidden()),
            intermediate: self.intermediate.at_most(smallest(|layer| layer.intermediate)),
            heads: self.heads.at_most(smallest(|layer| layer.heads)),
            qkv: match self.qkv {
                QkvSize::Total(range) => QkvSize::Total(range.at_most(smallest(|layer| layer.qkv))),
                fixed @ QkvSize::PerHead(_) => fixed,
            },
            ..self.clone()
        };
        space.validate()?;
        if let QkvSize::PerHead(PerHead { per_head }) = space.qkv {
            let head_size = smallest(Layer::head_size);
            if per_head > head_size {
                return Err(SpaceError::EmptyRange {
                    space: self.name.clone(),
                    what: "the q|k|v size",
                    problem: format!(
                        "it asks for heads of {per_head}, {largest} has heads of {head_size}"
                    ),
                });
            }
        }
        Ok(space)
    }

    /// Checks that the space holds at least one architecture, and not more than can be looked at.
    ///
    /// # Errors
    /// [`SpaceError::EmptyRange`] naming the first hyper-parameter that has no value,
    /// [`SpaceError::TooLarge`] and [`SpaceError::TooMany`].
    pub fn validate(&self) -> Result<(), SpaceError> {
        let empty = |what, problem: String| SpaceError::EmptyRange {
            space: self.name.clone(),
            what,
            problem,
        };
        let too_large =
            |what, max, most| SpaceError::TooLarge { space: self.name.clone(), what, max, most };
        let most = Architecture::MAX_SIZE;
        let ranges = [
            ("layers", self.layers, Architecture::MAX_LAYERS),
            ("hidden", self.hidden, most),
            ("intermediate", self.intermediate, most),
            ("heads", self.heads, MAX_HEADS),
        ];
        let total = match self.qkv {
            QkvSize::Total(range) => Some(("qkv", range, most)),
            QkvSize::PerHead(PerHead { per_head: 0 }) => {
                return Err(empty("qkv", "per_head is 0".to_owned()));
            }
            QkvSize::PerHead(PerHead { per_head }) if per_head > most / MAX_HEADS => {
                return Err(too_large("qkv per head", per_head, most / MAX_HEADS));
            }
            QkvSize::PerHead(_) => None,
        };
        for (what, range, most) in ranges.into_iter().chain(total) {
            let Range { min, max, step } = range;
            if max > most {
                return Err(too_large(what, max, most));
            }
            if step == 0 {
                return Err(empty(what, "its step is 0".to_owned()));
            }
            if min == 0 {
                return Err(empty(what, "its minimum is 0".to_owned()));
            }
            if range.is_empty() {
                return Err(empty(what, format!("its minimum {min} is above its maximum {max}")));
            }
        }
        if self.heads.values().all(|heads| self.qkv.sizes(heads).next().is_none()) {
            return Err(empty("qkv", "no number of heads divides any of its sizes".to_owned()));
        }
        let count = self.count_uniform();
        if count > MOST {
            return Err(SpaceError::TooMany { space: self.name.clone(), count, most: MOST });
        }
        Ok(())
    }

    /// Checks that `arch` is in the space.
    ///
    /// # Errors
    /// [`SpaceError`] naming the first size that is not.
    pub fn check(&self, arch: &Architecture) -> Result<(), SpaceError> {
        let outside = |what: String, value, allowed| SpaceError::Outside {
            arch: arch.id(),
            space: self.name.clone(),
            what,
            value,
            allowed,
        };
        let on_grid = |what: &str, value, range: Range| {
            if range.contains(value) {
                Ok(())
            } else {
                Err(outside(what.to_owned(), value, describe(range)))
            }
        };
        on_grid("the number of layers", arch.num_layers(), self.layers)?;
        on_grid("the hidden size", arch.hidden(), self.hidden)?;
        for layer in arch.layers() {
            on_grid("the intermediate size", layer.intermediate, self.intermediate)?;
            on_grid("the number of attention heads", layer.heads, self.heads)?;
            if !self.qkv.contains(layer.heads, layer.qkv) {
                let allowed = match self.qkv {
                    QkvSize::PerHead(PerHead { per_head }) => format!("{per_head} a head"),
                    QkvSize::Total(range) => describe(range),
                };
                return Err(outside("the q|k|v size".to_owned(), layer.qkv, allowed));
            }
        }
        if !self.per_layer && arch.uniform_layer().is_none() {
            return Err(SpaceError::LayersDiffer { arch: arch.id(), space: self.name.clone() });
        }
        Ok(())
    }

    /// Every layer shape of the space: all intermediate sizes by all heads and q|k|v sizes.
    pub fn layer_shapes(&self) -> impl Iterator<Item = Layer> + Clone + '_ {
        self.heads.values().flat_map(move |heads| {
            self.qkv.sizes(heads).flat_map(move |qkv| {
                self.intermediate.values().map(move |intermediate| Layer {
                    intermediate,
                    heads,
                    qkv,
                })
            })
        })
    }

    /// Number of architectures whose layers are all alike.
    #[must_use]
    pub fn count_uniform(&self) -> u64 {
        let shapes: usize = self.heads.values().map(|heads| self.qkv.sizes(heads).count()).sum();
        [self.layers.len(), self.hidden.len(), self.intermediate.len(), shapes]
            .into_iter()
            .fold(1, |count, size| count.saturating_mul(size as u64))
    }

    /// Every architecture whose layers are all alike, in a fixed order: by layers, then
    /// hidden size, heads, q|k|v size and intermediate size.
    pub fn enumerate_uniform(&self) -> impl Iterator<Item = Architecture> + '_ {
        self.layers.values().flat_map(move |num_layers| {
            self.hidden.values().flat_map(move |hidden| {
                self.layer_shapes()
                    .filter_map(move |layer| Architecture::uniform(num_layers, hidden, layer).ok())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_the_papers_spaces() {
        // 8 layers x 161 hidden sizes x 737 intermediate sizes x 12 heads, or 50 q|k|v sizes.
        assert_eq!(Space::paper_mlm().count_uniform(), 8 * 161 * 737 * 12);
        assert_eq!(Space::paper_kd().count_uniform(), 8 * 161 * 737 * 50);
    }

    #[test]
    fn enumeration_agrees_with_the_count_and_the_check() {
        let space = Space {
            name: "small".to_owned(),
            layers: Range::new(1, 3, 1),
            hidden: Range::new(128, 160, 16),
            intermediate: Range::new(256, 512, 128),
            heads: Range::new(2, 4, 1),
            qkv: QkvSize::Total(Range::new(60, 72, 4)),
            per_layer: false,
        };
        let all: Vec<Architecture> = space.enumerate_uniform().collect();
        assert_eq!(all.len() as u64, space.count_uniform());
        assert!(all.iter().all(|arch| space.check(arch).is_ok()));
        let distinct: std::collections::BTreeSet<&Architecture> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn published_architectures_are_where_the_paper_has_them() {
        // KD-S1..S4 and S2..S4 lie on the grids; the published S1 does not (1054 is no multiple of 4).
        for id in ["5-564-1024-12-528", "5-324-600-12-324", "5-280-512-12-276", "4-256-480-12-192"]
        {
            Space::paper_kd().check(&id.parse().expect(id)).expect(id);
        }
        for id in ["4-396-624-6-384", "4-432-384-4-256", "3-320-608-4-256"] {
            Space::paper_mlm().check(&id.parse().expect(id)).expect(id);
        }
        let s1 = "5-564-1054-8-512".parse().expect("parses");
        assert_eq!(
            Space::paper_mlm().check(&s1).expect_err("off the grid").to_string(),
            "5-564-1054-8-512 is not in the space `mlm`: the intermediate size is 1054, \
             the space has 128..3072 in steps of 4"
        );
    }

    #[test]
    fn a_super_plm_bounds_the_space() {
        let minilm = "6-384-1536-12-384".parse().expect("parses");
        let space = Space::paper_kd().within(&minilm).expect("something is left");
        assert_eq!(space.layers.last(), Some(6));
        assert_eq!(space.hidden.last(), Some(384));
        assert_eq!(space.qkv, QkvSize::Total(Range::new(180, 384, 12)));
        let error = Space::paper_mlm().within(&minilm).expect_err("heads of 64 are too wide");
        assert_eq!(
            error.to_string(),
            "the space `mlm` has no value for the q|k|v size: it asks for heads of 64, \
             6-384-1536-12-384 has heads of 32"
        );
    }

    #[test]
    fn a_space_from_toml() {
        let text = r#"
            name = "phone"
            layers = { min = 2, max = 6 }
            hidden = { min = 128, max = 384, step = 16 }
            intermediate = { min = 256, max = 1536, step = 32 }
            heads = 12
            qkv = { min = 180, max = 384, step = 12 }
        "#;
        let space: Space = toml::from_str(text).expect("parses");
        assert_eq!(space.layers, Range::new(2, 6, 1));
        assert_eq!(space.heads, Range::one(12));
        let again: Space =
            toml::from_str(&toml::to_string(&space).expect("prints")).expect("parses again");
        assert_eq!(space, again);

        let error = toml::from_str::<Space>(&text.replace("step = 16", "stride = 16"))
            .expect_err("unknown key");
        assert!(error.to_string().contains("hidden ="), "{error}");
        let empty: Space = toml::from_str(&text.replace("max = 1536", "max = 15")).expect("parses");
        assert_eq!(
            empty.validate().expect_err("empty").to_string(),
            "the space `phone` has no value for intermediate: its minimum 256 is above its maximum 15"
        );
        let error = |from: &str, to: &str| {
            let space: Space = toml::from_str(&text.replace(from, to)).expect("parses");
            space.validate().expect_err("too much").to_string()
        };
        assert_eq!(
            error("max = 1536", "max = 9223372036854775807"),
            "in the space `phone`, intermediate goes up to 9223372036854775807; it may go up to 1048576"
        );
        let many = text.replace("max = 384", "max = 1048576").replace("step = 16", "step = 1");
        let many = many.replace("max = 1536", "max = 1048576").replace("step = 32", "step = 1");
        let space: Space = toml::from_str(&many).expect("parses");
        let error = space.validate().expect_err("too many").to_string();
        assert!(error.contains("more than the 1000000000000 that one is searched of"), "{error}");
    }
}
