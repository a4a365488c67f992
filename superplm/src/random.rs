//! Random numbers that depend on a seed and on what they are for, so that training goes on
//! from any step exactly as if it had never stopped.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What random numbers are drawn for; each has streams of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The order of the sequences, by epoch.
    Order,
    /// Masked tokens, by batch.
    Masking,
    /// Sub-architectures, by step.
    Sampling,
    /// Fresh parameters.
    Parameters,
    /// Masked tokens of the validation text.
    Validation,
}

/// The generator for the `index`-th use.
pub(crate) fn generator(seed: u64, purpose: Purpose, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // The purpose in the highest bits, so that no two uses share a stream.
    rng.set_stream((purpose as u64) << 56 ^ index);
    rng
}
