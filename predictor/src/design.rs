//! Choosing what to measure: architectures that tell the most about a predictor's
//! coefficients, and in active rounds those it is least sure of.

use std::collections::BTreeSet;

use atb_space::{Architecture, Layer, Sampler, Space, Workload};

use crate::features::{COUNT, Features, Machine, Setting, needs_several_workloads};
use crate::linear;
use crate::model::Model as _;
use crate::predictor::Predictor;

/// Architectures sampled from the space, of which the design chooses. A larger sample, or
/// all corners, would fill the choice with extremes, where the features are least true.
const POOL: usize = 250;
/// Weight of what is believed before anything is measured, relative to one measurement;
/// small, so that it only keeps the first few choices well defined.
const PRIOR: f64 = 1e-3;
/// What is assumed of the device before anything is known of it: sizes that suit this
/// machine suit those with smaller tiles and rows as well.
const ASSUMED: Machine = Machine { tile_rows: 16, row_chunk: 64 };
/// Share of the choices that fill the space evenly instead of telling the most, so that
/// the features' own errors show as well.
const FILLING: f64 = 0.4;

/// Chooses `count` architectures of `space` to measure beside those `measured` already, in
/// the order to measure them: every first part of the list is a good choice too.
///
/// First come the smallest and the largest, so that everything lies between what was
/// measured; then, out of a sample of the space, [`choose_among`] has the choice. The same
/// arguments give the same choice. Fewer than `count` come back only if the space holds no
/// more.
#[must_use]
pub fn choose(
    space: &Space,
    workload: Workload,
    count: usize,
    seed: u64,
    measured: &[Architecture],
) -> Vec<Architecture> {
    let known: BTreeSet<&Architecture> = measured.iter().collect();
    let mut chosen: Vec<Architecture> =
        corners(space).into_iter().filter(|arch| !known.contains(arch)).take(count).collect();
    let measured: Vec<Architecture> = measured.iter().chain(&chosen).cloned().collect();
    let rest = count - chosen.len();
    chosen.extend(choose_among(&pool(space, seed, rest), space, workload, rest, &measured));
    chosen
}

/// Chooses `count` architectures among those of `pool`, in the order to measure them.
///
/// Most are chosen one after the other as the one that shrinks the coefficients'
/// confidence region most (a D-optimal design on the structured model's features, in
/// relative error), the rest as the one farthest from everything chosen (maximin).
#[must_use]
pub fn choose_among(
    pool: &[Architecture],
    space: &Space,
    workload: Workload,
    count: usize,
    measured: &[Architecture],
) -> Vec<Architecture> {
    let setting = Setting { machine: ASSUMED, workload };
    let mut design = Design::new(pool, space, measured, |arch| relative(setting, arch));
    (0..count)
        .map_while(|index| {
            let fills = ((index + 1) as f64 * FILLING) as usize > (index as f64 * FILLING) as usize;
            if fills { design.farthest() } else { design.most_telling(|_| 1.0) }
        })
        .collect()
}

/// Chooses `count` architectures for another round: those whose measurement lowers the
/// predictor's uncertainty most where it matters. `focus` is the band of values a
/// search looks at; outside it nothing is chosen as long as there is something inside.
#[must_use]
pub fn choose_next(
    predictor: &Predictor,
    count: usize,
    seed: u64,
    measured: &[Architecture],
    focus: Option<(f64, f64)>,
) -> Vec<Architecture> {
    let model = &predictor.model;
    let workload = predictor.workload();
    let setting = Setting { machine: predictor.machines().at(workload), workload };
    let features = |arch: &Architecture| {
        let predicted = model.value(arch, workload);
        setting.of(arch).map(|value| value / predicted)
    };
    let space = &predictor.space;
    let mut design = Design::new(&pool(space, seed, count), space, measured, features);
    let matters = |arch: &Architecture| match focus {
        Some((low, high)) if !(low..=high).contains(&model.value(arch, workload)) => 1e-6,
        _ => model.uncertainty(arch, workload),
    };
    (0..count).map_while(|_| design.most_telling(matters)).collect()
}

