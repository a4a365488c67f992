//! Training by several ranks: that it makes the steps of one, from any checkpoint, that only one
//! writes, and what it refuses. The ranks are threads, each with threads of its own to compute by.

use std::ops::ControlFlow;
use std::path::Path;

use atb_ranks::Ranks;
use atb_superplm::{
    MetricsLine, Objective, ObjectiveKind, Outcome, SubModels, TrainError, Training, train_across,
};
use candle_core::Tensor;

use crate::training::{Room, STUDENT, arch, metrics};

const STEPS: u64 = 50;

/// What every rank of `size` comes to, which all do alike.
fn trained(
    size: usize,
    training: impl Fn() -> Training,
    folder: &Path,
    until: u64,
) -> Vec<Result<Outcome, TrainError>> {
    let one = |ranks: Ranks, training: Training| {
        // Ranks wait for each other; so they must not take each other's work.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        pool.install(|| {
            train_across(&ranks, training, folder, |progress| {
                if ranks.is_first() && progress.steps == until {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
        })
    };
    std::thread::scope(|scope| {
        // They all read the files that making it leaves, and make them one after another.
        let ranks = Ranks::threads(size).into_iter().map(|ranks| (ranks, training()));
        let ranks: Vec<_> = ranks.collect();
        let ranks: Vec<_> = ranks
            .into_iter()
            .map(|(ranks, training)| scope.spawn(|| one(ranks, training)))
            .collect();
        ranks.into_iter().map(|rank| rank.join().expect("a rank")).collect()
    })
}

fn complete(outcomes: Vec<Result<Outcome, TrainError>>) {
    for outcome in outcomes {
        assert_eq!(outcome.expect("trains").steps, STEPS);
    }
}

/// The losses of all steps and validations, and the norms of gradients.
fn curve(folder: &Path) -> Vec<f64> {
    let numbers = |line| match line {
        MetricsLine::Step { losses, gradient_norm, terms, exchange, .. } => {
            assert!(exchange.is_none_or(|exchange| exchange.ranks > 1));
            let mut numbers: Vec<f64> = losses.into_iter().map(|(_, loss)| loss).collect();
            numbers.extend(terms.into_values().flatten());
            numbers.push(gradient_norm);
            numbers
        }
        MetricsLine::Validation { losses, .. } => losses.into_iter().map(|(_, l)| l).collect(),
        _ => Vec::new(),
    };
    metrics(folder).into_iter().flat_map(numbers).collect()
}

/// The largest relative difference of any parameter's values, by their norm.
fn difference(one: &Path, other: &Path) -> f64 {
    let load = |folder: &Path| {
        candle_core::safetensors::load(
            folder.join("model/model.safetensors"),
            &candle_core::Device::Cpu,
        )
        .expect("loads")
    };
    let (one, other) = (load(one), load(other));
    let norm = |tensor: &Tensor| -> f64 {
        let tensor = tensor.to_dtype(candle_core::DType::F64).and_then(|t| t.sqr()?.sum_all());
        tensor.and_then(|sum| sum.to_scalar::<f64>()).expect("a number").sqrt()
    };
    assert_eq!(one.len(), other.len());
    let relative = |(name, tensor): (&String, &Tensor)| {
        norm(&(tensor - &other[name]).expect("of one shape")) / norm(tensor).max(1e-3)
    };
    one.iter().map(relative).fold(0.0, f64::max)
}

/// Each of `size` ranks has a part of what one rank has, and the steps are the same.
fn is_as_with_one_rank(change: impl Fn(&Room, &mut Training)) {
    let room = Room::new();
    let training = || {
        let mut training = room.training(STEPS);
        training.settings.batch_size = 4;
        change(&room, &mut training);
        training
    };
    let one = room.path("one");
    complete(trained(1, training, &one, STEPS));
    let expected = curve(&one);
    for size in [2, 3] {
        let folder = room.path(&format!("{size}"));
        complete(trained(size, training, &folder, STEPS));
        let found = curve(&folder);
        assert_eq!(found.len(), expected.len());
        let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / (1.0 + b.abs()));
        let (apart, weights) = (apart.fold(0.0, f64::max), difference(&folder, &one));
        assert!(apart < 1e-4, "losses of {size} ranks differ by {apart}");
        assert!(weights < 1e-5, "weights of {size} ranks differ by {weights}");
        println!("{size} ranks: losses {apart:.1e}, weights {weights:.1e}");
    }
    // What one rank began several continue, and the other way round.
    for (first, second) in [(1, 2), (3, 1)] {
        let folder = room.path(&format!("{first}-{second}"));
        trained(first, training, &folder, 21);
        complete(trained(second, training, &folder, STEPS));
        let weights = difference(&folder, &one);
        assert!(weights < 1e-5, "{second} ranks after {first} differ by {weights}");
    }
}

#[test]
fn ranks_distil_many_sub_models_as_one_does() {
    is_as_with_one_rank(|_, _| {});
}

#[test]
fn ranks_distil_one_architecture_as_one_does() {
    is_as_with_one_rank(|_, training| {
        training.settings.sub_models = SubModels::Fixed(arch(STUDENT));
        training.settings.gradient_accumulation_steps = 2;
    });
}

#[test]
fn ranks_learn_masked_words_as_one_does() {
    is_as_with_one_rank(|_, training| training.objective = Objective::masked_lm());
    is_as_with_one_rank(|_, training| {
        training.objective = Objective::masked_lm();
        training.settings.sub_models = SubModels::Fixed(arch(STUDENT));
    });
}

#[test]
fn ranks_distil_embeddings_of_the_whole_batch() {
    is_as_with_one_rank(|room, training| {
        let kind = ObjectiveKind::find("sentence").expect("is known");
        let options = serde_json::json!({ "hidden_states": 0.1 });
        training.objective = kind.objective(Some(room.teacher()), options).expect("makes");
    });
}

#[test]
fn more_ranks_than_sequences_are_refused() {
    let room = Room::new();
    for outcome in trained(4, || room.training(STEPS), &room.path("run"), STEPS) {
        let message = outcome.expect_err("refused").to_string();
        assert_eq!(message, "a batch of 3 sequences cannot be shared by 4 ranks");
    }
}
