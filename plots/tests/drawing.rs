//! What is drawn, and where.

use atb_plots::{Axis, Bar, Chart, Layer, Point, Shape, Size, Tone};

fn chart() -> Chart {
    let points = (0..12_i32)
        .map(|index| {
            let (x, y) = (30.0 + f64::from(index), 0.2 + 0.01 * f64::from(index * index % 7));
            Point::new(x, y, format!("{x} ms, loss {y:.3}"))
        })
        .collect();
    Chart {
        title: "Is there a better one at this latency & <below>?".to_owned(),
        x: Axis::linear("latency, ms"),
        y: Axis::linear("loss"),
        layers: vec![
            Layer::Span { label: "budget".to_owned(), from_to: (33.0, 38.0) },
            Layer::Band {
                tone: Tone::First,
                intervals: vec![(30.0, 0.2, 0.22), (41.0, 0.24, 0.27)],
            },
            Layer::points("evaluated", Tone::Quiet, Shape::Dot, points),
            Layer::line("front", Tone::First, vec![(30.0, 0.21), (41.0, 0.25)]),
            Layer::line("other", Tone::Second, vec![(30.0, 0.22), (41.0, 0.2501)]),
            Layer::points(
                "winner",
                Tone::Second,
                Shape::Star,
                vec![Point::new(36.0, 0.2, "the winner").within(0.19, 0.23)],
            ),
        ],
    }
}

#[test]
fn a_chart_as_a_file() {
    insta::assert_snapshot!(chart().file(Size::WIDE));
}

#[test]
fn every_value_says_itself_in_every_size() {
    for size in [Size::WIDE, Size::NARROW] {
        let svg = chart().svg(size);
        assert_eq!(svg.matches("<title>").count(), 13, "{size:?}");
        assert!(svg.contains("<title>36 ms, loss 0.210</title>"));
        assert!(
            svg.contains(
                "aria-label=\"Is there a better one at this latency &amp; &lt;below&gt;?\""
            )
        );
    }
}

#[test]
fn names_at_ends_of_lines_do_not_cover_each_other() {
    let svg = chart().svg(Size::WIDE);
    let height = |name: &str| {
        let end = svg.find(&format!(">{name}</text>")).expect("named");
        let begin = svg[..end].rfind("y=\"").expect("placed") + 3;
        svg[begin..].split('"').next().and_then(|y| y.parse::<i32>().ok()).expect("a number")
    };
    assert!((height("front") - height("other")).abs() >= 120, "{svg}");
}

#[test]
fn bars_and_logarithms() {
    let bars = Chart {
        title: "How long?".to_owned(),
        x: Axis::logarithmic("ms"),
        y: Axis::hidden(),
        layers: vec![Layer::Bars {
            label: String::new(),
            tone: Tone::Third,
            bars: vec![Bar { x: (10.0, 1000.0), y: (0.0, 1.0), name: "all".to_owned() }],
        }],
    };
    let svg = bars.svg(Size::NARROW);
    for number in [">10<", ">100<", ">1000<"] {
        assert!(svg.contains(number), "no {number} in {svg}");
    }
}

#[test]
fn nothing_and_one_value_are_charts_too() {
    let mut empty = chart();
    empty.layers.clear();
    assert!(empty.svg(Size::WIDE).ends_with("</svg>\n"));
    empty.layers =
        vec![Layer::points("one", Tone::First, Shape::Dot, vec![Point::new(1.0, 0.0, "one")])];
    let svg = empty.svg(Size::WIDE);
    assert!(svg.contains("<title>one</title>") && !svg.contains("NaN"), "{svg}");
}
