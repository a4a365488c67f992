//! The configuration of a run, a TOML file. `examples/host.toml` documents every key.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use atb_measurements::{Protocol, ProtocolSettings};
use atb_search::{Budget, Settings, Strategy};
use atb_settings::{Check, Checked, Layers, Renamed, SettingsError};
use atb_space::{Architecture, Precision, Space};
use atb_targets::Target;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::PipelineError;

/// What a run is to do; every key has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The device: a built-in name or a target file.
    pub target: String,
    /// The search space.
    pub space: SpaceChoice,
    /// The SuperPLM: a model folder, `auto` for the built-in one, or `teacher`.
    pub superplm: String,
    /// Folder of everything that the run makes.
    pub output: PathBuf,
    /// The latency budget.
    pub budget: Budget,
    /// What is measured.
    pub profile: ProfileConfig,
    /// How the measuring is done.
    pub protocol: ProtocolSettings,
    /// How the search goes.
    pub search: Settings,
    /// What the search minimises.
    pub fitness: FitnessConfig,
    /// How many of the best of the search are measured before one is chosen.
    pub finalists: usize,
    /// Lengths of text, in tokens, that the winner is measured at besides the whole input.
    pub lengths: Vec<usize>,
    /// How the winner is exported.
    pub export: ExportConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: "local".to_owned(),
            space: SpaceChoice(Space::paper_kd()),
            superplm: "auto".to_owned(),
            output: PathBuf::from("atb-run"),
            budget: Budget::default(),
            profile: ProfileConfig::default(),
            protocol: ProtocolSettings::default(),
            search: Settings::default(),
            fitness: FitnessConfig::default(),
            finalists: 3,
            lengths: vec![16, 32, 64],
            export: ExportConfig::default(),
        }
    }
}

/// How the winner is exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportConfig {
    /// What the word embeddings and products of the exported file are.
    pub precision: Precision,
}

/// A space by name (`kd`, `mlm`) or written out as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceChoice(pub Space);

impl Serialize for SpaceChoice {
    /// Written out: a name says nothing to those who do not know it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SpaceChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;

        impl<'de> Visitor<'de> for Choice {
            type Value = SpaceChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "`kd`, `mlm` or a table with name, layers, hidden, intermediate, heads and qkv",
                )
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<SpaceChoice, E> {
                let unknown = || E::invalid_value(serde::de::Unexpected::Str(name), &self);
                Space::by_name(name).map(SpaceChoice).ok_or_else(unknown)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SpaceChoice, A::Error> {
                Space::deserialize(MapAccessDeserializer::new(map)).map(SpaceChoice)
            }
        }

        deserializer.deserialize_any(Choice)
    }
}

impl SpaceChoice {
    /// The paper's space of that name, or the one in the TOML file of that name.
    ///
    /// # Errors
    /// [`PipelineError`] if it is neither, or the file is no space.
    pub fn find(choice: &str) -> Result<Space, PipelineError> {
        if let Some(space) = Space::by_name(choice) {
            return Ok(space);
        }
        let path = Path::new(choice);
        if !path.exists() {
            return Err(PipelineError::Setting {
                key: "the space",
                value: format!("`{choice}`"),
                expected: "`kd`, `mlm` or a TOML file with name, layers, hidden, intermediate, heads and qkv",
                hint: None,
            });
        }
        let space: Space = read_toml(path)?;
        space.validate()?;
        Ok(space)
    }
}

/// Reads a TOML file, naming the line of what is wrong in it.
pub(crate) fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, PipelineError> {
    Ok(Layers::new().file(path)?.parse()?)
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileConfig {
    /// Architectures measured to fit the predictor on.
    pub samples: usize,
    /// Of these, how many are measured twice, to know what the measurements are worth.
    pub retests: usize,
    /// Seed of which ones they are.
    pub seed: u64,
    /// How they are chosen.
    pub sampling: Sampling,
    /// Measured besides, so that speed-ups can be quoted against them.
    pub baselines: Vec<Architecture>,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        let baselines = vec![Architecture::bert_base()];
        Self { samples: 36, retests: 6, seed: 0, sampling: Sampling::Designed, baselines }
    }
}

