//! A chart as SVG: the drawing library lays out axes and places values, the marks are ours.

use std::fmt::Write;

use plotters::element::BackendCoordOnly;
use plotters::prelude::*;

use crate::axis::Laid;
use crate::chart::{Chart, Layer, Shape, Size};
use crate::style::{CSS, Tone};
use crate::svg::{Svg, UNIT, escaped, points};

/// Sizes of letters, in pixels.
const TITLE: i32 = 15;
const TEXT: i32 = 12;
/// About the width of a letter of [`TEXT`].
const LETTER: f64 = 6.4;
const ROW: i32 = 18;

impl Chart {
    /// As SVG that is part of a page, whose style begins with [`CSS`].
    #[must_use]
    pub fn svg(&self, size: Size) -> String {
        self.drawn(size, false)
    }

    /// As a file of its own, with its title.
    #[must_use]
    pub fn file(&self, size: Size) -> String {
        self.drawn(size, true)
    }

    fn drawn(&self, size: Size, own: bool) -> String {
        let (width, height) = (size.width * UNIT as u32, size.height * UNIT as u32);
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{}\" height=\"{}\" role=\"img\" aria-label=\"{}\" \
             font-family=\"system-ui,sans-serif\">",
            size.width,
            size.height,
            escaped(&self.title)
        );
        let mut top = 8;
        if own {
            _ = write!(text, "<style>{CSS}</style>");
            _ = write!(
                text,
                "<rect width=\"{width}\" height=\"{height}\" fill=\"var(--ground)\"/>"
            );
            top += TITLE + 4;
            label(&mut text, (12, top), TITLE, Tone::Ink, "start", &self.title);
            top += 8;
        }
        let top = self.legend(&mut text, top, size);
        let ends = self.plot(&mut text, top, size);
        for (x, y, tone, name) in ends {
            label(&mut text, (x, y), TEXT, tone, "start", &name);
        }
        text.push_str("</svg>\n");
        text
    }

    /// Writes the names of the marks in rows from `top` on; the end of the last row.
    fn legend(&self, text: &mut String, top: i32, size: Size) -> i32 {
        let mut at = (12, top);
        for layer in &self.layers {
            let (name, tone) = match layer {
                Layer::Points { label, tone, .. } | Layer::Bars { label, tone, .. } => {
                    (label, *tone)
                }
                Layer::Line { label, tone, .. } if size.is_narrow() => (label, *tone),
                Layer::Span { label, .. } => (label, Tone::Grid),
                Layer::Line { .. } | Layer::Band { .. } => continue,
            };
            if name.is_empty() {
                continue;
            }
            let width = 16 + (name.chars().count() as f64 * LETTER) as i32 + 16;
            if at.0 > 12 && at.0 + width > size.width as i32 {
                at = (12, at.1 + ROW);
            }
            let middle = ((at.0 + 5) * UNIT, (at.1 + ROW / 2) * UNIT);
            let mut svg = Svg::new(text, (0, 0));
            match layer {
                Layer::Points { shape, .. } => mark(&mut svg, *shape, tone, middle, ""),
                Layer::Line { dashed, .. } => {
                    let ends = [(middle.0 - 5 * UNIT, middle.1), (middle.0 + 6 * UNIT, middle.1)];
                    line(&mut svg, tone, *dashed, ends);
                }
                Layer::Bars { .. } | Layer::Span { .. } | Layer::Band { .. } => {
                    let (x, y) = (middle.0 - 5 * UNIT, middle.1 - 5 * UNIT);
                    let side = 10 * UNIT;
                    let fill = tone.css();
                    let square = format!(
                        "x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"{fill}\""
                    );
                    svg.element("rect", &square, "");
                }
            }
            label(text, (at.0 + 16, at.1 + 13), TEXT, Tone::Ink, "start", name);
            at.0 += width;
        }
        if at == (12, top) { top } else { at.1 + ROW + 4 }
    }

    /// Draws axes and marks below `top`, and says where the names of lines go.
    fn plot(&self, text: &mut String, top: i32, size: Size) -> Vec<(i32, i32, Tone, String)> {
        let named = self.layers.iter().filter_map(|layer| match layer {
            Layer::Line { label, .. } if !size.is_narrow() => Some(label.chars().count()),
            _ => None,
        });
        let right = 12 + (named.max().unwrap_or(0) as f64 * LETTER) as i32;
        let values = || self.layers.iter().flat_map(Layer::extent);
        let x = Laid::out(
            self.x.scale,
            values().filter_map(|(x, _)| x),
            if size.is_narrow() { 4 } else { 8 },
        );
        let y = Laid::out(self.y.scale, values().filter_map(|(_, y)| y), 5);
        let root = Svg::new(text, (size.width * UNIT as u32, size.height * UNIT as u32))
            .into_drawing_area();
        let left = if self.y.label.is_empty() { 12 } else { 62 };
        let below = if self.x.label.is_empty() { 8 } else { 44 };
        let mut builder = ChartBuilder::on(&root);
        let mut chart = infallible(
            builder
                .margin_top(top * UNIT)
                .margin_right(right * UNIT)
                .margin_left(if self.y.label.is_empty() { left * UNIT } else { 4 * UNIT })
                .margin_bottom(if self.x.label.is_empty() { below * UNIT } else { 4 * UNIT })
                .set_label_area_size(
                    LabelAreaPosition::Left,
                    if self.y.label.is_empty() { 0 } else { (left - 4) * UNIT },
                )
                .set_label_area_size(
                    LabelAreaPosition::Bottom,
                    if self.x.label.is_empty() { 0 } else { (below - 4) * UNIT },
                )
                .build_cartesian_2d(x, y.clone()),
        );
        let quiet = Tone::Quiet.code();
        let letters = TextStyle::from(("sans-serif", TEXT * UNIT)).color(&quiet);
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(Tone::Grid.code())
            .axis_style(Tone::Grid.code())
            .label_style(letters.clone())
            .axis_desc_style(letters)
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .set_all_tick_mark_size(4 * UNIT);
        if self.y.label.is_empty() {
            mesh.disable_y_mesh().disable_y_axis();
        }
        infallible(mesh.draw());
        let mut ends = Vec::new();
        for layer in &self.layers {
            let marks = Mark::of(layer, &y);
            infallible(chart.draw_series::<BackendCoordOnly, Mark, _, _>(marks.iter()).map(|_| ()));
            if let Layer::Line { label, tone, points, .. } = layer
                && let Some(&(at, value)) = points.last()
                && !label.is_empty()
                && !size.is_narrow()
            {
                let (at, value) = chart.backend_coord(&(at, value));
                ends.push((at / UNIT + 6, value / UNIT + 4, *tone, label.clone()));
            }
        }
        apart(&mut ends, size.height as i32 - below);
        ends
    }
}

