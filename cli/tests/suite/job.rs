//! A small main job: a small SuperPLM of random weights, a small space, short measurements.

use std::path::PathBuf;
use std::process::{Command, Output};

use atb_superplm::{SuperPlm, extract};
use atb_text::Tokenizer;

/// A folder with a SuperPLM and a configuration that uses it.
pub(crate) struct Job {
    folder: tempfile::TempDir,
}

const CONFIG: &str = r#"
superplm = "superplm"
output = "out"
lengths = [16]

[space]
name = "small"
layers = { min = 1, max = 3 }
hidden = { min = 32, max = 96, step = 8 }
intermediate = { min = 64, max = 256, step = 16 }
heads = 4
qkv = { min = 32, max = 96, step = 8 }

[budget]
speedup = 120.0
low = 0.3
high = 3.0

[profile]
samples = 12
retests = 2

[protocol]
reference = "1-64-128-4-64"
min_pairs = 3
max_pairs = 4
max_seconds = 0.1

[protocol.drift]
session_seconds = 0.0

[protocol.workload]
batch = 1
sequence = 32

[search]
population = 4
generations = 2

[fitness]
sequence_length = 16
paragraphs = 4
"#;

/// A small training from its SuperPLM.
pub(crate) const TRAINING: &str = r#"
text = ["text.txt"]
output = "trained"
start = "superplm"
size = "2-64-128-4-64"
teacher = "superplm"
sequence_length = 16
batch_size = 2
seed = 3
checkpoint_every = 2
validate_every = 3

[schedule]
steps = 4
warmup_steps = 1
learning_rate = 1e-3

[one_shot]
per_step = 2

[one_shot.space]
name = "small"
layers = { min = 1, max = 3 }
hidden = { min = 32, max = 96, step = 8 }
intermediate = { min = 64, max = 256, step = 16 }
heads = 4
qkv = { min = 32, max = 96, step = 8 }

[held_out]
sequence_length = 12
paragraphs = 3
"#;

impl Job {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let whole = "3-96-256-4-96".parse().expect("an architecture");
        let tokenizer = Tokenizer::bert_uncased().expect("the built-in vocabulary");
        let plm = SuperPlm::random(whole, tokenizer, 7).expect("random weights");
        extract(&plm, plm.architecture(), &folder.path().join("superplm")).expect("writes");
        let job = Self { folder };
        job.configure(CONFIG);
        job
    }

    /// With a text, and a training on it in `train.toml`.
    pub(crate) fn training() -> Self {
        let job = Self::new();
        let text = "A battery lasts two days.\nIt charges quickly.\n\nAnother document.\n";
        std::fs::write(job.path("text.txt"), text.repeat(20)).expect("writes");
        std::fs::write(job.path("train.toml"), TRAINING).expect("writes");
        job
    }

    /// Profiles the configuration's space, written to `space.toml`, on a simulated phone.
    pub(crate) fn profiles_a_phone(&self) {
        self.space();
        let phone = "name = \"phone\"\n[transport]\nkind = \"simulated\"\n";
        std::fs::write(self.path("phone.toml"), phone).expect("writes");
        let profile = ["profile", "--target", "phone.toml", "--samples", "30", "--retests", "3"];
        let space = ["--space", "space.toml", "--baseline", "3-96-256-4-96"];
        self.succeeds(&[&profile[..], &space].concat());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.path("job.toml"), text).expect("writes");
    }

    /// The configuration with one part replaced, which must be there.
    pub(crate) fn change(&self, from: &str, to: &str) {
        assert!(CONFIG.contains(from), "the configuration has no `{from}`");
        self.configure(&CONFIG.replace(from, to));
    }

    /// One part of what [`Job::change`] wrote replaced as well.
    pub(crate) fn change_more(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path("job.toml")).expect("reads");
        assert!(text.contains(from), "the configuration has no `{from}`");
        self.configure(&text.replace(from, to));
    }

    /// Writes the configuration's space to `space.toml`.
    pub(crate) fn space(&self) {
        let begin = CONFIG.find("name = \"small\"").expect("a space");
        let end = CONFIG.find("[budget]").expect("a budget");
        std::fs::write(self.path("space.toml"), &CONFIG[begin..end]).expect("writes");
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atb"));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    pub(crate) fn atb(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("atb starts")
    }

    /// Runs atb, which must succeed, and returns its standard output.
    pub(crate) fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.atb(arguments);
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "atb {arguments:?} failed:\n{stderr}\n{stdout}");
        stdout
    }

    /// Runs atb, which must fail with status 1 and nothing on standard output, and returns
    /// its message.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.atb(arguments);
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "atb {arguments:?}:\n{stderr}\n{stdout}");
        assert_eq!(stdout, "");
        let begin = stderr.find("error: ").expect("a message");
        stderr[begin..].trim_end().to_owned()
    }

    /// The main job on a machine without Python and without fetched files; it must succeed.
    pub(crate) fn runs_without_python(&self) {
        let output = self
            .command(&["run", "job.toml"])
            .env("PATH", self.path("no-programs"))
            .env("ATB_CACHE", self.path("empty-cache"))
            .env_remove("ORT_DYLIB_PATH")
            .output()
            .expect("atb starts");
        assert!(output.status.success(), "{}", texts(&output).1);
    }

    pub(crate) fn report(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.path("out/report.json")).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    }
}

/// Standard output and standard error.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
