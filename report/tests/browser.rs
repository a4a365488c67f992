//! The page in a browser: nothing is cut, covered, asked for or wrong, at both widths and in both
//! colour schemes, and what a mark says when it is pointed at is what `figures.json` has.
//!
//! Takes Chromium, which `.ci/run` installs; `CHROMIUM` names another program.

mod common;

use std::path::Path;
use std::process::Command;

use atb_report::{of_run, page};
use serde::Deserialize;

/// What the script below found.
#[derive(Debug, Deserialize)]
struct Seen {
    /// Width of the screen, and of the page.
    width: f64,
    page: f64,
    /// Texts that reach out of their plot.
    cut: Vec<String>,
    /// Pairs of texts of one plot that cover each other.
    covered: Vec<String>,
    /// Errors of the page.
    errors: Vec<String>,
    /// What the page asked for.
    requests: Vec<String>,
    /// What the marks that are shown say.
    said: Vec<String>,
    /// Colour of the text and of the ground.
    ink: String,
    ground: String,
}

/// Looks at the page, which is in a frame, and tells the page around it.
const SCRIPT: &str = r#"<script>
const errors = [];
addEventListener('error', event => errors.push(String(event.message)));
addEventListener('load', () => {
  const cut = [], covered = [], said = [];
  const shown = [...document.querySelectorAll('svg')].filter(svg => svg.getClientRects().length);
  for (const svg of shown) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
    for (const [text, box] of texts)
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        cut.push(text);
    texts.forEach(([one, a], index) => texts.slice(index + 1).forEach(([other, b]) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      // Lines of letters may touch; their boxes have room above and below.
      if (across > 1 && down > 4) covered.push(one + ' / ' + other);
    }));
    for (const title of svg.querySelectorAll('title')) said.push(title.textContent);
  }
  const style = getComputedStyle(document.body);
  parent.postMessage(JSON.stringify({
    width: innerWidth, page: document.documentElement.scrollWidth, cut, covered, errors, said,
    requests: performance.getEntriesByType('resource').map(entry => entry.name),
    ink: style.color, ground: style.backgroundColor }), '*');
});
</script>"#;

fn chromium() -> String {
    std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned())
}

fn look(page: &Path, width: u32, dark: bool) -> Seen {
    // A window is never narrower than 500 pixels; a frame is.
    let around = page.with_file_name(format!("around-{width}.html"));
    let frame = format!(
        "<title></title><script>addEventListener('message', it => document.title = it.data)</script>\
         <iframe src=\"index.html\" width=\"{width}\" height=\"3000\" frameborder=\"0\"></iframe>"
    );
    std::fs::write(&around, frame).expect("writes");
    let profile = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(chromium());
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--disable-quic", "--hide-scrollbars", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--window-size=1400,3100");
    if dark {
        command.arg("--force-dark-mode").arg("--blink-settings=preferredColorScheme=0");
    }
    let output = command.arg(format!("file://{}", around.display())).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{}: {error}; install Chromium, or name it in CHROMIUM", chromium())
    });
    let dom = String::from_utf8_lossy(&output.stdout);
    let title = dom
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"))
        .unwrap_or_else(|| panic!("no page: {dom}\n{}", String::from_utf8_lossy(&output.stderr)))
        .0;
    let title = title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&title).unwrap_or_else(|error| panic!("{error}: {title}"))
}

#[test]
fn the_page_in_a_browser() {
    let mut figures = common::figures();
    common::lay_beside(&mut figures);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("index.html");
    let text = page(&of_run(&figures));
    std::fs::write(&path, text.replace("<head>", &format!("<head>{SCRIPT}"))).expect("writes");

    let mut grounds = Vec::new();
    for (width, dark) in [(1280, false), (1280, true), (500, false), (390, false), (390, true)] {
        let seen = look(&path, width, dark);
        let of = format!("at {width} pixels, dark: {dark}");
        assert_eq!(seen.width, f64::from(width), "{of}");
        assert_eq!(seen.errors, [] as [String; 0], "{of}");
        assert_eq!(seen.requests, [] as [String; 0], "{of}");
        assert_eq!(seen.cut, [] as [String; 0], "{of}");
        assert_eq!(seen.covered, [] as [String; 0], "{of}");
        assert!(seen.page <= seen.width, "{of}: the page is {} wide", seen.page);
        assert_ne!(seen.ink, seen.ground, "{of}");
        for it in &figures.evaluated {
            let says = format!(
                "{}\nloss {:.4}\n{:.1} ms predicted",
                it.architecture, it.loss, it.predicted_ms
            );
            assert!(seen.said.contains(&says), "{of}: nothing says {says}");
        }
        for it in &figures.predictions {
            let says = format!("{}\n", it.architecture);
            let off = format!("({:+.1} %)", 100.0 * (it.predicted_ms / it.measured_ms - 1.0));
            let found =
                seen.said.iter().any(|said| said.starts_with(&says) && said.ends_with(&off));
            assert!(found, "{of}: nothing says {says} {off}");
        }
        grounds.push((dark, seen.ground));
    }
    let ground = |dark: bool| grounds.iter().find(|(of, _)| *of == dark).map(|(_, ground)| ground);
    assert_ne!(ground(false), ground(true), "light and dark look the same");
}
