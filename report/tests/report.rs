//! The report of a real run, as people and programs read it.

mod common;

use atb_report::{Comparison, lay_out, markdown, of_run, page};
use common::{example, figures};

#[test]
fn the_markdown_twin() {
    let figures = figures();
    insta::assert_snapshot!(markdown(&of_run(&figures)));
}

#[test]
fn the_report_in_the_documentation_is_that_of_its_figures() {
    let figures = figures();
    let folder = tempfile::tempdir().expect("a folder");
    let written = match std::env::var_os("UPDATE_EXAMPLE") {
        Some(_) => example(),
        None => folder.path().to_owned(),
    };
    lay_out(&written, &of_run(&figures), &figures).expect("writes");
    for entry in std::fs::read_dir(&written).expect("a folder") {
        let path = entry.expect("an entry").path();
        let kept = example().join(path.file_name().expect("a name"));
        let same = std::fs::read(&path).ok() == std::fs::read(&kept).ok();
        assert!(same, "{}: run this test with UPDATE_EXAMPLE=1", kept.display());
    }
}

#[test]
fn what_lies_beside_a_run_is_shown() {
    let mut figures = figures();
    common::lay_beside(&mut figures);
    let markdown = markdown(&of_run(&figures));
    for said in [
        "With 16 tokens the winner takes 6.00 ms, 13.9 % of what 128 take.",
        "Only int8: it is as good as every other in everything.",
        "atb-train: over the last fifth of its steps the loss was",
        "it had come to rest",
        "| SST-2 dev | bundle | accuracy | 87.10 | 85.10 to 89.20 |",
    ] {
        assert!(markdown.contains(said), "{said}\nis not in\n{markdown}");
    }
    for plot in ["lengths", "variants", "training-1", "held-out-1"] {
        assert!(markdown.contains(&format!("({plot}.svg)")), "{plot}");
    }
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
