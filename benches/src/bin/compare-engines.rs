//! Times the engines that run a model file, alternately in one process: the session's, plain tract,
//! rten and ONNX Runtime, on the same file and the same text, on as many threads each. Writes every
//! sample (`samples.jsonl`) and a table (`table.md`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use atb_benches::engines::{Conditions, Series, table};
use atb_benches::write_text;
use atb_graph::{Network, NetworkConfig, NetworkHead, RandomWeights};
use atb_onnx_runtime::{Batch, OnnxRuntime, OnnxSession};
use atb_rten::RtenSession;
use atb_runtime::{Engine, Inputs, Output, Outputs, Session};
use atb_space::{Architecture, Precision, Workload};
use clap::{Parser, ValueEnum};
use nix::time::{ClockId, clock_gettime};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Sequence length of the files.
const SEQUENCE: usize = 128;
const WORDS: usize = 30_522;

/// Versions of the peers, as the workspace's manifest and the list of files to fetch have them.
const RTEN: &str = "rten 0.27.0";
const ONNX_RUNTIME: &str = "ONNX Runtime 1.32.0";

/// The published models, a winner of `atb run` and MiniLM.
const ARCHITECTURES: [&str; 10] = [
    "5-564-1054-8-512",
    "4-396-624-6-384",
    "4-432-384-4-256",
    "3-320-608-4-256",
    "5-564-1024-12-528",
    "5-324-600-12-324",
    "5-280-512-12-276",
    "4-256-480-12-192",
    "6-248-524-12-240",
    "6-384-1536-12-384",
];

/// Time engines on the same files, alternately.
#[derive(Parser)]
struct Arguments {
    /// Architectures
    #[arg(long, value_delimiter = ',', default_values = ARCHITECTURES)]
    architectures: Vec<Architecture>,
    /// Tokens of the text; the rest of the file's 128 is padding
    #[arg(long, value_delimiter = ',', default_values_t = [128, 64, 32, 16])]
    lengths: Vec<usize>,
    /// Engines, the one that the others are compared with last
    #[arg(long, value_delimiter = ',', default_values_t = Peer::ALL)]
    engines: Vec<Peer>,
    /// Heads that the files have
    #[arg(long, value_delimiter = ',', default_values = ["states", "pooler"])]
    heads: Vec<String>,
    /// Threads of each engine; on one the processor's time counts, on more the clock's
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// What the files' weights are
    #[arg(long, default_value_t)]
    precision: Precision,
    /// Runs of each engine on each text
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Folder for `samples.jsonl` and `table.md`; without it they are only printed
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What runs a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// The session, with measured kernels.
    Tuned,
    /// The session, with tract's kernels.
    Fixed,
    /// The session, which computes in integers what the file has in them.
    Integers,
    /// Plain tract.
    Tract,
    /// rten.
    Rten,
    /// ONNX Runtime on a file of exactly the text's length.
    OnnxRuntimeExact,
    /// ONNX Runtime.
    OnnxRuntime,
}

