//! `docs/benchmarks.md` and the plots, from the data that is kept in `benches/`: nothing is measured.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use atb_measurements::median;
use atb_plots::{Axis, Chart, Layer, Point, Shape, Tone};
use serde::Deserialize;

use crate::engines::{Compared, Conditions, compared, read};
use crate::plot::series;

/// The document, in the folder of the project.
pub const DOCUMENT: &str = "docs/benchmarks.md";

/// Folders of samples of engines.
const ENGINES: [&str; 3] = ["benches/engines", "benches/engines/threads-2", "benches/engines/int8"];

/// The engine that the others are compared with.
const REFERENCE: &str = "onnx-runtime";

/// Spaces of the latency predictors' comparison.
const SPACES: [&str; 2] = ["kd", "mlm"];

/// How an engine of the samples is called in text.
fn named(engine: &str) -> &str {
    match engine {
        "fixed" => "atb",
        "tuned" => "atb, measured kernels",
        "tract" => "plain tract",
        "onnx-runtime" => "ONNX Runtime",
        "onnx-runtime-exact" => "ONNX Runtime, file of that length",
        other => other,
    }
}

/// The document's text, from the data in the project's folder `root`.
///
/// # Errors
/// If a file cannot be read.
pub fn document(root: &Path) -> Result<String> {
    let mut text = "# Benchmarks\n\nWritten by `cargo xtask peers --from-data` from the raw data in \
                    `benches/`; `cargo xtask peers` measures anew. Ratios are of samples that were \
                    taken one after the other in the same process: below 1 is faster than the peer. \
                    Absolute times of shared machines do not repeat, ratios do.\n\n"
        .to_owned();
    engines(root, &mut text)?;
    fine_tuning(root, &mut text)?;
    predictors(root, &mut text)?;
    text.push_str(
        "## Training\n\nSteps beside PyTorch's are in [benches/training](../benches/training/README.md); \
         their raw times were not kept.\n",
    );
    Ok(text)
}

/// The plots, each with its file.
///
/// # Errors
/// If a file cannot be read.
pub fn plots(root: &Path) -> Result<Vec<(PathBuf, Chart)>> {
    let mut all = Vec::new();
    for folder in ENGINES {
        let series = read(&root.join(folder).join("samples.jsonl"))?;
        let compared = compared(&series, REFERENCE)?;
        all.push((root.join(folder).join("plot.svg"), of_engines(&compared)?));
    }
    for space in SPACES {
        let folder = root.join("benches/predictors").join(space);
        let rows = rows(&fs_err::read_to_string(folder.join("table.md"))?, "| model |")?;
        all.push((folder.join("plot.svg"), of_predictors(space, &rows)?));
    }
    let folder = root.join("benches/ranking");
    let rows = rows(&fs_err::read_to_string(folder.join("table.md"))?, "| architecture |")?;
    all.push((folder.join("plot.svg"), of_ranking(&rows)?));
    Ok(all)
}