/// A sample of the space to choose `count` from.
fn pool(space: &Space, seed: u64, count: usize) -> Vec<Architecture> {
    let mut pool: BTreeSet<Architecture> = BTreeSet::new();
    let wanted = POOL.max(2 * count);
    // A small space may hold less than is wanted; draws beyond this find little more.
    for arch in Sampler::new(space, seed).take(20 * wanted) {
        pool.insert(arch);
        if pool.len() == wanted {
            break;
        }
    }
    pool.into_iter().collect()
}

/// An architecture that could be measured.
struct Candidate {
    arch: Architecture,
    features: Features,
    place: Vec<f64>,
    /// Squared distance to the nearest chosen one.
    distance: f64,
}

/// The choice so far.
struct Design {
    pool: Vec<Candidate>,
    /// Inverse of the information matrix of everything chosen.
    inverse: Vec<Vec<f64>>,
    /// Features that vary over the pool, and what each is divided by.
    scale: Features,
}

impl Design {
    fn new(
        pool: &[Architecture],
        space: &Space,
        measured: &[Architecture],
        features: impl Fn(&Architecture) -> Features,
    ) -> Self {
        let known: BTreeSet<&Architecture> = measured.iter().collect();
        let distinct: BTreeSet<&Architecture> =
            pool.iter().filter(|arch| !known.contains(arch)).collect();
        let pool: Vec<Candidate> = distinct
            .into_iter()
            .map(|arch| Candidate {
                arch: arch.clone(),
                features: features(arch),
                place: place(space, arch),
                distance: f64::INFINITY,
            })
            .collect();
        let mut scale = [0.0; COUNT];
        for (index, scale) in scale.iter_mut().enumerate() {
            let squares: f64 = pool.iter().map(|option| option.features[index].powi(2)).sum();
            if squares > 0.0 && !needs_several_workloads(index) {
                *scale = (squares / pool.len() as f64).sqrt().recip();
            }
        }
        let mut inverse = vec![vec![0.0; COUNT]; COUNT];
        for (index, row) in inverse.iter_mut().enumerate() {
            row[index] = 1.0 / PRIOR;
        }
        let mut design = Self { pool, inverse, scale };
        for arch in measured {
            design.learn(&features(arch), &place(space, arch));
        }
        design
    }

    /// Takes the option that lowers the coefficients' uncertainty most, `weight` times.
    fn most_telling(&mut self, weight: impl Fn(&Architecture) -> f64) -> Option<Architecture> {
        let gains = self.pool.iter().map(|option| {
            let x = self.scaled(&option.features);
            weight(&option.arch) * linear::dot(&x, &self.times(&x))
        });
        let best = gains.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?.0;
        Some(self.take(best))
    }

    /// Takes the option that lies farthest from everything chosen.
    fn farthest(&mut self) -> Option<Architecture> {
        let distances = self.pool.iter().map(|option| option.distance);
        let best = distances.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?.0;
        Some(self.take(best))
    }

    fn take(&mut self, index: usize) -> Architecture {
        let option = self.pool.swap_remove(index);
        self.learn(&option.features, &option.place);
        option.arch
    }

    fn scaled(&self, features: &Features) -> Features {
        std::array::from_fn(|i| features[i] * self.scale[i])
    }

    fn times(&self, x: &Features) -> Vec<f64> {
        self.inverse.iter().map(|row| linear::dot(row, x)).collect()
    }

    /// Adds one measurement: Sherman and Morrison's formula for the inverse.
    fn learn(&mut self, features: &Features, place: &[f64]) {
        let x = self.scaled(features);
        let moved = self.times(&x);
        let share = 1.0 + linear::dot(&x, &moved);
        for (row, by) in self.inverse.iter_mut().zip(&moved) {
            for (value, other) in row.iter_mut().zip(&moved) {
                *value -= by * other / share;
            }
        }
        for option in &mut self.pool {
            let distance = option.place.iter().zip(place).map(|(a, b)| (a - b).powi(2)).sum();
            option.distance = option.distance.min(distance);
        }
    }
}

