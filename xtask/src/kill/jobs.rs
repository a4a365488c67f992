//! The commands that are killed, and what they work on.

use std::fmt::Write;
use std::path::Path;

use super::Program;

/// A command that is killed. Its folder is new; what it reads lies in `../inputs`.
pub(crate) struct Job {
    pub(crate) name: &'static str,
    pub(crate) arguments: Vec<String>,
    /// Whether it says the same once more when it is done.
    pub(crate) repeats: bool,
    /// Whether it is refused when it is done.
    pub(crate) refuses_again: bool,
    /// What is there when it is done, of a command that is refused then.
    done: &'static str,
}

impl Job {
    /// Whether it is done in `folder`.
    pub(crate) fn is_done(&self, folder: &Path) -> bool {
        self.refuses_again && folder.join(self.done).exists()
    }
}

/// A device without noise to speak of: what an interrupted session measured is then what one
/// without interruption does.
const TARGET: &str = r#"
name = "quiet"
[transport]
kind = "simulated"
noise = 1e-7
outliers = 0.0
cold_cache = 0.0
pace = 0.02
"#;

const SPACE: &str = r#"
name = "small"
layers = { min = 1, max = 3 }
hidden = { min = 36, max = 96, step = 12 }
intermediate = { min = 64, max = 256, step = 16 }
heads = 12
qkv = { min = 36, max = 96, step = 12 }
"#;

const RUN: &str = r#"
target = "../inputs/quiet.toml"
superplm = "../inputs/superplm"
output = "out"
SPACE
[budget]
speedup = 200.0
low = 0.3
high = 3.0
[profile]
samples = 16
retests = 4
[protocol]
reference = "1-64-128-4-64"
[protocol.workload]
sequence = 32
[search]
population = 6
generations = 3
[fitness]
sequence_length = 16
paragraphs = 8
"#;

const TRAIN: &str = r#"
text = ["../inputs/text.txt"]
output = "out"
start = "random"
size = "2-60-128-12-60"
teacher = "../inputs/superplm"
objective = "kd"
sequence_length = 16
batch_size = 4
seed = 3
checkpoint_every = 5
validate_every = 7
[schedule]
steps = 30
warmup_steps = 3
learning_rate = 1e-3
[one_shot]
per_step = 2
SPACE
[held_out]
sequence_length = 12
paragraphs = 3
"#;

const FINETUNE: &str = r#"
model = "../inputs/superplm"
task = "../inputs/mood.toml"
arch = "2-60-128-12-60"
output = "tuned"
seeds = [0, 1]
[training]
epochs = 3
batch_size = 8
learning_rate = 2e-3
"#;

const TASK: &str = "name = 'mood'\nkind = 'classification'\nlabels = ['bad', 'good']\n\
                    first = 'text'\ntarget = 'label'\nmetrics = ['accuracy']\n\
                    splits = { train = 'train.csv', dev = 'dev.csv' }\n";

/// Rows whose label hangs on one word, from the `first` on.
fn rows(first: usize, count: usize) -> String {
    let mut rows = "text,label\n".to_owned();
    for row in first..first + count {
        let (word, label) = if row % 2 == 0 { ("awful", "bad") } else { ("splendid", "good") };
        // Writing to a String does not fail.
        let _ = writeln!(rows, "the {word} phone of {row} days,{label}");
    }
    rows
}

/// Makes what the commands work on in `inputs`, and says which they are.
pub(crate) fn prepare(program: &Program, inputs: &Path) -> anyhow::Result<Vec<Job>> {
    let write = |name: &str, text: &str| std::fs::write(inputs.join(name), text);
    let with_space = |text: &str, table: &str| {
        let space = SPACE.trim().replace("name =", &format!("[{table}]\nname ="));
        text.replace("SPACE", &space)
    };
    write("quiet.toml", TARGET)?;
    write("space.toml", SPACE)?;
    write("run.toml", &with_space(RUN, "space"))?;
    write("train.toml", &with_space(TRAIN, "one_shot.space"))?;
    write("finetune.toml", FINETUNE)?;
    write("mood.toml", TASK)?;
    write("train.csv", &rows(0, 120))?;
    write("dev.csv", &rows(500, 40))?;
    let document = "A battery lasts two days.\nIt charges quickly.\n\nAnother document.\n";
    write("text.txt", &document.repeat(40))?;

    let whole = "3-96-256-12-96";
    program.succeed(
        inputs,
        &["extract", "--superplm", "auto", "--arch", whole, "--out", "superplm"],
    )?;
    let profile = [
        "profile",
        "--target",
        "../inputs/quiet.toml",
        "--space",
        "../inputs/space.toml",
        "--samples",
        "40",
        "--retests",
        "10",
        "--baseline",
        whole,
        "--sequence",
        "32",
        "--out",
        "measurements.jsonl",
    ];
    program.succeed(inputs, &profile)?;
    let fit = ["fit", "measurements.jsonl", "--space", "space.toml"];
    program.succeed(inputs, &fit)?;
    let search = [
        "search",
        "--predictor",
        "../inputs/predictor.json",
        "--superplm",
        "../inputs/superplm",
        "--speedup",
        "1.5",
        "--baseline",
        whole,
        "--low",
        "0.3",
        "--high",
        "3",
        "--population",
        "12",
        "--generations",
        "4",
        "--text",
        "../inputs/text.txt",
        "--measure",
        "3",
        "--target",
        "../inputs/quiet.toml",
    ];
    let owned = |arguments: &[&str]| arguments.iter().map(|&it| it.to_owned()).collect();
    let job =
        |name, arguments| Job { name, arguments, repeats: false, refuses_again: false, done: "" };
    Ok(vec![
        job("profile", owned(&profile)),
        Job { repeats: true, ..job("search", owned(&search)) },
        Job { repeats: true, ..job("train", owned(&["train", "../inputs/train.toml"])) },
        Job {
            refuses_again: true,
            done: "tuned",
            ..job("finetune", owned(&["finetune", "../inputs/finetune.toml"]))
        },
        job("run", owned(&["run", "../inputs/run.toml"])),
    ])
}