/// Moves names so that none covers another, and none lies below `bottom`, where the axis has its
/// numbers.
fn apart(names: &mut [(i32, i32, Tone, String)], bottom: i32) {
    names.sort_by_key(|name| name.1);
    for index in 1..names.len() {
        names[index].1 = names[index].1.max(names[index - 1].1 + TEXT + 2);
    }
    let mut lowest = bottom;
    for name in names.iter_mut().rev() {
        name.1 = name.1.min(lowest);
        lowest = name.1 - TEXT - 2;
    }
}

/// The value of a result that is never an error: text is written to memory.
fn infallible<T>(result: Result<T, DrawingAreaErrorKind<std::convert::Infallible>>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => unreachable!("layout of a chart: {error:?}"),
    }
}

/// One mark with its places on the axes.
struct Mark {
    places: Vec<(f64, f64)>,
    tone: Tone,
    name: String,
    kind: Kind,
}

enum Kind {
    Value(Shape),
    Interval,
    Line { dashed: bool },
    Area,
    Bar,
    Span,
}

impl Mark {
    fn of(layer: &Layer, y: &Laid) -> Vec<Self> {
        match layer {
            Layer::Points { tone, shape, points, .. } => {
                let intervals = points.iter().filter_map(|point| {
                    let (low, high) = point.interval?;
                    let places = vec![(point.x, low), (point.x, high)];
                    let (tone, name) = (*tone, String::new());
                    Some(Self { places, tone, name, kind: Kind::Interval })
                });
                let values = points.iter().map(|point| Self {
                    places: vec![(point.x, point.y)],
                    tone: *tone,
                    name: point.name.clone(),
                    kind: Kind::Value(*shape),
                });
                intervals.chain(values).collect()
            }
            Layer::Line { tone, dashed, points, .. } => vec![Self {
                places: points.clone(),
                tone: *tone,
                name: String::new(),
                kind: Kind::Line { dashed: *dashed },
            }],
            Layer::Band { tone, intervals } => {
                let upper = intervals.iter().map(|&(at, _, high)| (at, high));
                let lower = intervals.iter().rev().map(|&(at, low, _)| (at, low));
                let places = upper.chain(lower).collect();
                vec![Self { places, tone: *tone, name: String::new(), kind: Kind::Area }]
            }
            Layer::Bars { tone, bars, .. } => bars
                .iter()
                .map(|bar| Self {
                    places: vec![(bar.x.0, bar.y.0), (bar.x.1, bar.y.1)],
                    tone: *tone,
                    name: bar.name.clone(),
                    kind: Kind::Bar,
                })
                .collect(),
            Layer::Span { from_to: (from, to), .. } => vec![Self {
                places: vec![(*from, y.low), (*to, y.high)],
                tone: Tone::Grid,
                name: String::new(),
                kind: Kind::Span,
            }],
        }
    }
}

impl<'a> plotters::element::PointCollection<'a, (f64, f64)> for &'a Mark {
    type Point = &'a (f64, f64);
    type IntoIter = std::slice::Iter<'a, (f64, f64)>;

    fn point_iter(self) -> Self::IntoIter {
        self.places.iter()
    }
}

