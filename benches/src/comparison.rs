//! The kinds of latency predictor beside each other: errors on architectures that none was
//! fitted on, by the number of samples it was fitted on.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use atb_predictor::{
    Kind, Machine, Metrics, MlpSettings, Observation, Observations, design, fit_one,
};
use atb_space::{Architecture, Space};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Numbers of samples to fit on.
    pub counts: Vec<usize>,
    /// Architectures kept for testing.
    pub test: usize,
    /// How often samples and test architectures are drawn anew; the results are means.
    pub draws: u64,
    /// The perceptron to compare with, and how often it is drawn: at the paper's size one
    /// fit takes minutes.
    pub perceptron: Option<(MlpSettings, u64)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            counts: vec![30, 60, 120, 240],
            test: 150,
            draws: 20,
            perceptron: Some((MlpSettings::SMALL, 3)),
        }
    }
}

/// One model at one number of samples.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was fitted, and how its samples were chosen.
    pub model: String,
    /// Number of samples.
    pub count: usize,
    /// Mean errors over the draws.
    pub metrics: Metrics,
}

/// All rows, by model, then number of samples.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The rows.
    pub rows: Vec<Row>,
    /// Number of architectures measured.
    pub measured: usize,
    /// Error of one measurement, if known.
    pub noise: Option<f64>,
}

/// How the samples of a fit are chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sampling {
    Random,
    Designed,
}

impl Comparison {
    /// Fits and tests every model.
    ///
    /// # Errors
    /// If there are too few measurements or a model cannot be fitted.
    pub fn run(observations: &Observations, settings: &Settings) -> Result<Self> {
        let items = &observations.items;
        let counts: Vec<usize> = settings
            .counts
            .iter()
            .copied()
            .filter(|count| count + settings.test <= items.len())
            .collect();
        ensure!(
            !counts.is_empty(),
            "{} measured architectures are too few to test on {} of them; hint: measure more or \
             lower --test",
            items.len(),
            settings.test
        );
        let source = observations.sources.first().context("no measurement file")?;
        let machine = Machine::of(&source.device, &source.agent);
        let mut models: Vec<(String, Kind, Sampling, u64)> = vec![
            (
                "structured, designed".to_owned(),
                Kind::Structured,
                Sampling::Designed,
                settings.draws,
            ),
            ("structured".to_owned(), Kind::Structured, Sampling::Random, settings.draws),
            ("look-up table".to_owned(), Kind::Table, Sampling::Random, settings.draws),
            ("boosted trees".to_owned(), Kind::Trees, Sampling::Random, settings.draws),
        ];
        if let Some((perceptron, draws)) = settings.perceptron {
            let name = format!("perceptron of width {}", perceptron.width);
            models.push((name, Kind::Mlp(perceptron), Sampling::Random, draws));
        }
        let mut rows = Vec::new();
        for (model, kind, sampling, draws) in models {
            for &count in &counts {
                let metrics: Vec<Metrics> = (0..draws)
                    .map(|seed| {
                        one_draw(items, settings.test, count, (kind, sampling), machine, seed)
                    })
                    .collect::<Result<_>>()?;
                rows.push(Row { model: model.clone(), count, metrics: mean(&metrics) });
            }
        }
        Ok(Self { rows, measured: items.len(), noise: observations.noise.value() })
    }

    /// The rows as a Markdown table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| model | samples | MAPE | within 5 % | within 10 % | Kendall tau | RMSE |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for Row { model, count, metrics } in &self.rows {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {model} | {count} | {:.2} % | {:.1} % | {:.1} % | {:.3} | {:.2} ms |",
                100.0 * metrics.mape,
                100.0 * metrics.within_5,
                100.0 * metrics.within_10,
                metrics.tau,
                metrics.rmse_ms
            );
        }
        text
    }
}

