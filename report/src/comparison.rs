//! The comparison of two runs: two devices, two versions, or the same once more.

use atb_plots::{Axis, Chart, Layer, Point, Shape, Tone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{Card, Document, Panel, Plot, Table, Verdict};
use crate::figures::Figures;
use crate::texts::{loss, megabytes, ms, percent, signed_percent};

/// Version of the schema of a comparison's `figures.json`.
pub const COMPARISON_SCHEMA: u32 = 1;

/// Relative error of a measurement where a run measured nothing twice.
const UNKNOWN_ERROR: f64 = 0.02;

/// What differs between two runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Version of the schema: 1.
    pub schema: u32,
    /// Version of atb that wrote it.
    pub version: String,
    /// Names of the two runs.
    pub runs: (String, String),
    /// Figures of both.
    pub changes: Vec<Change>,
    /// What the two devices, engines and protocols differ in: name, and value of each.
    pub conditions: Vec<(String, String, String)>,
    /// Architectures that were measured in both.
    pub architectures: Vec<Both>,
    /// Relative difference below which two measurements of the same are not told apart: twice the
    /// error of a ratio of two, from those that each run measured twice.
    pub noise: f64,
}

/// A figure of two runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// What it is.
    pub name: String,
    /// Its unit: `ms`, `loss`, `times`, `share` or `bytes`.
    pub unit: String,
    /// In the first run.
    pub first: f64,
    /// In the second.
    pub second: f64,
    /// Whether they differ beyond noise; null where nothing tells.
    pub beyond_noise: Option<bool>,
}

/// An architecture that was measured in two runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Both {
    /// The architecture.
    pub architecture: String,
    /// Its latency in the first run, in milliseconds.
    pub first_ms: f64,
    /// In the second.
    pub second_ms: f64,
}

impl Both {
    fn ratio(&self) -> f64 {
        self.second_ms / self.first_ms
    }
}

impl Comparison {
    /// Compares `first` with `second`, called by `names`.
    #[must_use]
    pub fn of(names: (String, String), first: &Figures, second: &Figures) -> Self {
        let error = |figures: &Figures| figures.noise_floor.unwrap_or(UNKNOWN_ERROR);
        let noise = 2.0 * error(first).hypot(error(second));
        let beyond = |one: f64, other: f64| Some((other / one - 1.0).abs() > noise);
        let change = |name: &str, unit: &str, of: &dyn Fn(&Figures) -> Option<f64>| {
            let (one, other) = (of(first)?, of(second)?);
            let beyond_noise = match unit {
                "ms" => beyond(one, other),
                _ => None,
            };
            Some(Change {
                name: name.to_owned(),
                unit: unit.to_owned(),
                first: one,
                second: other,
                beyond_noise,
            })
        };
        let winner = |figures: &Figures| figures.runs.first().cloned();
        let same_winner = first.winner.architecture == second.winner.architecture;
        let mut changes: Vec<Change> = [
            change("latency of the winner", "ms", &|it| Some(it.winner.measured_ms)),
            change("latency of the baseline", "ms", &|it| Some(it.winner.baseline_ms)),
            change("speed-up", "times", &|it| Some(it.winner.speedup)),
            change("loss of the winner", "loss", &|it| Some(it.winner.loss)),
            change("run time, p90", "ms", &|it| Some(winner(it)?.percentiles_ms.1)),
            change("run time, p99", "ms", &|it| Some(winner(it)?.percentiles_ms.2)),
            change("time to load", "ms", &|it| winner(it)?.load_ms),
            change("memory", "bytes", &|it| Some(winner(it)?.memory_kib? as f64 * 1024.0)),
            change("size of the bundle", "bytes", &|it| {
                Some(it.bundle.iter().map(|part| part.bytes).sum::<u64>() as f64)
            }),
            change("error of the predictor", "share", &|it| Some(it.mape)),
            change("difference when measured again", "share", &|it| it.trust.difference),
        ]
        .into_iter()
        .flatten()
        .collect();
        // Of percentiles, load and another model's latency the retests say nothing.
        for change in &mut changes {
            let tells = match change.name.as_str() {
                "latency of the winner" => same_winner,
                "latency of the baseline" => first.winner.baseline == second.winner.baseline,
                _ => false,
            };
            change.beyond_noise = change.beyond_noise.filter(|_| tells);
        }
        let architectures = first
            .predictions
            .iter()
            .filter_map(|one| {
                let of = |it: &&crate::Predicted| it.architecture == one.architecture;
                let other = second.predictions.iter().find(of)?;
                Some(Both {
                    architecture: one.architecture.clone(),
                    first_ms: one.measured_ms,
                    second_ms: other.measured_ms,
                })
            })
            .collect();
        let mut named: Vec<&String> = first.device.iter().map(|(name, _)| name).collect();
        named.extend(
            second
                .device
                .iter()
                .map(|(name, _)| name)
                .filter(|name| !first.device.iter().any(|(known, _)| known == *name)),
        );
        let conditions = named
            .into_iter()
            .filter_map(|name| {
                let of = |figures: &Figures| {
                    let found = figures.device.iter().find(|(known, _)| known == name);
                    found.map_or_else(|| "unknown".to_owned(), |(_, value)| value.clone())
                };
                let (one, other) = (of(first), of(second));
                (one != other).then(|| (name.clone(), one, other))
            })
            .collect();
        Self {
            schema: COMPARISON_SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runs: names,
            changes,
            conditions,
            architectures,
            noise,
        }
    }