impl<'b> plotters::element::Drawable<Svg<'b>> for Mark {
    fn draw<I: Iterator<Item = (i32, i32)>>(
        &self,
        places: I,
        svg: &mut Svg<'b>,
        _: (u32, u32),
    ) -> Result<(), plotters_backend::DrawingErrorKind<std::convert::Infallible>> {
        let places: Vec<(i32, i32)> = places.collect();
        match (&self.kind, places.as_slice()) {
            (Kind::Value(shape), [at]) => mark(svg, *shape, self.tone, *at, &self.name),
            (Kind::Interval, &[low, high]) => {
                let stroke = format!(
                    "x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{}\" stroke-width=\"{}\" \
                     stroke-opacity=\"0.6\"",
                    low.0,
                    low.1,
                    high.0,
                    high.1,
                    self.tone.css(),
                    3 * UNIT / 2
                );
                svg.element("line", &stroke, "");
            }
            (Kind::Line { dashed }, places) => {
                line(svg, self.tone, *dashed, places.iter().copied());
            }
            (Kind::Area, places) => {
                let points = points(places.iter().copied());
                let fill = format!(
                    "points=\"{points}\" fill=\"{}\" fill-opacity=\"0.18\"",
                    self.tone.css()
                );
                svg.element("polygon", &fill, "");
            }
            (Kind::Bar | Kind::Span, &[one, other]) => {
                let (x, y) = (one.0.min(other.0), one.1.min(other.1));
                let (width, height) = ((one.0 - other.0).abs(), (one.1 - other.1).abs());
                let opacity = if matches!(self.kind, Kind::Span) { "0.5" } else { "0.85" };
                let rectangle = format!(
                    "x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{}\" \
                     fill-opacity=\"{opacity}\" stroke=\"var(--ground)\" stroke-width=\"{}\"",
                    self.tone.css(),
                    UNIT / 2
                );
                svg.element("rect", &rectangle, &self.name);
            }
            _ => {}
        }
        Ok(())
    }
}

fn line(svg: &mut Svg<'_>, tone: Tone, dashed: bool, places: impl IntoIterator<Item = (i32, i32)>) {
    let dashes = if dashed { " stroke-dasharray=\"60 40\"" } else { "" };
    let stroke = format!(
        "points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" \
         stroke-linejoin=\"round\"{dashes}",
        points(places),
        tone.css(),
        2 * UNIT
    );
    svg.element("polyline", &stroke, "");
}

/// A value's mark.
fn mark(svg: &mut Svg<'_>, shape: Shape, tone: Tone, (x, y): (i32, i32), name: &str) {
    let rim = format!("fill=\"{}\" stroke=\"var(--ground)\" stroke-width=\"{UNIT}\"", tone.css());
    let polygon = |svg: &mut Svg<'_>, corners: &[(f64, f64)]| {
        let scale = f64::from(UNIT);
        let corners =
            corners.iter().map(|(dx, dy)| (x + (dx * scale) as i32, y + (dy * scale) as i32));
        svg.element("polygon", &format!("points=\"{}\" {rim}", points(corners)), name);
    };
    let circle = |svg: &mut Svg<'_>, radius: i32, rim: &str| {
        svg.element("circle", &format!("cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" {rim}"), name);
    };
    match shape {
        Shape::Dot => {
            circle(svg, 3 * UNIT, &format!("fill=\"{}\" fill-opacity=\"0.65\"", tone.css()))
        }
        Shape::Circle => circle(svg, 9 * UNIT / 2, &rim),
        Shape::Diamond => polygon(svg, &[(0.0, -6.0), (6.0, 0.0), (0.0, 6.0), (-6.0, 0.0)]),
        Shape::Square => polygon(svg, &[(-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)]),
        Shape::Triangle => polygon(svg, &[(0.0, -6.0), (5.5, 4.5), (-5.5, 4.5)]),
        Shape::Star => {
            let corners: Vec<(f64, f64)> = (0..10)
                .map(|corner| {
                    let turn = f64::from(corner) * std::f64::consts::PI / 5.0;
                    let radius = if corner % 2 == 0 { 9.0 } else { 3.8 };
                    (radius * turn.sin(), -radius * turn.cos())
                })
                .collect();
            polygon(svg, &corners);
        }
    }
}

/// A text at a place in pixels.
fn label(text: &mut String, at: (i32, i32), size: i32, tone: Tone, anchor: &str, what: &str) {
    _ = write!(
        text,
        "<text x=\"{}\" y=\"{}\" font-size=\"{}\" text-anchor=\"{anchor}\" fill=\"{}\" \
         stroke=\"var(--ground)\" stroke-width=\"30\" paint-order=\"stroke\">{}</text>",
        at.0 * UNIT,
        at.1 * UNIT,
        size * UNIT,
        tone.css(),
        escaped(what)
    );
}