fn engines(root: &Path, text: &mut String) -> Result<()> {
    text.push_str(
        "## Engines\n\nTime of one answer over ONNX Runtime's, in files of 128 tokens: the geometric \
         mean over the architectures, the lowest and the highest of them, and how far ratios of \
         single pairs scatter (half the distance of the quartiles, the median over the \
         architectures). Texts shorter than the file are padded; \"file of that length\" is ONNX Runtime \
         on a file of exactly the text's.\n\n",
    );
    for folder in ENGINES {
        let path = root.join(folder);
        let all = read(&path.join("samples.jsonl"))?;
        let conditions: Conditions = atb_files::read_json(&path.join("conditions.json"), 1)?;
        let first = all.first().with_context(|| format!("{folder} has no samples"))?;
        let threads = match first.threads {
            1 => "1 thread".to_owned(),
            several => format!("{several} threads"),
        };
        let architectures = {
            let mut names: Vec<&str> = all.iter().map(|it| it.architecture.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            names.len()
        };
        let mut versions: Vec<&str> = conditions.versions.values().map(String::as_str).collect();
        versions.sort_unstable();
        versions.dedup();
        write!(
            text,
            "### {}, {threads}\n\nOn {}, {}, {}, {} rounds of {architectures} architectures. \
             Versions: {}. [Table](../{folder}/table.md), [samples](../{folder}/samples.jsonl).\n\n\
             | tokens | engine | of ONNX Runtime's time | architectures | scatter |\n\
             |---:|---|---:|---:|---:|\n",
            first.precision,
            conditions.machine,
            conditions.date,
            conditions.measure,
            first.microseconds.len(),
            versions.join("; "),
        )?;
        for it in compared(&all, REFERENCE)? {
            let (low, high) = it.range();
            writeln!(
                text,
                "| {} | {} | **{:.3}** | {low:.3} to {high:.3} | ±{:.1} % |",
                it.tokens,
                named(&it.engine),
                it.mean(),
                100.0 * it.spread()
            )?;
        }
        write!(text, "\n![ratios by architecture](../{folder}/plot.svg)\n\n")?;
    }
    Ok(())
}

/// What one turn of a fine-tuning took.
#[derive(Deserialize)]
struct Turn {
    who: String,
    processor_seconds: f64,
    memory_mib: f64,
}

fn fine_tuning(root: &Path, text: &mut String) -> Result<()> {
    let folder = "benches/finetuning";
    let path = root.join(folder).join("samples.jsonl");
    let content = fs_err::read_to_string(&path)?;
    let turns: Vec<Turn> = content
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| path.display().to_string()))
        .collect::<Result<_>>()?;
    let mut names: Vec<&str> = turns.iter().map(|turn| turn.who.as_str()).collect();
    let each = names.iter().filter(|name| **name == names[0]).count();
    names.truncate(names.len() / each.max(1));
    let of = |name: &str, value: fn(&Turn) -> f64| -> Vec<f64> {
        turns.iter().filter(|turn| turn.who == name).map(value).collect()
    };
    let ours = of("atb", |turn| turn.processor_seconds);
    ensure!(ours.len() == each, "{}: turns are missing", path.display());
    let conditions: Conditions =
        atb_files::read_json(&root.join(folder).join("conditions.json"), 1)?;
    write!(
        text,
        "## Fine-tuning\n\nSteps of 32 texts with 4-192-480-12-192, {each} turns, alternately. On {}, \
         {}, {}. [Turns](../{folder}/samples.jsonl).\n\n\
         | | a step, median | of ours, each turn | peak memory |\n|---|---:|---:|---:|\n",
        conditions.machine, conditions.date, conditions.measure
    )?;
    for name in names {
        let theirs = of(name, |turn| turn.processor_seconds);
        let ratios: Vec<String> = theirs
            .iter()
            .zip(&ours)
            .map(|(theirs, ours)| format!("{:.2}", theirs / ours))
            .collect();
        writeln!(
            text,
            "| {name} | {:.0} ms | {} | {:.0} MiB |",
            1e3 * median(&theirs).context("no turns")?,
            if name == "atb" { String::new() } else { ratios.join(", ") },
            median(&of(name, |turn| turn.memory_mib)).context("no turns")?
        )?;
    }
    text.push('\n');
    Ok(())
}

fn predictors(root: &Path, text: &mut String) -> Result<()> {
    text.push_str(
        "## Latency predictors\n\nMean relative error on 150 architectures that a predictor has not \
         seen, 20 draws, by the number that it was fitted on. The perceptron of width 2000 is the \
         paper's and was drawn once. The measurements are of one thread of an AMD EPYC.\n\n",
    );
    for space in SPACES {
        let path = root.join("benches/predictors").join(space).join("table.md");
        let rows = rows(&fs_err::read_to_string(path)?, "| model |")?;
        let mut counts: Vec<&str> =
            rows.iter().filter_map(|row| row.get(1)).map(String::as_str).collect();
        counts.sort_by_key(|count| count.parse::<usize>().unwrap_or_default());
        counts.dedup();
        let mut models: Vec<&str> =
            rows.iter().filter_map(|row| row.first()).map(String::as_str).collect();
        models.dedup();
        writeln!(text, "### Space `{space}`\n\n| model | {} |", counts.join(" | "))?;
        writeln!(text, "|---|{}", "---:|".repeat(counts.len()))?;
        for model in models {
            let cells: Vec<&str> = counts
                .iter()
                .map(|count| {
                    let row = rows.iter().find(|row| row[0] == model && row[1] == *count);
                    row.map_or("", |row| row[2].as_str())
                })
                .collect();
            writeln!(text, "| {model} | {} |", cells.join(" | "))?;
        }
        write!(
            text,
            "\n![error by number of samples](../benches/predictors/{space}/plot.svg)\n\n"
        )?;
    }
    Ok(())
}