impl Peer {
    const ALL: [Self; 7] = [
        Self::Tuned,
        Self::Fixed,
        Self::Integers,
        Self::Tract,
        Self::Rten,
        Self::OnnxRuntimeExact,
        Self::OnnxRuntime,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Tuned => "tuned",
            Self::Fixed => "fixed",
            Self::Integers => "integers",
            Self::Tract => "tract",
            Self::Rten => "rten",
            Self::OnnxRuntimeExact => "onnx-runtime-exact",
            Self::OnnxRuntime => "onnx-runtime",
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One engine with a file.
enum Loaded {
    Ours(Box<Session>),
    OnnxRuntime(OnnxSession, Batch),
    Rten(Box<RtenSession>, atb_rten::Batch),
}

impl Loaded {
    fn run(&mut self, inputs: &Inputs) -> Result<()> {
        match self {
            Self::Ours(session) => {
                std::hint::black_box(session.run(inputs)?);
            }
            Self::OnnxRuntime(session, batch) => session.run(batch)?,
            Self::Rten(session, batch) => session.run(batch)?,
        }
        Ok(())
    }

    fn outputs(&mut self, inputs: &Inputs) -> Result<Outputs> {
        Ok(match self {
            Self::Ours(session) => session.run(inputs)?,
            Self::OnnxRuntime(session, batch) => session.outputs(batch)?,
            Self::Rten(session, batch) => session.outputs(batch)?,
        })
    }
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.precision == Precision::F32 {
        // There are none in the file.
        arguments.engines.retain(|engine| *engine != Peer::Integers);
    }
    ensure!(arguments.rounds > 0, "--rounds: at least one");
    ensure!(arguments.threads > 0, "--threads: at least one");
    let threads = arguments.threads;
    let folder = tempfile::tempdir()?;
    let onnx_runtime = OnnxRuntime::load(&atb_fetch::onnx_runtime()?)?;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let names: Vec<String> = arguments.architectures.iter().map(Architecture::id).collect();
    let mut all = Vec::new();
    for (architecture, name) in arguments.architectures.iter().zip(&names) {
        let file = folder.path().join("model.onnx");
        write_model(architecture, SEQUENCE, &arguments, &file)?;
        for &tokens in &arguments.lengths {
            ensure!((1..=SEQUENCE).contains(&tokens), "--lengths: 1 to {SEQUENCE}");
            let exact = folder.path().join("exact.onnx");
            write_model(architecture, tokens, &arguments, &exact)?;
            let inputs = text(tokens, SEQUENCE);
            let mut loaded: Vec<(usize, Loaded)> = Vec::new();
            for (at, peer) in arguments.engines.iter().enumerate() {
                let ours = |engine| -> Result<Loaded> {
                    Ok(Loaded::Ours(Box::new(Session::open_with(&file, threads, engine)?)))
                };
                let ort = |file: &Path, sequence, inputs: &Inputs| -> Result<Loaded> {
                    let session = onnx_runtime.open(file, threads)?;
                    let batch = session.batch([1, sequence], inputs)?;
                    Ok(Loaded::OnnxRuntime(session, batch))
                };
                loaded.push((
                    at,
                    match peer {
                        Peer::Tuned => ours(Engine::Tuned)?,
                        Peer::Fixed => ours(Engine::Fixed)?,
                        Peer::Integers => ours(Engine::Integers)?,
                        Peer::Tract => ours(Engine::Plain)?,
                        Peer::Rten => {
                            let session = RtenSession::open(&file, threads)?;
                            let batch = session.batch([1, SEQUENCE], &inputs)?;
                            Loaded::Rten(Box::new(session), batch)
                        }
                        Peer::OnnxRuntimeExact => ort(&exact, tokens, &text(tokens, tokens))?,
                        Peer::OnnxRuntime => ort(&file, SEQUENCE, &inputs)?,
                    },
                ));
            }
            let mut samples = vec![Vec::with_capacity(arguments.rounds); loaded.len()];
            let (_, reference) = loaded.last_mut().context("no engine")?;
            let expected = reference.outputs(&inputs)?;
            for (at, engine) in &mut loaded {
                let outputs = engine.outputs(&inputs)?;
                let peer = arguments.engines[*at];
                check((peer, arguments.precision), name, &outputs, &expected, tokens)?;
                for _ in 0..3 {
                    engine.run(&inputs)?;
                }
            }
            for _ in 0..arguments.rounds {
                loaded.shuffle(&mut random);
                for (at, engine) in &mut loaded {
                    samples[*at].push(timed(threads, || engine.run(&inputs))?);
                }
            }
            for (engine, microseconds) in arguments.engines.iter().zip(samples) {
                let engine = *engine;
                let Arguments { heads, precision, .. } = &arguments;
                all.push(Series {
                    architecture: name.clone(),
                    heads: heads.clone(),
                    precision: *precision,
                    threads,
                    tokens,
                    engine: engine.name().to_owned(),
                    microseconds,
                });
            }
            eprintln!("{name}, {tokens} tokens");
        }
    }
    let table = table(&all)?;
    println!("{table}");
    if let Some(out) = &arguments.out {
        fs_err::create_dir_all(out)?;
        let mut lines = Vec::new();
        for series in &all {
            lines.extend(atb_files::json_line(series)?);
        }
        atb_files::write(&out.join("samples.jsonl"), &lines)?;
        atb_files::write_json(&out.join("conditions.json"), &conditions(&arguments)?)?;
        write_text(&out.join("table.md"), &table)?;
    }
    Ok(())
}

fn write_model(
    architecture: &Architecture,
    sequence: usize,
    arguments: &Arguments,
    file: &Path,
) -> Result<()> {
    let mut config = NetworkConfig::encoder(WORDS);
    config.precision = arguments.precision;
    config.heads.clear();
    for name in &arguments.heads {
        let head = atb_interface::Head::named(name).with_context(|| format!("no head {name}"))?;
        config.heads.push(NetworkHead { head, dense: head.dense, width: 2 });
    }
    Network::new(architecture, Workload { batch: 1, sequence }, &config)
        .write(&RandomWeights::new(1), file)?;
    Ok(())
}

/// Microseconds that one run takes.
fn timed(threads: usize, run: impl FnOnce() -> Result<()>) -> Result<f64> {
    if threads == 1 {
        let start = processor_time()?;
        run()?;
        return Ok(processor_time()? - start);
    }
    settle()?;
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

/// Waits until no thread of this process is at work: those of some engines go on looking for it
/// after a run, on a core that the next engine needs.
fn settle() -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..500 {
        let before = processor_time()?;
        std::thread::sleep(PAUSE);
        if processor_time()? - before < 500.0 {
            return Ok(());
        }
    }
    bail!("an engine's threads work on without a task");
}

/// Microseconds that this process has computed, on all its threads: what other programs take of a
/// shared machine is not in it.
fn processor_time() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3)
}

