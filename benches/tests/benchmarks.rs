//! The document and the plots say what the kept data says.

use std::path::Path;

use atb_benches::benchmarks::{DOCUMENT, document, plots};
use atb_plots::Size;

#[test]
fn the_document_and_the_plots_are_those_of_the_kept_data() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let remedy = "run `cargo xtask peers --from-data`";
    let kept = std::fs::read_to_string(root.join(DOCUMENT)).expect("the document");
    assert!(kept == document(&root).expect("data"), "{DOCUMENT}: {remedy}");
    for (path, chart) in plots(&root).expect("data") {
        let drawn = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(drawn == chart.file(Size::WIDE.of_height(440)), "{}: {remedy}", path.display());
    }
}

#[test]
fn the_readme_quotes_what_the_document_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("reads");
    let (readme, document) = (read("README.md"), read(DOCUMENT));
    let paragraph = readme.split("\n\n").find(|text| text.contains(DOCUMENT)).expect("a quote");
    let ratios: Vec<&str> =
        paragraph.split_whitespace().filter(|word| word.starts_with("0.")).collect();
    assert!(!ratios.is_empty(), "{paragraph}");
    for ratio in ratios {
        assert!(document.contains(&format!("**{ratio}**")), "{DOCUMENT} has no {ratio}");
    }
}