impl Checked for ProfileConfig {
    fn check(&self, at: &mut Check) {
        at.range("samples", self.samples, 1..=100_000);
        at.range("retests", self.retests, 0..=100_000);
    }
}

/// How the architectures to measure are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// Those that tell a predictor most, the space's corners included.
    Designed,
    /// Each gene uniformly: to test a predictor on, as a search would draw them.
    Uniform,
}

impl Sampling {
    /// All ways, the default one first.
    pub const ALL: [Self; 2] = [Self::Designed, Self::Uniform];

    /// What it is called in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Designed => "designed",
            Self::Uniform => "uniform",
        }
    }
}

/// From `[CLS]`, a token and `[SEP]` to far more than any BERT has positions for.
pub(crate) const SEQUENCE_LENGTHS: RangeInclusive<usize> = 3..=65_536;

/// A text that nothing is trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeldOutConfig {
    /// The file, one paragraph a line; a built-in text if absent.
    pub text: Option<PathBuf>,
    /// Whether each sentence is a text of its own, instead of each paragraph.
    pub sentences: bool,
    /// Tokens that a text is cut to.
    pub sequence_length: usize,
    /// Maximum number of paragraphs.
    pub paragraphs: usize,
}

impl Default for HeldOutConfig {
    fn default() -> Self {
        Self { text: None, sentences: true, sequence_length: 64, paragraphs: 256 }
    }
}

impl Checked for HeldOutConfig {
    fn check(&self, at: &mut Check) {
        at.range("sequence_length", self.sequence_length, SEQUENCE_LENGTHS);
        at.range("paragraphs", self.paragraphs, 1..=1_000_000);
    }
}

/// What the search minimises: a loss on held-out text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitnessConfig {
    /// Which loss.
    pub loss: Loss,
    /// The teacher that sub-models are compared with: a model folder, or `auto` for
    /// all-MiniLM-L6-v2. If absent, what the SuperPLM keeps of its teacher, else the whole
    /// SuperPLM.
    pub teacher: Option<String>,
    /// The file, as [`HeldOutConfig::text`].
    pub text: Option<PathBuf>,
    /// As [`HeldOutConfig::sentences`].
    pub sentences: bool,
    /// As [`HeldOutConfig::sequence_length`].
    pub sequence_length: usize,
    /// As [`HeldOutConfig::paragraphs`].
    pub paragraphs: usize,
}

impl FitnessConfig {
    /// A loss on a held-out text.
    #[must_use]
    pub fn new(loss: Loss, held_out: HeldOutConfig) -> Self {
        let HeldOutConfig { text, sentences, sequence_length, paragraphs } = held_out;
        Self { loss, teacher: None, text, sentences, sequence_length, paragraphs }
    }

    /// The text.
    #[must_use]
    pub fn held_out(&self) -> HeldOutConfig {
        let Self { text, sentences, sequence_length, paragraphs, .. } = self.clone();
        HeldOutConfig { text, sentences, sequence_length, paragraphs }
    }
}

impl Default for FitnessConfig {
    fn default() -> Self {
        Self::new(Loss::ALL[0], HeldOutConfig::default())
    }
}

impl Checked for FitnessConfig {
    fn check(&self, at: &mut Check) {
        self.held_out().check(at);
    }
}

/// A loss of sub-models on held-out text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The distance from the teacher's sentence embeddings.
    Sentence,
    /// The distance from the teacher's hidden states and attention scores.
    Kd,
    /// The cross-entropy of masked tokens, for a SuperPLM that was trained by it.
    Mlm,
}

impl Loss {
    /// All losses, the default one first.
    pub const ALL: [Self; 3] = [Self::Sentence, Self::Kd, Self::Mlm];

