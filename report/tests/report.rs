//! The report of a real run, as people and programs read it.

use std::path::Path;

use atb_report::{Comparison, Figures, markdown, of_run, page};

fn figures() -> Figures {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/figures.json");
    let text = std::fs::read_to_string(path).expect("the kept figures");
    serde_json::from_str(&text).expect("figures")
}

#[test]
fn the_markdown_twin() {
    let figures = figures();
    insta::assert_snapshot!(markdown(&of_run(&figures)));
}

#[test]
fn the_page_needs_nothing_and_is_small() {
    let figures = figures();
    let page = page(&of_run(&figures));
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    for outside in ["<script", "src=", "url(", "@import", "href=\"http"] {
        assert!(!page.contains(outside), "the page has {outside}");
    }
}

#[test]
fn what_came_from_a_device_is_text_and_no_markup() {
    let mut figures = figures();
    let hostile = "<img src=x onerror=alert(1)>|\u{1b}[31m";
    figures.target = hostile.to_owned();
    figures.warnings.push(hostile.to_owned());
    figures.device.push(("board".to_owned(), hostile.to_owned()));
    figures.moments[0].subject = hostile.to_owned();
    figures.moments[0].flags.push(hostile.to_owned());
    let report = of_run(&figures);
    let page = page(&report);
    assert!(!page.contains("<img") && !page.contains('\u{1b}'));
    let svg = report
        .panels
        .iter()
        .flat_map(|panel| &panel.plots)
        .map(|plot| plot.chart.file(atb_plots::Size::WIDE));
    for svg in svg {
        assert!(!svg.contains("<img") && !svg.contains('\u{1b}'));
    }
    let markdown = markdown(&report);
    assert!(!markdown.contains("<img") || markdown.contains("\\<img"));
    assert!(!markdown.contains('\u{1b}'));
    assert!(markdown.contains("| board | \\<img src=x onerror=alert(1)>\\|"), "{markdown}");
}

#[test]
fn the_schemas_in_the_documentation_are_those_of_the_figures() {
    let schemas = [
        ("figures.json", schemars::schema_for!(Figures)),
        ("comparison.json", schemars::schema_for!(Comparison)),
    ];
    for (name, schema) in schemas {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas").join(name);
        let schema = serde_json::to_string_pretty(&schema).expect("a schema");
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(&path, format!("{schema}\n")).expect("writes");
        }
        let kept = std::fs::read_to_string(&path).expect("the kept schema");
        assert_eq!(kept.trim_end(), schema, "run this test with UPDATE_SCHEMAS=1");
    }
}

#[test]
fn figures_without_what_may_be_missing_have_a_report_too() {
    let mut figures = figures();
    figures.predictions.clear();
    figures.finalists.clear();
    figures.parts.clear();
    figures.evaluated.truncate(1);
    figures.moments.clear();
    figures.bundle.clear();
    figures.static_table_loss = None;
    figures.noise_floor = None;
    figures.trust.difference = None;
    let report = of_run(&figures);
    assert!(page(&report).contains("How long does one answer take?"));
    assert!(!markdown(&report).contains("NaN"));
}

#[test]
fn two_runs_that_differ_by_noise_and_two_that_do_not() {
    let first = figures();
    let slower = |factor: f64| {
        let mut other = first.clone();
        other.winner.measured_ms *= factor;
        other.predictions.iter_mut().for_each(|it| it.measured_ms *= factor);
        other
    };
    let names = || ("a".to_owned(), "b".to_owned());
    let same = Comparison::of(names(), &first, &slower(1.002));
    let document = same.document();
    assert!(document.verdicts[0].good, "{:?}", document.verdicts);
    assert_eq!(same.changes[0].beyond_noise, Some(false));

    let mut other = slower(1.1);
    other.device[0].1 = "another".to_owned();
    other.predictions.truncate(20);
    let changed = Comparison::of(names(), &first, &other);
    assert_eq!(changed.changes[0].beyond_noise, Some(true));
    assert_eq!(changed.architectures.len(), 20);
    insta::assert_snapshot!(markdown(&changed.document()));

    // Another winner has another latency, whatever the noise.
    other.winner.architecture = "2-128-512-2-128".to_owned();
    assert_eq!(Comparison::of(names(), &first, &other).changes[0].beyond_noise, None);
}
