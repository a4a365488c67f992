//! Colours, by what they are for.

use plotters::style::RGBColor;

/// What a mark's colour says. The hues are Okabe and Ito's, which colour-blind readers tell apart,
/// darker on white and lighter on black so that each has a contrast of at least 3 to its ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Text and what must be seen first.
    Ink,
    /// Text beside it, and marks that others stand out from.
    Quiet,
    /// Lines of the grid.
    Grid,
    /// Blue.
    First,
    /// Vermilion.
    Second,
    /// Green.
    Third,
    /// Purple.
    Fourth,
    /// Ochre.
    Fifth,
}

/// The tones' values in light and dark as CSS variables, for the page that plots are part of.
pub const CSS: &str = "\
:root{--ink:#1b1f24;--quiet:#697380;--grid:#e3e6ea;--first:#0067a6;--second:#c24e00;\
--third:#007a58;--fourth:#a4407f;--fifth:#8a6a00;--ground:#ffffff}\
@media(prefers-color-scheme:dark){:root{--ink:#e9ecf0;--quiet:#9aa4b0;--grid:#30363d;\
--first:#5ab4f0;--second:#ff9055;--third:#35c99a;--fourth:#e58fc4;--fifth:#e3b93c;\
--ground:#14171b}}";

impl Tone {
    pub(crate) const ALL: [Self; 8] = [
        Self::Ink,
        Self::Quiet,
        Self::Grid,
        Self::First,
        Self::Second,
        Self::Third,
        Self::Fourth,
        Self::Fifth,
    ];

    /// Those for series, in their order.
    pub const SERIES: [Self; 5] =
        [Self::First, Self::Second, Self::Third, Self::Fourth, Self::Fifth];

    /// The colour as CSS has it.
    #[must_use]
    pub fn css(self) -> &'static str {
        match self {
            Self::Ink => "var(--ink)",
            Self::Quiet => "var(--quiet)",
            Self::Grid => "var(--grid)",
            Self::First => "var(--first)",
            Self::Second => "var(--second)",
            Self::Third => "var(--third)",
            Self::Fourth => "var(--fourth)",
            Self::Fifth => "var(--fifth)",
        }
    }

    /// What stands for the tone in the drawing library, which knows no variables.
    pub(crate) fn code(self) -> RGBColor {
        RGBColor(self as u8, 0, 0)
    }

    pub(crate) fn of_code(code: (u8, u8, u8)) -> Self {
        Self::ALL.into_iter().find(|tone| (*tone as u8, 0, 0) == code).unwrap_or(Self::Ink)
    }
}