    /// What it is called in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sentence => "sentence",
            Self::Kd => "kd",
            Self::Mlm => "mlm",
        }
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Sentence => "Distance from the teacher's sentence embeddings",
            Self::Kd => "Distance from the teacher's hidden states and attention scores",
            Self::Mlm => "Cross-entropy of masked tokens, for a SuperPLM that was trained by it",
        }
    }
}

impl Checked for Config {
    fn check(&self, at: &mut Check) {
        at.range("finalists", self.finalists, 1..=1_000);
        at.range("lengths", self.lengths.len(), 0..=32);
        for length in &self.lengths {
            at.range("lengths", *length, SEQUENCE_LENGTHS);
        }
        at.nested("budget", &self.budget);
        at.nested("profile", &self.profile);
        at.nested("protocol", &self.protocol);
        let (measured, exported) = (self.protocol.precision, self.export.precision);
        at.table("protocol", |at| {
            let same = measured == Precision::default() || measured == exported;
            at.that(
                "precision",
                measured,
                same,
                format!("export.precision, {exported}, or nothing"),
            );
        });
        at.nested("search", &self.search);
        at.nested("fitness", &self.fitness);
    }
}

/// Former names of keys and values.
static RENAMED: LazyLock<Vec<Renamed>> = LazyLock::new(|| {
    let strategy = |(old, new)| Renamed::Value { key: "search.strategy", old, new };
    let keys = [
        Renamed::Key { old: "budget.against", new: "budget.baseline" },
        Renamed::Key { old: "budget.level", new: "budget.confidence_level" },
        Renamed::Key { old: "fitness.sequence", new: "fitness.sequence_length" },
    ];
    keys.into_iter().chain(Strategy::former_names().map(strategy)).collect()
});

impl Config {
    /// The protocol of every measurement: on this target, of networks that are what the winner is
    /// exported as.
    #[must_use]
    pub fn protocol_on(&self, target: &Target) -> Protocol {
        let precision = self.export.precision;
        Protocol { precision, ..self.protocol.clone().on(target.threads, &target.cores) }
    }

    /// The layers of a configuration, none yet but the defaults: they know former names of
    /// keys and values.
    #[must_use]
    pub fn layers() -> Layers {
        Layers::new().renamed(&RENAMED)
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`SettingsError`] naming the line of what is unknown, of a wrong type or outside of
    /// its range.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        Self::layers().file(path)?.read()
    }

    /// Reads a configuration from its text; messages name it as `path`.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(path: impl AsRef<Path>, text: &str) -> Result<Self, SettingsError> {
        Self::layers().text(path, text)?.read()
    }
}

#[cfg(test)]
mod tests {
    use atb_search::{Gene, Mutation};

    use super::*;

    #[test]
    fn the_example_is_the_default_written_out() {
        let example = include_str!("../../examples/host.toml");
        let written = Config::parse("job.toml", example).expect("the example parses");
        let speedup = written.budget.speedup;
        assert_eq!(speedup, Some(Budget::DEFAULT_SPEEDUP));
        let budget = Budget { speedup: None, ..written.budget };
        assert_eq!(Config { budget, ..written }, Config::default());
    }

    #[test]
    fn the_example_without_a_device_has_a_simulated_target() {
        let example = include_str!("../../examples/simulated.toml");
        let config = Config::parse("job.toml", example).expect("the example parses");
        let target = Target::find(&config.target).expect("built in");
        assert_eq!(target.transport.kind(), "simulated");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let error = |text: &str| Config::parse("job.toml", text).expect_err("invalid").to_string();
        let unknown = error("target = \"local\"\nbuget = 3\n");
        assert!(unknown.contains("line 2") && unknown.contains("buget"), "{unknown}");
        let wrong_type = error("[budget]\nspeedup = \"fast\"\n");
        assert!(
            wrong_type.contains("line 2") && wrong_type.contains("expected a number"),
            "{wrong_type}"
        );
        let no_space = error("target = \"local\"\nspace = \"moon\"\n");
        assert!(no_space.contains("line 2") && no_space.contains("moon"), "{no_space}");
        let misspelt = error("[space]\nname = \"x\"\nlayer = 3\n");
        assert!(misspelt.contains("layer"), "{misspelt}");
        let no_threads = error("[protocol]\nthreads = 0\n");
        assert!(no_threads.contains("line 2") && no_threads.contains("1 to 1024"), "{no_threads}");
        let deep = error("[protocol.warm_up]\nmin_run = 3\n");
        assert!(deep.contains("line 2") && deep.contains("min_run"), "{deep}");
    }