/// Features divided by a rough latency, so that every architecture counts alike.
///
/// The rough latency takes 50 multiply-adds a nanosecond and a microsecond for a thousand
/// elements; only its proportions between architectures matter.
fn relative(setting: Setting, arch: &Architecture) -> Features {
    let rough = |features: &Features| {
        crate::features::NAMES
            .iter()
            .zip(features)
            .map(|(name, value)| match *name {
                "call" | "layer" => 5e4 * value,
                "products" | "attention_products" => value / 50.0,
                "embedding_elements" | "hidden_elements" | "intermediate_elements" => *value,
                _ => 0.0,
            })
            .sum::<f64>()
    };
    let features = setting.of(arch);
    let latency = rough(&features);
    features.map(|value| value / latency)
}

/// The sizes of an architecture as fractions of the space's ranges.
fn place(space: &Space, arch: &Architecture) -> Vec<f64> {
    let fraction =
        |value: f64, (low, high): (usize, usize)| (value - low as f64) / (high - low).max(1) as f64;
    let ends = |range: atb_space::Range| (range.min, range.last().unwrap_or(range.min));
    let mean = |size: fn(&Layer) -> usize| {
        arch.layers().iter().map(|layer| size(layer) as f64).sum::<f64>() / arch.num_layers() as f64
    };
    vec![
        fraction(arch.num_layers() as f64, ends(space.layers)),
        fraction(arch.hidden() as f64, ends(space.hidden)),
        fraction(mean(|layer| layer.intermediate), ends(space.intermediate)),
        fraction(mean(|layer| layer.heads), ends(space.heads)),
        fraction(mean(|layer| layer.qkv), qkv_ends(space)),
    ]
}

fn qkv_ends(space: &Space) -> (usize, usize) {
    let sizes = || space.heads.values().flat_map(|heads| space.qkv.sizes(heads));
    (sizes().min().unwrap_or(1), sizes().max().unwrap_or(1))
}

/// The smallest and the largest architecture of the space.
fn corners(space: &Space) -> Vec<Architecture> {
    let sizes = |heads: usize| space.qkv.sizes(heads).map(move |qkv| (heads, qkv));
    let attention = || space.heads.values().flat_map(sizes);
    let corner = |layers, hidden, intermediate, attention: Option<(usize, usize)>| {
        let (heads, qkv) = attention?;
        Architecture::uniform(layers?, hidden?, Layer { intermediate: intermediate?, heads, qkv })
            .ok()
    };
    let Space { layers, hidden, intermediate, .. } = space;
    let by_qkv = |(_, qkv): &(usize, usize)| *qkv;
    let smallest = corner(
        Some(layers.min),
        Some(hidden.min),
        Some(intermediate.min),
        attention().min_by_key(by_qkv),
    );
    let largest =
        corner(layers.last(), hidden.last(), intermediate.last(), attention().max_by_key(by_qkv));
    let distinct: BTreeSet<Architecture> = [smallest, largest].into_iter().flatten().collect();
    distinct.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_design_is_reproducible_distinct_and_begins_with_the_ends() {
        for space in [Space::paper_kd(), Space::paper_mlm()] {
            let chosen = |count, measured: &[Architecture]| {
                choose(&space, Workload::default(), count, 7, measured)
            };
            let thirty = chosen(30, &[]);
            assert_eq!(thirty, chosen(30, &[]));
            assert_eq!(chosen(10, &[]), thirty[..10], "a first part is the shorter choice");
            let distinct: BTreeSet<&Architecture> = thirty.iter().collect();
            assert_eq!(distinct.len(), 30);
            assert!(thirty.iter().all(|arch| space.check(arch).is_ok()));
            assert_eq!(thirty[0].num_layers(), 1);
            assert_eq!(thirty[1].num_layers(), 8);
            // Fast LayerNorm rows are rare in a sample and must be among the choice.
            let even = thirty.iter().filter(|arch| arch.hidden() % 64 == 0).count();
            assert!((3..=28).contains(&even), "{even} of 30 have even rows");
            let more = chosen(5, &thirty);
            assert!(more.iter().all(|arch| !distinct.contains(arch)));
        }
    }

    #[test]
    fn a_small_space_is_exhausted() {
        let one = atb_space::Range::one;
        let space = Space {
            layers: atb_space::Range::new(1, 3, 1),
            hidden: one(128),
            intermediate: one(512),
            ..Space::paper_mlm()
        };
        let all = choose(&space, Workload::default(), 100, 0, &[]);
        assert_eq!(all.len() as u64, space.count_uniform());
    }
}
