//! Evaluations shared out over the ranks of a job: rank 0 keeps a queue, and whoever is free gets
//! the next of it.
//!
//! A rank sends what it has evaluated to rank 0, at first nothing, and gets architectures by their
//! numbers, none when there are no more. Rank 0 evaluates as well, in a thread of its own.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use atb_ranks::Ranks;
use atb_space::Architecture;
use rayon::prelude::*;

use crate::SearchError;

/// Between two looks for messages; nothing against an evaluation.
const LOOK: Duration = Duration::from_micros(500);

/// Numbers of architectures with their values.
type Values = Vec<(u32, f64)>;

/// How architectures are evaluated and what becomes of the values.
pub(crate) struct Work<'a> {
    pub(crate) archs: &'a [Architecture],
    /// What evaluates several at a time on each rank; one at a time if absent.
    pub(crate) pool: Option<&'a rayon::ThreadPool>,
    pub(crate) compute: &'a (dyn Fn(&Architecture) -> Result<f64, SearchError> + Sync),
}

impl Work<'_> {
    /// Evaluates some of the architectures.
    fn values(&self, numbers: &[u32]) -> Result<Values, SearchError> {
        let one = |number: &u32| Ok((*number, (self.compute)(&self.archs[*number as usize])?));
        match self.pool {
            None => numbers.iter().map(one).collect(),
            Some(pool) => pool.install(|| numbers.par_iter().map(one).collect()),
        }
    }

    /// How many a rank gets at a time.
    fn at_a_time(&self) -> usize {
        self.pool.map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// The values of all architectures, on every rank; those that `stored` has are not computed.
    /// Rank 0 notes each as soon as it is there, with whether it was stored.
    pub(crate) fn shared_out(
        &self,
        ranks: &Ranks,
        stored: Vec<Option<f64>>,
        mut note: impl FnMut(&Architecture, f64, bool) -> Result<(), SearchError>,
    ) -> Result<Vec<f64>, SearchError> {
        if !ranks.is_first() {
            self.evaluate_for_first(ranks)?;
            let mut bytes = Vec::new();
            ranks.broadcast(&mut bytes);
            return Ok(values_of(&bytes).collect());
        }
        let mut values = vec![f64::NAN; stored.len()];
        let mut missing = Vec::new();
        for (number, stored) in stored.into_iter().enumerate() {
            match stored {
                Some(value) => {
                    note(&self.archs[number], value, true)?;
                    values[number] = value;
                }
                None => missing.push(number as u32),
            }
        }
        self.hand_out(ranks, &missing, |number, value| {
            values[number as usize] = value;
            note(&self.archs[number as usize], value, false)
        })?;
        let mut bytes = values.iter().copied().flat_map(f64::to_le_bytes).collect();
        ranks.broadcast(&mut bytes);
        Ok(values)
    }

    /// What the other ranks do until there is nothing left.
    fn evaluate_for_first(&self, ranks: &Ranks) -> Result<(), SearchError> {
        let mut done = Values::new();
        loop {
            ranks.send(0, &message_of(&done));
            let numbers: Vec<u32> = numbers_of(&ranks.receive(0));
            if numbers.is_empty() {
                return Ok(());
            }
            done = self.values(&numbers)?;
        }
    }

    /// What rank 0 does.
    fn hand_out(
        &self,
        ranks: &Ranks,
        missing: &[u32],
        mut note: impl FnMut(u32, f64) -> Result<(), SearchError>,
    ) -> Result<(), SearchError> {
        let mut rest = missing.chunks(self.at_a_time());
        let (to_own, numbers) = mpsc::channel();
        let (results, own) = mpsc::channel();
        // The channels end with the closure, and with them the thread.
        thread::scope(move |scope| {
            scope.spawn(move || self.evaluate_here(&numbers, &results));
            let mut at_work = ranks.size();
            while at_work > 0 {
                let next = if let Some((from, message)) = ranks.try_receive() {
                    for (number, value) in parsed(&message) {
                        note(number, value)?;
                    }
                    let next = rest.next().unwrap_or_default();
                    let bytes: Vec<u8> = next.iter().flat_map(|n| n.to_le_bytes()).collect();
                    ranks.send(from, &bytes);
                    next
                } else if let Ok(values) = own.try_recv() {
                    for (number, value) in values? {
                        note(number, value)?;
                    }
                    let next = rest.next().unwrap_or_default();
                    // Its thread has ended if it takes nothing more.
                    let _ = to_own.send(next.to_vec());
                    next
                } else {
                    thread::sleep(LOOK);
                    continue;
                };
                if next.is_empty() {
                    at_work -= 1;
                }
            }
            Ok(())
        })
    }

    fn evaluate_here(
        &self,
        numbers: &Receiver<Vec<u32>>,
        results: &Sender<Result<Values, SearchError>>,
    ) {
        let mut done = Ok(Values::new());
        loop {
            let failed = done.is_err();
            if results.send(done).is_err() || failed {
                return;
            }
            match numbers.recv() {
                Ok(numbers) if !numbers.is_empty() => done = self.values(&numbers),
                _ => return,
            }
        }
    }
}

pub(crate) fn values_of(bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes.as_chunks().0.iter().map(|value| f64::from_le_bytes(*value))
}

fn numbers_of(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number)).collect()
}

fn message_of(values: &Values) -> Vec<u8> {
    let bytes = |(number, value): &(u32, f64)| {
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.extend(value.to_le_bytes());
        bytes
    };
    values.iter().flat_map(bytes).collect()
}

fn parsed(message: &[u8]) -> Values {
    let one = |bytes: &[u8; 12]| {
        let (number, value) = bytes.split_at(4);
        (numbers_of(number)[0], f64::from_le_bytes(value.try_into().unwrap_or_default()))
    };
    message.as_chunks().0.iter().map(one).collect()
}