    #[test]
    fn the_target_says_what_the_job_leaves_open() {
        let target = "name = \"pi\"\ncores = [2, 3]\nthreads = 2\ntransport = { kind = \"local\" }";
        let target = Target::parse(target, "pi.toml").expect("a target");
        let this_machine = Target::find("local").expect("built in");
        let on = |config: Config, target: &Target| config.protocol_on(target);
        let protocol = |text: &str, target| {
            let config = Config::parse("job.toml", text).expect(text);
            let Protocol { threads, cores, .. } = on(config, target);
            (threads, cores)
        };
        assert_eq!(on(Config::default(), &this_machine), Protocol::default());
        assert_eq!(protocol("", &target), (2, vec![2, 3]));
        assert_eq!(protocol("protocol.threads = 1", &target), (1, vec![2, 3]));
        assert_eq!(protocol("protocol.cores = [0]", &target), (2, vec![0]));
        assert_eq!(protocol("protocol.cores = []", &target), (2, vec![]));
        let config = Config::parse("job.toml", "export.precision = \"int8\"").expect("parses");
        assert_eq!(on(config, &target).precision, Precision::Int8);
    }

    #[test]
    fn a_budget_is_one_of_two() {
        let budget = |text: &str| Config::parse("job.toml", text).map(|config| config.budget);
        assert_eq!(budget("").expect("a default"), Budget::default());
        assert_eq!(budget("budget.latency_ms = 4").expect("valid"), Budget::paper(4.0));
        assert_eq!(
            budget("budget = { latency_ms = 4.0, speedup = 2.0 }").expect_err("both").to_string(),
            "job.toml: line 1: `budget.speedup` is 2, expected no speed-up beside a latency in \
             milliseconds: one of the two"
        );
        assert!(budget("budget.speedup = -1").is_err());
    }

    #[test]
    fn the_example_describes_every_strategy_and_every_loss() {
        let example = include_str!("../../examples/host.toml");
        let names = Strategy::ALL.iter().map(|strategy| strategy.name);
        for name in names.chain(Loss::ALL.map(Loss::name)) {
            assert!(example.contains(&format!("`{name}`")), "examples/host.toml has no `{name}`");
        }
        for strategy in Strategy::ALL {
            let text = format!("search.strategy = \"{strategy}\"");
            let search = Config::parse("job.toml", &text).expect("known").search;
            assert_eq!(search, Settings::of(*strategy));
        }
        for loss in Loss::ALL {
            let text = format!("fitness.loss = \"{}\"", loss.name());
            assert_eq!(Config::parse("job.toml", &text).expect("known").fitness.loss, loss);
        }
    }

