//! SVG with CSS variables as colours, and marks that say their values.

use std::convert::Infallible;
use std::fmt::Write;

use plotters::style::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontTransform,
};

use crate::Tone;

/// Units of the drawing in a pixel: the drawing library counts in whole ones.
pub(crate) const UNIT: i32 = 10;

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// A drawing that is written into `text`.
pub(crate) struct Svg<'a> {
    pub(crate) text: &'a mut String,
    size: (u32, u32),
}

impl<'a> Svg<'a> {
    /// A drawing of `size` units, whose elements are appended to `text`.
    pub(crate) fn new(text: &'a mut String, size: (u32, u32)) -> Self {
        Self { text, size }
    }

    /// Appends an element; what it says when it is pointed at is `name`.
    pub(crate) fn element(&mut self, element: &str, attributes: &str, name: &str) {
        match name {
            "" => _ = write!(self.text, "<{element} {attributes}/>"),
            name => {
                _ = write!(
                    self.text,
                    "<{element} {attributes}><title>{}</title></{element}>",
                    escaped(name)
                );
            }
        }
    }
}

/// `text` as the content of an element or an attribute, without what XML has no place for.
pub(crate) fn escaped(text: &str) -> String {
    text.replace(|it: char| it.is_control() && it != '\n', " ")
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A colour as an attribute; transparent ones draw nothing.
fn colour(attribute: &str, colour: BackendColor) -> Option<String> {
    (colour.alpha > 0.0).then(|| format!("{attribute}=\"{}\"", Tone::of_code(colour.rgb).css()))
}

impl DrawingBackend for Svg<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        if let Some(fill) = colour("fill", color) {
            let at = format!("x=\"{}\" y=\"{}\" width=\"1\" height=\"1\" {fill}", point.0, point.1);
            self.element("rect", &at, "");
        }
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        if let Some(stroke) = colour("stroke", style.color()) {
            let line = format!(
                "x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" {stroke} stroke-width=\"{UNIT}\"",
                from.0, from.1, to.0, to.1
            );
            self.element("line", &line, "");
        }
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        if let Some(stroke) = colour("stroke", style.color()) {
            let points = points(path);
            let line =
                format!("points=\"{points}\" fill=\"none\" {stroke} stroke-width=\"{UNIT}\"");
            self.element("polyline", &line, "");
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn {
        let Some(fill) = colour("fill", style.color()) else { return Ok(()) };
        let anchor = match style.anchor().h_pos {
            HPos::Left => "start",
            HPos::Center => "middle",
            HPos::Right => "end",
        };
        // The height of a capital is about 0.7 of the letter's size.
        let lower = style.size()
            * match style.anchor().v_pos {
                VPos::Top => 0.75,
                VPos::Center => 0.36,
                VPos::Bottom => 0.0,
            };
        let turned = match style.transform() {
            FontTransform::None => String::new(),
            FontTransform::Rotate90 => format!(" transform=\"rotate(90 {} {})\"", at.0, at.1),
            FontTransform::Rotate180 => format!(" transform=\"rotate(180 {} {})\"", at.0, at.1),
            FontTransform::Rotate270 => format!(" transform=\"rotate(-90 {} {})\"", at.0, at.1),
        };
        _ = write!(
            self.text,
            "<text x=\"{}\" y=\"{}\" dy=\"{lower:.0}\" font-size=\"{:.0}\" text-anchor=\"{anchor}\" \
             {fill}{turned}>{}</text>",
            at.0,
            at.1,
            style.size(),
            escaped(text)
        );
        Ok(())
    }
}

/// Points as attributes have them.
pub(crate) fn points(points: impl IntoIterator<Item = BackendCoord>) -> String {
    let all: Vec<String> = points.into_iter().map(|(x, y)| format!("{x},{y}")).collect();
    all.join(" ")
}
