//! Reproducible uniform sampling.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Architecture, Layer, Space};

/// An endless stream of architectures of a space, each size uniform on its grid.
///
/// The stream depends only on the space and the seed: the same on every machine and in
/// every version that keeps the file formats' schema version. Architectures may repeat.
#[derive(Clone, Debug)]
pub struct Sampler<'a> {
    space: &'a Space,
    rng: ChaCha8Rng,
}

impl<'a> Sampler<'a> {
    /// A sampler for `space`, which must be valid ([`Space::validate`]).
    #[must_use]
    pub fn new(space: &'a Space, seed: u64) -> Self {
        Self { space, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    fn layer(&mut self) -> Layer {
        loop {
            let heads = pick(&mut self.rng, self.space.heads.len(), |i| self.space.heads.value(i));
            let sizes = self.space.qkv.sizes(heads);
            let count = sizes.clone().count();
            if count == 0 {
                continue;
            }
            let qkv = pick(&mut self.rng, count, |i| sizes.clone().nth(i).unwrap_or(heads));
            let grid = self.space.intermediate;
            let intermediate = pick(&mut self.rng, grid.len(), |i| grid.value(i));
            return Layer { intermediate, heads, qkv };
        }
    }
}

fn pick(rng: &mut ChaCha8Rng, len: usize, value: impl Fn(usize) -> usize) -> usize {
    value(rng.random_range(0..len as u64) as usize)
}

impl Iterator for Sampler<'_> {
    type Item = Architecture;

    fn next(&mut self) -> Option<Architecture> {
        let space = self.space;
        let num_layers = pick(&mut self.rng, space.layers.len(), |i| space.layers.value(i));
        let hidden = pick(&mut self.rng, space.hidden.len(), |i| space.hidden.value(i));
        let layers = if space.per_layer {
            (0..num_layers).map(|_| self.layer()).collect()
        } else {
            vec![self.layer(); num_layers]
        };
        Architecture::new(hidden, layers).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_stream() {
        let space = Space::paper_kd();
        let ids = |seed| -> Vec<String> {
            Sampler::new(&space, seed).take(4).map(|arch| arch.id()).collect()
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
    }

    #[test]
    fn samples_cover_the_space_evenly() {
        for space in [Space::paper_mlm(), Space { per_layer: true, ..Space::paper_kd() }] {
            let samples: Vec<Architecture> = Sampler::new(&space, 3).take(4000).collect();
            for arch in &samples {
                space.check(arch).expect("samples lie in the space");
            }
            let mean_hidden =
                samples.iter().map(|arch| arch.hidden() as f64).sum::<f64>() / samples.len() as f64;
            assert!((mean_hidden - 448.0).abs() < 12.0, "mean hidden size {mean_hidden}");
            for layers in space.layers.values() {
                let share = samples.iter().filter(|arch| arch.num_layers() == layers).count();
                assert!(
                    (420..580).contains(&share),
                    "{share} of 4000 samples have {layers} layers"
                );
            }
        }
    }
}
