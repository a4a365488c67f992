//! What a plot shows.

use crate::Tone;

/// A plot: one question and the marks that answer it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows, as a question or a sentence. Part of a plot that is a file of its own.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn, the lowest first.
    pub layers: Vec<Layer>,
}

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What is on it, with the unit: `latency, ms`. Without a label it has no numbers either.
    pub label: String,
    /// How values are laid out.
    pub scale: Scale,
}

/// How values are laid out on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, around the values.
    Linear,
    /// Evenly, from zero.
    FromZero,
    /// By their ratios; all values are above zero.
    Logarithmic,
}

impl Axis {
    /// Even, around the values.
    #[must_use]
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Linear }
    }

    /// Even, from zero.
    #[must_use]
    pub fn from_zero(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::FromZero }
    }

    /// By ratios.
    #[must_use]
    pub fn logarithmic(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Logarithmic }
    }

    /// Even, without numbers.
    #[must_use]
    pub fn hidden() -> Self {
        Self { label: String::new(), scale: Scale::FromZero }
    }
}

/// Marks of one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// Values, each with an interval if it has one.
    Points {
        /// Name in the legend; empty for none.
        label: String,
        /// Their colour.
        tone: Tone,
        /// Their shape.
        shape: Shape,
        /// The values.
        points: Vec<Point>,
    },
    /// A line through points.
    Line {
        /// Name at its end; empty for none.
        label: String,
        /// Its colour.
        tone: Tone,
        /// Whether it is broken.
        dashed: bool,
        /// Its points, from left to right.
        points: Vec<(f64, f64)>,
    },
    /// Intervals beside each other, as an area.
    Band {
        /// Its colour.
        tone: Tone,
        /// `x`, and the lower and the upper end there.
        intervals: Vec<(f64, f64, f64)>,
    },
    /// Rectangles.
    Bars {
        /// Name in the legend; empty for none.
        label: String,
        /// Their colour.
        tone: Tone,
        /// The rectangles.
        bars: Vec<Bar>,
    },
    /// The whole height between two values.
    Span {
        /// Name in the legend; empty for none.
        label: String,
        /// Its lower and upper end.
        from_to: (f64, f64),
    },
}

impl Layer {
    /// Values.
    #[must_use]
    pub fn points(label: impl Into<String>, tone: Tone, shape: Shape, points: Vec<Point>) -> Self {
        Self::Points { label: label.into(), tone, shape, points }
    }

    /// A line.
    #[must_use]
    pub fn line(label: impl Into<String>, tone: Tone, points: Vec<(f64, f64)>) -> Self {
        Self::Line { label: label.into(), tone, dashed: false, points }
    }

    /// The values that it reaches on both axes, `None` where it sets no end.
    pub(crate) fn extent(&self) -> Vec<(Option<f64>, Option<f64>)> {
        let both = |x: f64, y: f64| (Some(x), Some(y));
        match self {
            Self::Points { points, .. } => points
                .iter()
                .flat_map(|point| {
                    let (low, high) = point.interval.unwrap_or((point.y, point.y));
                    [both(point.x, point.y), both(point.x, low), both(point.x, high)]
                })
                .collect(),
            Self::Line { points, .. } => points.iter().map(|&(x, y)| both(x, y)).collect(),
            Self::Band { intervals, .. } => {
                intervals.iter().flat_map(|&(x, low, high)| [both(x, low), both(x, high)]).collect()
            }
            Self::Bars { bars, .. } => bars
                .iter()
                .flat_map(|bar| [both(bar.x.0, bar.y.0), both(bar.x.1, bar.y.1)])
                .collect(),
            Self::Span { from_to: (from, to), .. } => vec![(Some(*from), None), (Some(*to), None)],
        }
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Where it is.
    pub x: f64,
    /// Its value.
    pub y: f64,
    /// The ends of its interval.
    pub interval: Option<(f64, f64)>,
    /// What it says when it is pointed at.
    pub name: String,
}

impl Point {
    /// A value without an interval.
    #[must_use]
    pub fn new(x: f64, y: f64, name: impl Into<String>) -> Self {
        Self { x, y, interval: None, name: name.into() }
    }

    /// The same with an interval.
    #[must_use]
    pub fn within(self, low: f64, high: f64) -> Self {
        Self { interval: Some((low, high)), ..self }
    }
}

/// A rectangle.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Its left and right end.
    pub x: (f64, f64),
    /// Its lower and upper end.
    pub y: (f64, f64),
    /// What it says when it is pointed at.
    pub name: String,
}

/// The shape of a value's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A small disc, for many values.
    Dot,
    /// A disc.
    Circle,
    /// A square on its corner.
    Diamond,
    /// A square.
    Square,
    /// A triangle.
    Triangle,
    /// A star, for the one that matters.
    Star,
}

/// The size of a plot, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Size {
    /// For a page of a desk.
    pub const WIDE: Self = Self { width: 760, height: 360 };
    /// For the screen of a phone.
    pub const NARROW: Self = Self { width: 350, height: 300 };

    /// The same width with another height.
    #[must_use]
    pub fn of_height(self, height: u32) -> Self {
        Self { height, ..self }
    }

    /// Whether there is room for few numbers only.
    pub(crate) fn is_narrow(self) -> bool {
        self.width < 500
    }
}