    /// Its report.
    #[must_use]
    pub fn document(&self) -> Document {
        let (first, second) = &self.runs;
        Document {
            about: "Two runs".to_owned(),
            title: format!("{first} and {second}"),
            description: String::new(),
            cards: self.cards(),
            verdicts: vec![self.verdict()],
            panels: self.panel().into_iter().collect(),
            tables: self.tables(),
            version: self.version.clone(),
        }
    }

    /// The geometric mean of the latency ratios of what both measured, and the share of them
    /// within the noise around it.
    fn common(&self) -> Option<(f64, f64)> {
        let count = self.architectures.len();
        let logarithms = self.architectures.iter().map(|both| both.ratio().ln());
        let mean = (logarithms.sum::<f64>() / count as f64).exp();
        let near = self
            .architectures
            .iter()
            .filter(|both| (both.ratio() / mean - 1.0).abs() <= self.noise)
            .count();
        (count > 0).then_some((mean, near as f64 / count as f64))
    }

    fn cards(&self) -> Vec<Card> {
        self.changes
            .iter()
            .take(4)
            .map(|change| Card {
                value: format!("{} → {}", change.text(change.first), change.text(change.second)),
                what: change.name.clone(),
                note: format!("{}{}", change.difference(), change.judged()),
            })
            .collect()
    }

    fn verdict(&self) -> Verdict {
        let changed: Vec<&Change> =
            self.changes.iter().filter(|change| change.beyond_noise == Some(true)).collect();
        let noise = format!(
            "Differences of up to {} are noise: twice the error that the runs' own repetitions show.",
            percent(self.noise)
        );
        let line = match (changed.as_slice(), self.common()) {
            ([], Some((mean, _))) if (mean - 1.0).abs() <= self.noise => format!(
                "No difference beyond noise: the {} architectures that both measured take {} of \
                 the first run's time in the second, on average.",
                self.architectures.len(),
                percent(mean)
            ),
            ([], None) => "What can be compared does not differ beyond noise.".to_owned(),
            (changed, common) => {
                let names: Vec<&str> = changed.iter().map(|change| change.name.as_str()).collect();
                let mut line = match names.as_slice() {
                    [] => String::new(),
                    names => format!("Beyond noise: {}. ", names.join(", ")),
                };
                if let Some((mean, near)) = common {
                    line.push_str(&format!(
                        "The {} architectures that both measured take {} of the first run's time \
                         in the second, {:.0} % of them within noise of that.",
                        self.architectures.len(),
                        percent(mean),
                        100.0 * near
                    ));
                }
                line.trim_end().to_owned()
            }
        };
        let same = changed.is_empty()
            && self.common().is_none_or(|(mean, _)| (mean - 1.0).abs() <= self.noise);
        Verdict { good: same, lines: vec![line], notes: vec![noise] }
    }

