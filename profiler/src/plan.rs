//! What to measure, and in which order.

use std::collections::HashSet;

use atb_measurements::{Record, Role, Subject};
use atb_space::Architecture;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// One measurement to make.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// What to measure.
    pub subject: Subject,
    /// Why.
    pub role: Role,
}

/// Measurements to make, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    items: Vec<Item>,
}

impl Plan {
    /// A plan to fit a predictor on: the first `samples` distinct architectures of
    /// `candidates`, of which `retests` are measured once more, and `baselines`, which
    /// speed-ups are quoted against.
    /// The samples come in an order drawn from `seed`, so that a device that slows down over
    /// the run does not look like an effect of size. Half of a run lies between the two
    /// measurements of one architecture, as far as there is room: what changes meanwhile
    /// shows in their difference.
    #[must_use]
    pub fn new(
        candidates: impl Iterator<Item = Architecture>,
        samples: usize,
        retests: usize,
        baselines: &[Architecture],
        seed: u64,
    ) -> Self {
        let mut seen = HashSet::new();
        // A small space may hold fewer distinct architectures than are asked for.
        let max_draws = samples.saturating_mul(1000);
        let mut archs: Vec<Architecture> = candidates
            .take(max_draws)
            .filter(|arch| seen.insert(arch.clone()))
            .take(samples)
            .collect();
        archs.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let retests = retests.min(archs.len());
        let item = |role| {
            move |arch: &Architecture| Item { subject: Subject::architecture(arch.clone()), role }
        };
        let mut items: Vec<Item> = archs.iter().map(item(Role::Sample)).collect();
        // From the last to the first, so that the places of the others stay what they are.
        let half = archs.len() / 2;
        for index in (0..retests).rev() {
            let place = half + (index + 1) * (archs.len() - half) / retests.max(1);
            items.insert(place.max(index + 1), item(Role::Retest)(&archs[index]));
        }
        items.extend(baselines.iter().map(item(Role::Baseline)));
        Self { items }
    }

    /// A plan of exactly these measurements.
    #[must_use]
    pub fn of(items: Vec<Item>) -> Self {
        Self { items }
    }

    /// The measurements, in order.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// What of the plan is not among `records` yet, in order; an item that the plan has
    /// twice must be there twice.
    #[must_use]
    pub fn remaining(&self, records: &[Record]) -> Vec<Item> {
        let mut done: Vec<Item> = records
            .iter()
            .map(|record| Item { subject: record.subject.clone(), role: record.role })
            .collect();
        self.items
            .iter()
            .filter(|item| match done.iter().position(|known| known == *item) {
                Some(index) => {
                    done.swap_remove(index);
                    false
                }
                None => true,
            })
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atb_space::{Range, Sampler, Space};

    #[test]
    fn a_plan_has_distinct_samples_retests_among_them_then_the_baseline() {
        let space = Space::paper_kd();
        let plan = Plan::new(Sampler::new(&space, 1), 12, 3, &[Architecture::bert_base()], 5);
        assert_eq!(
            plan,
            Plan::new(Sampler::new(&space, 1), 12, 3, &[Architecture::bert_base()], 5)
        );
        let items = plan.items();
        let samples: Vec<&Item> = items.iter().filter(|i| i.role == Role::Sample).collect();
        let distinct: HashSet<&Subject> = samples.iter().map(|item| &item.subject).collect();
        assert_eq!((samples.len(), distinct.len(), items.len()), (12, 12, 12 + 3 + 1));
        assert_eq!(items[15].role, Role::Baseline);
        let places: Vec<usize> =
            (0..items.len()).filter(|&i| items[i].role == Role::Retest).collect();
        // After the eighth, the tenth and the twelfth sample.
        assert_eq!(places, [8, 11, 14]);
        for (place, sample) in places.into_iter().zip(&samples) {
            assert_eq!(items[place].subject, sample.subject);
        }
    }

    #[test]
    fn every_architecture_can_be_measured_twice_and_each_retest_follows_its_sample() {
        let space = Space::paper_kd();
        for samples in 1..8 {
            let plan = Plan::new(Sampler::new(&space, 1), samples, 10, &[], 5);
            assert_eq!(plan.items().len(), 2 * samples);
            for (place, item) in plan.items().iter().enumerate() {
                let before = &plan.items()[..place];
                let first = Item { subject: item.subject.clone(), role: Role::Sample };
                assert!(item.role == Role::Sample || before.contains(&first), "{samples}");
            }
        }
    }

    #[test]
    fn a_small_space_gives_a_small_plan() {
        let space = Space {
            layers: Range::new(1, 2, 1),
            hidden: Range::one(128),
            intermediate: Range::one(256),
            ..Space::paper_mlm()
        };
        let space = Space { heads: Range::one(2), ..space };
        assert_eq!(Plan::new(Sampler::new(&space, 1), 10, 9, &[], 5).items().len(), 2 + 2);
    }

    #[test]
    fn what_is_measured_is_not_measured_again() {
        let space = Space::paper_kd();
        let plan = Plan::new(Sampler::new(&space, 1), 4, 4, &[Architecture::bert_base()], 5);
        let record = |item: &Item| Record::new(item.subject.clone(), item.role);
        let records: Vec<Record> = plan.items()[1..3].iter().map(record).collect();
        let remaining = plan.remaining(&records);
        assert_eq!(remaining.len(), plan.items().len() - 2);
        assert_eq!(remaining[0], plan.items()[0]);
        assert_eq!(remaining[1], plan.items()[3]);
    }
}