fn one_draw(
    items: &[Observation],
    test: usize,
    count: usize,
    (kind, sampling): (Kind, Sampling),
    machine: Machine,
    seed: u64,
) -> Result<Metrics> {
    let mut order: Vec<&Observation> = items.iter().collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let (tested, pool) = order.split_at(test);
    let fitted: Vec<Observation> = match sampling {
        Sampling::Random => pool[..count].iter().map(|item| (*item).clone()).collect(),
        Sampling::Designed => {
            let archs: Vec<Architecture> = pool.iter().map(|item| item.arch.clone()).collect();
            let chosen = design::choose_among(&archs, &spanned(pool), pool[0].workload, count, &[]);
            pool.iter()
                .filter(|item| chosen.contains(&item.arch))
                .map(|item| (*item).clone())
                .collect()
        }
    };
    let model = fit_one(kind, &fitted, machine)?;
    let predicted: Vec<f64> =
        tested.iter().map(|item| model.as_model().latency_ms(&item.arch, item.workload)).collect();
    let measured: Vec<f64> = tested.iter().map(|item| item.latency_ms).collect();
    Metrics::of(&predicted, &measured).context("nothing to test on")
}

/// The paper's space that the architectures come from; only its ranges matter here.
fn spanned(pool: &[&Observation]) -> Space {
    let kd = Space::paper_kd();
    if pool.iter().all(|item| kd.check(&item.arch).is_ok()) { kd } else { Space::paper_mlm() }
}

fn mean(all: &[Metrics]) -> Metrics {
    let mean = |value: fn(&Metrics) -> f64| all.iter().map(value).sum::<f64>() / all.len() as f64;
    Metrics {
        count: all.iter().map(|metrics| metrics.count).sum(),
        mape: mean(|metrics| metrics.mape),
        rmse_ms: mean(|metrics| metrics.rmse_ms),
        within_5: mean(|metrics| metrics.within_5),
        within_10: mean(|metrics| metrics.within_10),
        tau: mean(|metrics| metrics.tau),
    }
}

#[cfg(test)]
mod tests {
    use atb_predictor::{NoiseFloor, Source};
    use atb_space::{Cost, Sampler, Workload};

    use super::*;

    fn observations(count: usize) -> Observations {
        let latency =
            |arch: &Architecture| Cost::flops(arch, 1, 128) / 1e8 + 0.05 * arch.num_layers() as f64;
        Observations {
            items: Sampler::new(&Space::paper_kd(), 1)
                .take(count)
                .map(|arch| Observation {
                    workload: Workload::default(),
                    latency_ms: latency(&arch),
                    first_ms: latency(&arch),
                    spread: 0.0,
                    records: 1,
                    arch,
                })
                .collect(),
            baselines: Vec::new(),
            checks: Vec::new(),
            noise: NoiseFloor::default(),
            sources: vec![Source {
                file: String::new(),
                digest: String::new(),
                target: "made-up".to_owned(),
                reference_ms: 1.0,
                protocol: atb_measurements::Protocol::default(),
                device: atb_measurements::DeviceContext::default(),
                agent: atb_measurements::AgentContext::default(),
            }],
        }
    }

    #[test]
    fn compares_what_there_are_measurements_for() {
        let settings = Settings {
            counts: vec![12, 30, 100],
            test: 20,
            draws: 2,
            perceptron: Some((MlpSettings { steps: 20, ..MlpSettings::SMALL }, 1)),
        };
        let comparison = Comparison::run(&observations(60), &settings).expect("compares");
        // Five models at the two numbers of samples that leave twenty to test on.
        let counts: Vec<usize> = comparison.rows.iter().map(|row| row.count).collect();
        assert_eq!(counts, [12, 30].repeat(5));
        assert!(comparison.rows[0].metrics.mape < 0.01, "{:?}", comparison.rows[0]);
        assert_eq!(comparison.table().lines().count(), 2 + 10);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plot.svg");
        crate::plot::mape_by_samples(&comparison, &path).expect("plots");
        let svg = std::fs::read_to_string(&path).expect("reads");
        assert!(svg.contains("boosted trees") && svg.contains("<polyline"), "{svg}");

        let error = Comparison::run(&observations(25), &settings).expect_err("too few");
        assert!(error.to_string().starts_with("25 measured architectures are too few"), "{error}");
    }
}