    fn panel(&self) -> Option<Panel> {
        let (mean, near) = self.common()?;
        let points = self.architectures.iter().map(|both| {
            let name = format!(
                "{}\n{} and {} ({})",
                both.architecture,
                ms(both.first_ms),
                ms(both.second_ms),
                signed_percent(both.ratio() - 1.0)
            );
            Point::new(both.first_ms, both.ratio(), name)
        });
        let times = || self.architectures.iter().map(|both| both.first_ms);
        let (low, high) = (times().reduce(f64::min)?, times().reduce(f64::max)?);
        Some(Panel {
            question: "Is one a scaled copy of the other?".to_owned(),
            answer: match near >= 0.9 {
                true => "Nearly: the ratio is the same for all sizes, so a predictor of one, \
                         calibrated, serves the other."
                    .to_owned(),
                false => "No: the ratio differs between architectures, so each needs measurements \
                          of its own."
                    .to_owned(),
            },
            plots: vec![Plot {
                name: "ratios",
                height: 340,
                chart: Chart {
                    title: "Latency in the second run over that in the first".to_owned(),
                    x: Axis::logarithmic("first run, ms"),
                    y: Axis::linear("ratio"),
                    layers: vec![
                        Layer::Band {
                            tone: Tone::First,
                            intervals: [low, high]
                                .map(|at| {
                                    (at, mean * (1.0 - self.noise), mean * (1.0 + self.noise))
                                })
                                .to_vec(),
                        },
                        Layer::line(
                            "mean, with noise",
                            Tone::First,
                            vec![(low, mean), (high, mean)],
                        ),
                        Layer::points(
                            "architecture",
                            Tone::Second,
                            Shape::Circle,
                            points.collect(),
                        ),
                    ],
                },
            }],
        })
    }

    fn tables(&self) -> Vec<Table> {
        let header = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (first, second) = (self.runs.0.as_str(), self.runs.1.as_str());
        let mut tables = vec![Table {
            question: "What changed?".to_owned(),
            answer: String::new(),
            header: header(&["", first, second, "difference", "beyond noise"]),
            rows: self
                .changes
                .iter()
                .map(|change| {
                    vec![
                        change.name.clone(),
                        change.text(change.first),
                        change.text(change.second),
                        change.difference(),
                        match change.beyond_noise {
                            Some(true) => "yes".to_owned(),
                            Some(false) => "no".to_owned(),
                            None => "not known".to_owned(),
                        },
                    ]
                })
                .collect(),
            is_text: false,
        }];
        if !self.conditions.is_empty() {
            tables.push(Table {
                question: "What differs in the devices?".to_owned(),
                answer: String::new(),
                header: header(&["", first, second]),
                rows: self
                    .conditions
                    .iter()
                    .map(|(name, one, other)| vec![name.clone(), one.clone(), other.clone()])
                    .collect(),
                is_text: true,
            });
        }
        tables
    }
}

impl Change {
    fn text(&self, value: f64) -> String {
        match self.unit.as_str() {
            "ms" => ms(value),
            "loss" => loss(value),
            "times" => format!("{value:.1}"),
            "share" => percent(value),
            _ => megabytes(value as u64),
        }
    }

    fn difference(&self) -> String {
        match self.unit.as_str() {
            "share" => format!("{:+.1} points", 100.0 * (self.second - self.first)),
            _ => signed_percent(self.second / self.first - 1.0),
        }
    }

    fn judged(&self) -> &'static str {
        match self.beyond_noise {
            Some(true) => ", beyond noise",
            Some(false) => ", not beyond noise",
            None => "",
        }
    }
}
