//! What the processes of one job, its ranks, ask of each other: sums, unions, messages.
//!
//! A [`Ranks`] is one rank's view of its job. Most jobs are a single process, [`Ranks::alone`], for
//! which every exchange is nothing at all; [`Ranks::threads`] makes ranks of the threads of one
//! process, as tests want them; what runs across machines is a [`Transport`] (the crate `atb-mpi`).
//!
//! All ranks of a job must ask for the same exchanges in the same order.
//!
//! ```
//! use atb_ranks::Ranks;
//!
//! let mut values = [1.0, 2.0];
//! Ranks::alone().sum(&mut values);
//! assert_eq!(values, [1.0, 2.0]);
//!
//! std::thread::scope(|scope| {
//!     for ranks in Ranks::threads(3) {
//!         scope.spawn(move || {
//!             let mut values = [ranks.rank() as f32, 1.0];
//!             ranks.sum(&mut values);
//!             assert_eq!(values, [0.0 + 1.0 + 2.0, 3.0]);
//!             assert_eq!(ranks.part(7).len(), [2, 2, 3][ranks.rank()]);
//!         });
//!     }
//! });
//! ```

mod threads;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What carries the exchanges between the ranks of a job; there are at least two.
///
/// An exchange that cannot be completed, because a rank is gone, ends the process: no rank waits
/// for ever for another.
pub trait Transport: Send + Sync {
    /// This rank's number, from 0.
    fn rank(&self) -> usize;
    /// Number of ranks.
    fn size(&self) -> usize;
    /// Replaces the values by their sums over all ranks, the same bits on each.
    fn sum_f32(&self, values: &mut [f32]);
    /// Replaces the values by their sums over all ranks, the same bits on each.
    fn sum_f64(&self, values: &mut [f64]);
    /// Replaces the bytes by all ranks' bytes or-ed together.
    fn union(&self, bytes: &mut [u8]);
    /// Replaces the bytes by those of rank 0.
    fn broadcast(&self, bytes: &mut Vec<u8>);
    /// Waits until all ranks are here.
    fn barrier(&self);
    /// Sends a message; it may return before the other rank has taken it.
    fn send(&self, to: usize, message: &[u8]);
    /// Waits for the next message of a rank.
    fn receive(&self, from: usize) -> Vec<u8>;
    /// A message of any rank that is there already, with the rank's number.
    fn try_receive(&self) -> Option<(usize, Vec<u8>)>;
    /// What is to be said if the job is ended from outside, because another rank died.
    fn say_at_end(&self, text: String);
    /// Ends all ranks of the job.
    fn abort(&self, status: i32) -> !;
}

/// One rank's view of its job.
#[derive(Clone)]
pub struct Ranks {
    /// None of a single process.
    transport: Option<Arc<dyn Transport>>,
    exchanged: Arc<AtomicU64>,
}

impl Ranks {
    /// A job of this process alone.
    #[must_use]
    pub fn alone() -> Self {
        Self { transport: None, exchanged: Arc::default() }
    }

    /// The ranks that `transport` connects.
    #[must_use]
    pub fn over(transport: impl Transport + 'static) -> Self {
        match transport.size() {
            0 | 1 => Self::alone(),
            _ => Self { transport: Some(Arc::new(transport)), exchanged: Arc::default() },
        }
    }

    /// The ranks of a job of `size` threads of this process, each for one of them. A rank whose
    /// thread panics makes those that wait for it panic too.
    #[must_use]
    pub fn threads(size: usize) -> Vec<Self> {
        threads::connected(size).into_iter().map(Self::over).collect()
    }

