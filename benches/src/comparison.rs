//! The kinds of latency predictor beside each other: errors on architectures that none was
//! fitted on, by the number of samples it was fitted on.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use atb_predictor::{
    FitSettings, Kind, Machines, Metrics, Observation, Observations, Predictor, design,
};
use atb_space::{Architecture, Space};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::models::{Candidate, MlpSettings};

/// What to compare.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Numbers of samples to fit on.
    pub counts: Vec<usize>,
    /// Architectures kept for testing.
    pub test: usize,
    /// How often samples and test architectures are drawn again; the results are means.
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
    /// Mean errors over the draws; the count is the number of predictions.
    pub metrics: Metrics,
    /// Share of the measurements inside the interval of 90 %, where it was computed.
    pub coverage: Option<f64>,
}

/// All rows, by model, then number of samples.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The rows.
    pub rows: Vec<Row>,
    /// Number of architectures drawn uniformly.
    pub measured: usize,
    /// Error of one measurement, if known.
    pub noise: Option<f64>,
}

/// How the samples of a fit are chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sampling {
    /// At random.
    Random,
    /// By design among those that are not tested on.
    Designed,
}

/// One fit and its test.
#[derive(Clone, Copy)]
struct Draw<'a> {
    space: &'a Space,
    machines: &'a Machines,
    kind: Candidate,
    sampling: Sampling,
    count: usize,
    seed: u64,
}

impl Comparison {
    /// Fits and tests every model on architectures of `space` drawn `uniformly`, and the
    /// structured model on those `designed` for the whole space, tested on all the others.
    ///
    /// # Errors
    /// If there are too few measurements or a model cannot be fitted.
    pub fn run(
        space: &Space,
        uniform: &Observations,
        designed: Option<&Observations>,
        settings: &Settings,
    ) -> Result<Self> {
        let items = &uniform.items;
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
        let machines = Machines::of(&uniform.sources);
        let machines = &machines;
        let draws = settings.draws;
        let structured = Candidate::Product(Kind::Structured);
        let mut models = vec![
            (format!("{structured}, designed"), structured, Sampling::Designed, draws),
            (structured.name(), structured, Sampling::Random, draws),
            (Candidate::Table.name(), Candidate::Table, Sampling::Random, draws),
            (Candidate::Trees.name(), Candidate::Trees, Sampling::Random, draws),
        ];
        if let Some((perceptron, draws)) = settings.perceptron {
            let kind = Candidate::Perceptron(perceptron);
            models.push((kind.name(), kind, Sampling::Random, draws));
        }
        let mut rows = Vec::new();
        if let Some(designed) = designed {
            rows.push(of_the_product(space, designed, uniform)?);
        }
        for (model, kind, sampling, draws) in models {
            for &count in &counts {
                let outcomes: Vec<(Metrics, Option<f64>)> = (0..draws)
                    .into_par_iter()
                    .map(|seed| {
                        let draw = Draw { space, machines, kind, sampling, count, seed };
                        draw.test(uniform, settings.test)
                    })
                    .collect::<Result<_>>()?;
                let metrics: Vec<Metrics> = outcomes.iter().map(|outcome| outcome.0).collect();
                let covered: Option<Vec<f64>> = outcomes.iter().map(|outcome| outcome.1).collect();
                let coverage = covered.map(|all| all.iter().sum::<f64>() / all.len() as f64);
                rows.push(Row { model: model.clone(), count, metrics: mean(&metrics), coverage });
            }
        }
        Ok(Self { rows, measured: items.len(), noise: uniform.noise.value() })
    }

    /// The rows as a Markdown table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| model | samples | MAPE | within 5 % | within 10 % | Kendall tau | RMSE | inside \
             the 90 % interval |\n|---|---|---|---|---|---|---|---|\n",
        );
        for Row { model, count, metrics, coverage } in &self.rows {
            let covered =
                coverage.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {model} | {count} | {:.2} % | {:.1} % | {:.1} % | {:.3} | {:.2} ms | {covered} |",
                100.0 * metrics.mape,
                100.0 * metrics.within_5,
                100.0 * metrics.within_10,
                metrics.tau,
                metrics.rmse
            );
        }
        text
    }
}

