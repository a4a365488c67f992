//! Strategies beside each other, on a loss whose optimum is known by enumeration.

use atb_search::{Budget, Candidates, Outcome, Settings, Store, Strategy, search};

use crate::common::{MadeUpLoss, predictor, space};

const SEEDS: u64 = 200;

fn outcome(candidates: &Candidates<'_>, settings: &Settings) -> Outcome {
    let mut store = Store::in_memory();
    search(candidates, &MadeUpLoss::default(), &mut store, settings, &mut |_| ()).expect("runs")
}

/// In how many of the seeds the best found is among the best hundredth of all candidates,
/// and the mean loss of the best found.
fn successes(candidates: &Candidates<'_>, settings: Settings, seeds: u64) -> (u64, f64) {
    let mut losses: Vec<f64> = candidates.iter().map(|arch| MadeUpLoss::of(&arch)).collect();
    losses.sort_by(f64::total_cmp);
    let hundredth = losses[losses.len() / 100];
    let (mut found, mut sum) = (0, 0.0);
    for seed in 0..seeds {
        let outcome = outcome(candidates, &Settings { seed, ..settings });
        assert!(outcome.ranking.len() <= settings.evaluations() && outcome.ranking.len() <= 100);
        let best = outcome.winner().expect("something was evaluated").fitness;
        found += u64::from(best <= hundredth);
        sum += best;
    }
    (found, sum / seeds as f64)
}

fn candidates<'a>(
    space: &atb_space::Space,
    predictor: &'a atb_predictor::Predictor,
    low: f64,
) -> Candidates<'a> {
    let budget = Budget { low, ..Budget::paper(12.0) };
    Candidates::scan(space, predictor, &budget).expect("some")
}

#[test]
fn evolution_finds_the_best_hundredth_and_beats_random() {
    let space = space();
    let predictor = predictor(&space);
    let candidates = candidates(&space, &predictor, 0.85);
    let [random, paper, genetic] = [Strategy::RANDOM, Strategy::EVOLUTIONARY, Strategy::GENETIC]
        .map(|strategy| successes(&candidates, Settings::of(strategy), SEEDS));
    let summary = format!("random {random:?}, paper {paper:?}, genetic {genetic:?}");
    // The paper's four large generations of the same hundred evaluations reach it less often.
    assert!(paper.0 > random.0 && paper.1 < random.1, "{summary}");
    assert!(genetic.0 >= SEEDS * 95 / 100 && genetic.1 < paper.1, "{summary}");
}

#[test]
fn with_a_surrogate_half_the_evaluations_find_as_much() {
    let space = space();
    let predictor = predictor(&space);
    let candidates = candidates(&space, &predictor, 0.85);
    let settings =
        Settings { population: 10, generations: 5, ..Settings::of(Strategy::SURROGATE_ASSISTED) };
    let assisted = successes(&candidates, settings, 40);
    assert!(assisted.0 >= 38, "{assisted:?}");
}

/// The area that a front covers up to a corner, in latency and loss.
fn covered(outcome: &Outcome) -> f64 {
    let (mut latency_ms, loss) = (15.0, 1.0);
    let mut area = 0.0;
    for item in outcome.front.iter().rev() {
        area += (latency_ms - item.latency_ms) * (loss - item.fitness);
        latency_ms = item.latency_ms;
    }
    area
}

#[test]
fn a_front_search_covers_more_than_a_random_one() {
    let space = space();
    let predictor = predictor(&space);
    let candidates = candidates(&space, &predictor, 0.2);
    let mean = |settings: Settings| {
        let areas =
            (0..20).map(|seed| covered(&outcome(&candidates, &Settings { seed, ..settings })));
        areas.sum::<f64>() / 20.0
    };
    let base = Settings { population: 20, generations: 10, crossover: 0.5, ..Settings::default() };
    let front = mean(Settings { strategy: Strategy::NSGA2, ..base });
    let random = mean(Settings { strategy: Strategy::RANDOM, ..base });
    assert!(front > random, "{front} and {random}");
    let one = outcome(&candidates, &Settings { strategy: Strategy::NSGA2, ..base });
    assert!(one.front.len() >= 15, "{} on the front", one.front.len());
    assert!(one.front.is_sorted_by(|a, b| a.latency_ms < b.latency_ms && a.fitness > b.fitness));
}