    /// This rank's number, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.transport.as_ref().map_or(0, |transport| transport.rank())
    }

    /// Number of ranks.
    #[must_use]
    pub fn size(&self) -> usize {
        self.transport.as_ref().map_or(1, |transport| transport.size())
    }

    /// Whether there are no others.
    #[must_use]
    pub fn are_one(&self) -> bool {
        self.transport.is_none()
    }

    /// Whether this is the rank that writes files and talks to people.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// This rank's part of `count` things; parts differ by one at most and follow each other in
    /// the order of the ranks.
    #[must_use]
    pub fn part(&self, count: usize) -> Range<usize> {
        let (rank, size) = (self.rank(), self.size());
        rank * count / size..(rank + 1) * count / size
    }

    /// Bytes that this rank gave into sums, unions and broadcasts so far. What goes over the wire
    /// for a sum is `2 (n - 1) / n` times as much with `n` ranks, as rings and trees of halves do
    /// it.
    #[must_use]
    pub fn exchanged(&self) -> u64 {
        self.exchanged.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        self.exchanged.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Replaces the values by their sums over all ranks, the same bits on each.
    pub fn sum(&self, values: &mut [f32]) {
        if let Some(transport) = &self.transport {
            self.count(size_of_val(values));
            transport.sum_f32(values);
        }
    }

    /// [`Ranks::sum`] of double precision.
    pub fn sum_f64(&self, values: &mut [f64]) {
        if let Some(transport) = &self.transport {
            self.count(size_of_val(values));
            transport.sum_f64(values);
        }
    }

    /// Replaces the bytes by all ranks' bytes or-ed together.
    pub fn union(&self, bytes: &mut [u8]) {
        if let Some(transport) = &self.transport {
            self.count(bytes.len());
            transport.union(bytes);
        }
    }

    /// Replaces the bytes by those of rank 0.
    pub fn broadcast(&self, bytes: &mut Vec<u8>) {
        if let Some(transport) = &self.transport {
            transport.broadcast(bytes);
            self.count(bytes.len());
        }
    }

    /// Whether rank 0 says so.
    #[must_use]
    pub fn first_says(&self, yes: bool) -> bool {
        let mut byte = vec![u8::from(yes)];
        self.broadcast(&mut byte);
        byte == [1]
    }

    /// Waits until all ranks are here.
    pub fn barrier(&self) {
        if let Some(transport) = &self.transport {
            transport.barrier();
        }
    }

    /// Sends a message to another rank.
    pub fn send(&self, to: usize, message: &[u8]) {
        if let Some(transport) = &self.transport {
            transport.send(to, message);
        }
    }

    /// Waits for the next message of another rank; of one that is alone there is none.
    #[must_use]
    pub fn receive(&self, from: usize) -> Vec<u8> {
        self.transport.as_ref().map_or(Vec::new(), |transport| transport.receive(from))
    }

    /// A message of any rank that is there already, with the rank's number.
    #[must_use]
    pub fn try_receive(&self) -> Option<(usize, Vec<u8>)> {
        self.transport.as_ref()?.try_receive()
    }

    /// What is to be said to people if the job is ended from outside, because another rank died;
    /// it replaces what was given before.
    pub fn say_at_end(&self, text: String) {
        if let Some(transport) = &self.transport {
            transport.say_at_end(text);
        }
    }

    /// Ends this process, and with it all ranks of its job.
    pub fn abort(&self, status: i32) -> ! {
        match &self.transport {
            Some(transport) => transport.abort(status),
            None => std::process::exit(status),
        }
    }
}

impl fmt::Debug for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_each(size: usize, run: impl Fn(&Ranks) + Sync) {
        std::thread::scope(|scope| {
            for ranks in Ranks::threads(size) {
                let run = &run;
                scope.spawn(move || run(&ranks));
            }
        });
    }

    #[test]
    fn every_rank_has_the_same_of_an_exchange() {
        on_each(4, |ranks| {
            let rank = ranks.rank();
            for round in 0..20 {
                let mut values = vec![0.5; 3];
                values[0] = rank as f32;
                ranks.sum(&mut values);
                assert_eq!(values, [6.0, 2.0, 2.0]);
                let mut values = [rank as f64 * 0.1];
                ranks.sum_f64(&mut values);
                assert!((values[0] - 0.6).abs() < 1e-12);
                let mut bytes = [0, 1 << rank];
                ranks.union(&mut bytes);
                assert_eq!(bytes, [0, 15]);
                let mut text = vec![b'a' + rank as u8; rank + round];
                ranks.broadcast(&mut text);
                assert_eq!(text, vec![b'a'; round]);
                assert!(!ranks.first_says(rank > 0));
                ranks.barrier();
            }
            assert_eq!(ranks.exchanged(), (0..20).map(|round| 12 + 8 + 2 + round + 1).sum::<u64>());
        });
    }

    #[test]
    fn messages_arrive_in_the_order_of_their_sender() {
        on_each(3, |ranks| {
            if ranks.is_first() {
                let mut found = vec![Vec::new(); 3];
                while found.iter().flatten().count() < 20 {
                    if let Some((from, message)) = ranks.try_receive() {
                        ranks.send(from, &message);
                        found[from].push(message[0]);
                    }
                }
                assert_eq!(found[1..], [(0..10).collect::<Vec<u8>>(), (0..10).collect()]);
            } else {
                for number in 0..10 {
                    ranks.send(0, &[number]);
                    assert_eq!(ranks.receive(0), [number]);
                }
            }
        });
    }

    #[test]
    fn parts_cover_everything_once() {
        on_each(3, |ranks| {
            let expected = [0..2, 2..5, 5..8];
            assert_eq!(ranks.part(8), expected[ranks.rank()]);
        });
        assert_eq!(Ranks::alone().part(8), 0..8);
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn nobody_waits_for_a_rank_that_is_gone() {
        on_each(2, |ranks| {
            assert!(ranks.is_first(), "this rank fails");
            ranks.barrier();
        });
    }
}
