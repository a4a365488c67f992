//! The report of a real run, as people and programs read it.

use std::path::Path;

use atb_report::{Figures, document, page, panels};

fn figures() -> Figures {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/figures.json");
    let text = std::fs::read_to_string(path).expect("the kept figures");
    serde_json::from_str(&text).expect("figures")
}

#[test]
fn the_markdown_twin() {
    let figures = figures();
    insta::assert_snapshot!(document(&figures, &panels(&figures)));
}

#[test]
fn the_page_needs_nothing_and_is_small() {
    let figures = figures();
    let page = page(&figures, &panels(&figures));
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
    let panels = panels(&figures);
    let page = page(&figures, &panels);
    assert!(!page.contains("<img") && !page.contains('\u{1b}'));
    let svg = panels
        .iter()
        .flat_map(|panel| &panel.plots)
        .map(|plot| plot.chart.file(atb_plots::Size::WIDE));
    for svg in svg {
        assert!(!svg.contains("<img") && !svg.contains('\u{1b}'));
    }
    let markdown = document(&figures, &panels);
    assert!(!markdown.contains("<img") || markdown.contains("\\<img"));
    assert!(!markdown.contains('\u{1b}'));
    assert!(markdown.contains("| board | \\<img src=x onerror=alert(1)>\\|"), "{markdown}");
}

#[test]
fn the_schema_in_the_documentation_is_that_of_the_figures() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas/figures.json");
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(Figures)).expect("a schema");
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, format!("{schema}\n")).expect("writes");
    }
    let kept = std::fs::read_to_string(&path).expect("the kept schema");
    assert_eq!(kept.trim_end(), schema, "run this test with UPDATE_SCHEMAS=1");
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
    let panels = panels(&figures);
    assert!(page(&figures, &panels).contains("How long does one answer take?"));
    assert!(!document(&figures, &panels).contains("NaN"));
}