    #[test]
    fn former_names_are_refused_by_the_present_ones() {
        let texts = [
            "[budget]\nagainst = \"12-768-3072-12-768\"",
            "[budget]\nlevel = 0.9",
            "[fitness]\nsequence = 64",
            "[search]\nstrategy = \"evolved\"",
            "[search]\nstrategy = \"steady\"",
            "[search]\nstrategy = \"guided\"",
            "[search]\nstrategy = \"front\"",
            "[search]\nstrategy = \"evolutionery\"",
        ];
        let told = |text| {
            let error = miette::Report::new(Config::parse("job.toml", text).expect_err(text));
            format!("{error}\n  help: {}", error.help().expect("a remedy"))
        };
        insta::assert_snapshot!(texts.map(told).join("\n"), @r"
        job.toml: line 2: `budget.against` is now called `budget.baseline`
          help: write `budget.baseline` instead
        job.toml: line 2: `budget.level` is now called `budget.confidence_level`
          help: write `budget.confidence_level` instead
        job.toml: line 2: `fitness.sequence` is now called `fitness.sequence_length`
          help: write `fitness.sequence_length` instead
        job.toml: line 2: `evolved` is now called `evolutionary`
          help: write `evolutionary` instead
        job.toml: line 2: `steady` is now called `genetic`
          help: write `genetic` instead
        job.toml: line 2: `guided` is now called `surrogate-assisted`
          help: write `surrogate-assisted` instead
        job.toml: line 2: `front` is now called `nsga2`
          help: write `nsga2` instead
        job.toml: line 2: `search.strategy` is `evolutionery`, expected one of evolutionary, genetic, surrogate-assisted, nsga2, random, fast
          help: did you mean `evolutionary`? change the value, or leave the key out to take its default
        ");
    }

    #[test]
    fn values_outside_of_their_range_are_refused_with_key_and_line() {
        let texts = [
            "finalists = 0",
            "[search]\npopulation = 0\ngenerations = 1000000000\nfresh = 2\ncrossover = nan",
            "[search]\nthreads = 0",
            "[search.mutation]\nhidden = { probability = nan, reach = 1, step = 1 }",
            "[budget]\nlow = nan",
            "[budget]\nhigh = 1e308",
            "[budget]\nlow = 2.0\nhigh = 1.0",
            "[budget]\nconfidence_level = 2",
            "[budget]\nlatency_ms = -1.0",
            "[budget]\nspeedup = inf",
            "[budget.limits]\nvocabulary = 0\npositions = 0\nbytes_per_parameter = 0",
            "[budget.limits]\nparameters = 0",
            "[profile]\nsamples = 0\nretests = 0",
            "[profile]\nsamples = 1000000000",
            "[profile]\nretests = 1000000000",
            "[fitness]\nsequence_length = 0\nparagraphs = 0",
            "[fitness]\nsequence_length = 9223372036854775807",
            "[protocol.workload]\nbatch = 0",
            "[protocol.workload]\nsequence = 0",
            "[protocol]\nmax_pairs = 0",
            "[protocol]\nmin_pairs = 20\nmax_pairs = 10",
            "[protocol]\nratio_half_width = nan",
            "[protocol]\nmax_seconds = -1.0",
            "[protocol]\ncores = [2, 2]",
            "[protocol]\nthreads = 1000000",
            "[protocol]\nvocabulary = 0",
            "[protocol.warm_up]\ntolerance = -0.1",
            "[protocol.drift]\ntolerance = nan\ncool_down_seconds = -2.0\nsession_seconds = inf",
        ];
        let refused = |text| Config::parse("job.toml", text).expect_err(text).to_string();
        insta::assert_snapshot!(texts.map(refused).join("\n"));
    }

    #[test]
    fn tables_that_are_written_in_part_take_the_defaults_for_the_rest() {
        let read = |text| Config::parse("job.toml", text).expect("valid");
        let workload = read("[protocol.workload]\nsequence = 64\n").protocol.workload;
        assert_eq!((workload.batch, workload.sequence), (1, 64));
        let mutation = read("[search.mutation.hidden]\nstep = 8\n").search.mutation;
        let default = Mutation::default();
        let hidden = Gene { step: 8, ..default.hidden };
        assert_eq!(mutation, Mutation { hidden, ..default });
        let search = read("[search]\nstrategy = \"genetic\"\ngenerations = 3\n").search;
        assert_eq!(search, Settings { generations: 3, ..Settings::of(Strategy::GENETIC) });
    }
}
