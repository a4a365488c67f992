//! The one style of every plot, as SVG.
//!
//! A [`Chart`] says what is shown: axes with their units and layers of marks. [`Chart::svg`]
//! draws it. Colours are CSS variables, so that one file is readable in light and dark, and told
//! apart by those who do not see all of them; marks of one kind have a shape of their own as well.
//! Every mark that stands for a value says it when it is pointed at.
//!
//! ```
//! use atb_plots::{Axis, Chart, Layer, Point, Shape, Size, Tone};
//!
//! let chart = Chart {
//!     title: "How long does a layer take?".to_owned(),
//!     x: Axis::from_zero("layers"),
//!     y: Axis::from_zero("latency, ms"),
//!     layers: vec![Layer::points(
//!         "measured",
//!         Tone::First,
//!         Shape::Circle,
//!         vec![Point::new(1.0, 2.5, "1 layer: 2.5 ms"), Point::new(2.0, 5.1, "2 layers: 5.1 ms")],
//!     )],
//! };
//! let svg = chart.svg(Size::WIDE);
//! assert!(svg.contains("<title>2 layers: 5.1 ms</title>"));
//! ```

mod axis;
mod chart;
mod draw;
mod numbers;
mod style;
mod svg;

pub use chart::{Axis, Bar, Chart, Layer, Point, Scale, Shape, Size};
pub use numbers::number;
pub use style::{CSS, Tone};