/// What a user gets: the default model on a design over the whole space, tested on every
/// architecture drawn uniformly.
fn of_the_product(space: &Space, designed: &Observations, uniform: &Observations) -> Result<Row> {
    let predictor = Predictor::fit(designed, space, &FitSettings::default())?;
    let evaluation = predictor.evaluate(uniform)?;
    Ok(Row {
        model: "structured, design of the whole space".to_owned(),
        count: designed.items.len(),
        metrics: evaluation.metrics,
        coverage: Some(evaluation.coverage),
    })
}

impl Draw<'_> {
    /// Draws samples and `test` others, fits, and tests. Coverage is known where intervals
    /// are cheap: cross-validating the other kinds would take long.
    fn test(&self, uniform: &Observations, test: usize) -> Result<(Metrics, Option<f64>)> {
        let mut order: Vec<&Observation> = uniform.items.iter().collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(self.seed));
        let (tested, pool) = order.split_at(test);
        let fitted: Vec<Observation> = match self.sampling {
            Sampling::Random => pool[..self.count].iter().map(|item| (*item).clone()).collect(),
            Sampling::Designed => {
                let archs: Vec<Architecture> = pool.iter().map(|item| item.arch.clone()).collect();
                let workload = pool[0].workload;
                let chosen = design::choose_among(&archs, self.space, workload, self.count, &[]);
                pool.iter()
                    .filter(|item| chosen.contains(&item.arch))
                    .map(|item| (*item).clone())
                    .collect()
            }
        };
        let tested = tested.iter().map(|item| (*item).clone()).collect::<Vec<_>>();
        if self.kind == Candidate::Product(Kind::Structured) {
            let of = |items| Observations { items, checks: Vec::new(), ..uniform.clone() };
            let predictor = Predictor::fit(&of(fitted), self.space, &FitSettings::default())?;
            let evaluation = predictor.evaluate(&of(tested))?;
            return Ok((evaluation.metrics, Some(evaluation.coverage)));
        }
        let model = self.kind.fit(&fitted, self.machines)?;
        let value = |item: &Observation| model.value(&item.arch, item.workload);
        let predicted: Vec<f64> = tested.iter().map(value).collect();
        let measured: Vec<f64> = tested.iter().map(|item| item.first).collect();
        let metrics = Metrics::of(&predicted, &measured).context("nothing to test on")?;
        Ok((metrics, None))
    }
}

fn mean(all: &[Metrics]) -> Metrics {
    let mean = |value: fn(&Metrics) -> f64| all.iter().map(value).sum::<f64>() / all.len() as f64;
    Metrics {
        count: all.iter().map(|metrics| metrics.count).sum(),
        mape: mean(|metrics| metrics.mape),
        rmse: mean(|metrics| metrics.rmse),
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
            quantity: atb_measurements::Quantity::Latency,
            items: Sampler::new(&Space::paper_kd(), 1)
                .take(count)
                .map(|arch| Observation {
                    workload: Workload::default(),
                    value: latency(&arch),
                    first: latency(&arch),
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
        let space = Space::paper_kd();
        let designed = observations(25);
        let comparison = Comparison::run(&space, &observations(60), Some(&designed), &settings)
            .expect("compares");
        // The product, then five models at the two numbers of samples that leave twenty to
        // test on.
        let counts: Vec<usize> = comparison.rows.iter().map(|row| row.count).collect();
        assert_eq!(counts[0], 25);
        assert_eq!(counts[1..], [12, 30].repeat(5));
        assert!(comparison.rows[0].metrics.mape < 0.01, "{:?}", comparison.rows[0]);
        assert_eq!(comparison.rows[0].metrics.count, 60);
        let covered = comparison.rows.iter().filter(|row| row.coverage.is_some()).count();
        assert_eq!(covered, 5);
        assert_eq!(comparison.table().lines().count(), 2 + 11);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plot.svg");
        crate::plot::mape_by_samples(&comparison, &path).expect("plots");
        let svg = std::fs::read_to_string(&path).expect("reads");
        assert!(svg.contains("boosted trees") && svg.contains("<polyline"), "{svg}");

        let error =
            Comparison::run(&space, &observations(25), None, &settings).expect_err("too few");
        assert!(error.to_string().starts_with("25 measured architectures are too few"), "{error}");
    }
}
