//! Settings: the range of each value, stated once beside its declaration ([`Checked`]), and
//! with the feature `layers` the reading of them from a TOML file and command line flags
//! (`Layers`), so that one declaration serves file, command line and library.
//!
//! ```
//! use atb_settings::{Check, Checked};
//!
//! struct Rounds {
//!     min: usize,
//!     max: usize,
//!     tolerance: f64,
//! }
//!
//! impl Checked for Rounds {
//!     fn check(&self, at: &mut Check) {
//!         at.range("min", self.min, 1..=10_000);
//!         at.range("max", self.max, 1..=10_000);
//!         at.that("max", self.max, self.max >= self.min, "at least `min`");
//!         at.range("tolerance", self.tolerance, 0.0..=1.0);
//!     }
//! }
//!
//! let rounds = Rounds { min: 4, max: 2, tolerance: f64::NAN };
//! assert_eq!(
//!     rounds.checked().unwrap_err().to_string(),
//!     "`max` is 2, expected at least `min`; `tolerance` is NaN, expected 0 to 1"
//! );
//! ```

mod check;
#[cfg(feature = "layers")]
mod error;
#[cfg(feature = "layers")]
mod layers;
#[cfg(feature = "layers")]
mod tree;
mod visible;

pub use check::{Check, Checked, Number, OutOfRange, Violation, above_0_to};
#[cfg(feature = "layers")]
pub use error::{Located, SettingsError, Source};
#[cfg(feature = "layers")]
pub use layers::{Layers, Renamed};
pub use visible::{has_control_characters, visible};