/// The rows of the table of `markdown` whose header begins so.
fn rows(markdown: &str, header: &str) -> Result<Vec<Vec<String>>> {
    let lines = markdown.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows: Vec<Vec<String>> =
        lines.take_while(|line| line.starts_with('|')).map(cells).collect();
    ensure!(!rows.is_empty(), "no table that begins with `{header}`");
    Ok(rows)
}

/// The number that a cell begins with.
fn number(row: &[String], column: usize) -> Result<f64> {
    let cell = row.get(column).with_context(|| format!("{row:?} has no column {column}"))?;
    let word = cell.split_whitespace().next().unwrap_or_default();
    word.parse().with_context(|| format!("`{cell}` is no number"))
}

fn of_engines(all: &[Compared]) -> Result<Chart> {
    let tokens = all.first().context("no samples")?.tokens;
    let mut layers = Vec::new();
    let shown: Vec<&Compared> = all.iter().filter(|it| it.tokens == tokens).collect();
    let latencies = || shown.iter().flat_map(|it| &it.ratios).map(|(_, ms, _)| *ms);
    let (low, high) = (latencies().fold(f64::INFINITY, f64::min), latencies().fold(0.0, f64::max));
    layers.push(Layer::Line {
        label: "ONNX Runtime".to_owned(),
        tone: Tone::Ink,
        dashed: true,
        points: vec![(low, 1.0), (high, 1.0)],
    });
    for (index, it) in shown.into_iter().enumerate() {
        let engine = named(&it.engine);
        let points = it.ratios.iter().map(|(architecture, ms, ratio)| {
            let name = format!(
                "{engine}\n{architecture}\n{:.3} ({:.2} to {:.2}) of ONNX Runtime's {ms:.1} ms",
                ratio.middle, ratio.low, ratio.high
            );
            Point::new(*ms, ratio.middle, name).within(ratio.low, ratio.high)
        });
        let (tone, shape) = series(index);
        layers.push(Layer::points(engine, tone, shape, points.collect()));
    }
    Ok(Chart {
        title: format!("Who is faster than ONNX Runtime, with {tokens} tokens?"),
        x: Axis::logarithmic("in ONNX Runtime, ms"),
        y: Axis::from_zero("of ONNX Runtime's time"),
        layers,
    })
}

fn of_predictors(space: &str, rows: &[Vec<String>]) -> Result<Chart> {
    let mut models: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    models.dedup();
    let mut layers = Vec::new();
    let mut index = 0;
    for model in models {
        let mut points = Vec::new();
        for row in rows.iter().filter(|row| row[0] == model) {
            points.push((number(row, 1)?, number(row, 2)?));
        }
        // One point makes no line.
        if points.len() < 2 {
            continue;
        }
        let (tone, shape) = series(index);
        index += 1;
        let marks = points.iter().map(|&(count, error)| {
            Point::new(count, error, format!("{model}\n{count} samples: {error:.2} %"))
        });
        layers.push(Layer::points("", tone, shape, marks.collect()));
        layers.push(Layer::line(model, tone, points));
    }
    Ok(Chart {
        title: format!("How many measurements does a predictor need in the space `{space}`?"),
        x: Axis::logarithmic("architectures measured to fit on"),
        y: Axis::from_zero("mean relative error on others, %"),
        layers,
    })
}

fn of_ranking(rows: &[Vec<String>]) -> Result<Chart> {
    let mut points = Vec::new();
    for row in rows {
        let (extracted, alone) = (number(row, 3)?, number(row, 4)?);
        let name = format!("{}\nextracted {extracted:.3}\ntrained alone {alone:.3}", row[0]);
        points.push(Point::new(extracted, alone, name));
    }
    Ok(Chart {
        title: "Is a good sub-model also good when it is trained alone?".to_owned(),
        x: Axis::linear("loss as extracted from the SuperPLM"),
        y: Axis::linear("loss trained alone"),
        layers: vec![Layer::points("", Tone::First, Shape::Circle, points)],
    })
}