/// A text of so many tokens, padded.
fn text(tokens: usize, sequence: usize) -> Inputs {
    let mut ids = vec![0; sequence];
    for (at, id) in ids[..tokens].iter_mut().enumerate() {
        *id = (at * 7919 + 1000) as i64 % WORDS as i64;
    }
    let mut inputs = Inputs::of_ids(ids);
    inputs.attention_mask[tokens..].fill(0);
    inputs
}

/// That an engine says of the real tokens what the reference says.
fn check(
    (peer, precision): (Peer, Precision),
    name: &str,
    outputs: &Outputs,
    expected: &Outputs,
    tokens: usize,
) -> Result<()> {
    for (one, other) in outputs.0.iter().zip(&expected.0) {
        let by_token = |output: &Output| match output.shape[..] {
            [1, sequence, ..] => tokens * output.values.len() / sequence,
            _ => output.values.len(),
        };
        let (one, other) = (&one.values, &other.values[..by_token(other)]);
        if precision == Precision::Int8 {
            // Some engines round activations and others do not.
            let lengths = one.iter().zip(other).fold((0.0, 0.0), |(difference, length), (a, b)| {
                (difference + f64::from(a - b).powi(2), length + f64::from(*b).powi(2))
            });
            let relative = (lengths.0 / lengths.1).sqrt();
            ensure!(relative < 0.5, "{name} in {peer}: other outputs, by {relative:.2}");
            continue;
        }
        for (a, b) in one.iter().zip(other) {
            let difference = (a - b).abs();
            let most = if peer == Peer::Rten { atb_rten::TOLERANCE } else { 1e-4 };
            if difference.is_nan() || difference > most {
                bail!("{name} in {peer}: {a} instead of {b}");
            }
        }
    }
    Ok(())
}

/// The machine, the day and the engines.
fn conditions(arguments: &Arguments) -> Result<Conditions> {
    let cpuinfo = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let date = std::process::Command::new("date").arg("+%F").output()?;
    let ours = format!("atb {}, {}", env!("CARGO_PKG_VERSION"), atb_runtime::ENGINE);
    let version = |peer: &Peer| {
        let version = match peer {
            Peer::Tuned | Peer::Fixed | Peer::Integers => ours.clone(),
            Peer::Tract => atb_runtime::ENGINE.split(',').next().unwrap_or_default().to_owned(),
            Peer::Rten => RTEN.to_owned(),
            Peer::OnnxRuntimeExact | Peer::OnnxRuntime => ONNX_RUNTIME.to_owned(),
        };
        (peer.name().to_owned(), version)
    };
    Ok(Conditions {
        schema: 1,
        machine: format!("{name}, {cores} cores"),
        date: String::from_utf8_lossy(&date.stdout).trim().to_owned(),
        measure: match arguments.threads {
            1 => "processor time".to_owned(),
            _ => "time by the clock".to_owned(),
        },
        versions: arguments.engines.iter().map(version).collect(),
    })
}
