//! The page: one file without scripts, for light and dark, desk and phone.

use atb_plots::{CSS, Size};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::document::{Document, Panel, Table};

/// How the page looks. Plots are there twice, for wide and for narrow screens, and one is shown.
const STYLE: &str = "\
*{box-sizing:border-box}\
body{margin:0 auto;max-width:820px;padding:24px 16px 48px;background:var(--ground);color:var(--ink);\
font:16px/1.5 system-ui,sans-serif}\
h1{font-size:26px;line-height:1.2;margin:0;overflow-wrap:anywhere}\
h2{font-size:19px;margin:40px 0 4px}\
p{margin:8px 0}\
.quiet,figcaption{color:var(--quiet);font-size:14px}\
.verdict{border-left:4px solid var(--third);padding:2px 0 2px 12px;margin:20px 0}\
.verdict.bad{border-color:var(--second)}\
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:12px;margin:20px 0}\
.card{border:1px solid var(--grid);border-radius:8px;padding:12px}\
.card b{display:block;font-size:24px;line-height:1.2}\
.card span{display:block}\
figure{margin:16px 0}\
svg{max-width:100%;height:auto;display:block}\
.narrow{display:none}\
@media(max-width:600px){.wide{display:none}.narrow{display:block}}\
.scroll{overflow-x:auto}\
table{border-collapse:collapse;font-size:14px;width:100%}\
th,td{text-align:right;padding:4px 10px;border-bottom:1px solid var(--grid);white-space:nowrap}\
th:first-child,td:first-child{text-align:left}\
th{font-weight:600}\
.texts td{white-space:normal;text-align:left}\
code{font-size:0.95em}";

/// The page of `document`, as HTML.
#[must_use]
pub fn page(document: &Document) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (document.title) }
                // An icon that is no file: a browser asks the host for one otherwise.
                link rel="icon" href="data:,";
                style { (PreEscaped(CSS)) (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.quiet { (document.about) }
                    h1 { (document.title) }
                    @if !document.description.is_empty() { p.quiet { (document.description) } }
                }
                div.cards {
                    @for card in &document.cards {
                        div.card { b { (card.value) } span { (card.what) } span.quiet { (card.note) } }
                    }
                }
                @for verdict in &document.verdicts {
                    div class=(if verdict.good { "verdict" } else { "verdict bad" }) {
                        @for line in &verdict.lines { p { (line) } }
                        @for line in &verdict.notes { p.quiet { (line) } }
                    }
                }
                main {
                    @for panel in &document.panels { (section(panel)) }
                    @for table in &document.tables { (tabular(table)) }
                }
                footer {
                    p.quiet { "Every number of this page is in figures.json beside it. Written by atb "
                        (document.version) "." }
                }
            }
        }
    };
    // What came from a device steers nothing that shows the file as it is.
    atb_settings::visible(&markup.into_string())
}

fn section(panel: &Panel) -> Markup {
    html! {
        section {
            h2 { (panel.question) }
            p { (panel.answer) }
            @for plot in &panel.plots {
                figure id=(plot.name) {
                    figcaption { (plot.chart.title) }
                    div.wide { (PreEscaped(plot.chart.svg(Size::WIDE.of_height(plot.height)))) }
                    div.narrow {
                        (PreEscaped(plot.chart.svg(Size::NARROW.of_height(plot.height.max(200)))))
                    }
                }
            }
        }
    }
}

fn tabular(table: &Table) -> Markup {
    html! {
        section {
            h2 { (table.question) }
            @if !table.answer.is_empty() { p { (table.answer) } }
            div.scroll {
                table class=(if table.is_text { "texts" } else { "" }) {
                    thead { tr { @for name in &table.header { th scope="col" { (name) } } } }
                    tbody { @for row in &table.rows { tr { @for cell in row { td { (cell) } } } } }
                }
            }
        }
    }
}
