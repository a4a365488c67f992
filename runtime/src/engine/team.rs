//! Threads that share the work on one text.

use std::ops::Range;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tract_onnx::prelude::*;

use crate::guard::{Guard, is_guarded};

/// The caller's thread, and others that wait for it.
#[derive(Debug)]
pub(super) struct Team {
    others: Option<ThreadPool>,
    threads: usize,
}

impl Team {
    /// So many threads, the caller's among them. The others sleep while there is nothing to do.
    pub(super) fn new(threads: usize) -> TractResult<Self> {
        let others = match threads {
            0 | 1 => None,
            _ => Some(ThreadPoolBuilder::new().num_threads(threads - 1).build()?),
        };
        Ok(Self { others, threads: threads.max(1) })
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Has each thread do its share of `0..count`, with memory of its own; comes back when all
    /// have. A panic of one is a panic here.
    pub(super) fn share<T: Send>(
        &self,
        own: &mut [T],
        count: usize,
        work: impl Fn(&mut T, Range<usize>) + Sync,
    ) {
        let size = count.div_ceil(self.threads).max(1);
        let share = |number: usize| (number * size).min(count)..((number + 1) * size).min(count);
        let Some((first, rest)) = own.split_first_mut() else { return };
        let Some(others) = self.others.as_ref().filter(|_| count > size) else {
            return work(first, 0..count);
        };
        let guarded = is_guarded();
        others.in_place_scope(|scope| {
            for (number, own) in rest.iter_mut().enumerate() {
                let range = share(number + 1);
                if !range.is_empty() {
                    let work = &work;
                    scope.spawn(move |_| {
                        // It goes on as a panic of the caller's.
                        let _guard = guarded.then(Guard::begin);
                        work(own, range);
                    });
                }
            }
            work(first, share(0));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_by_whoever() {
        for threads in 1..5 {
            let team = Team::new(threads).expect("threads");
            for count in 0..12 {
                let mut own = vec![Vec::new(); threads];
                team.share(&mut own, count, |done, range| done.extend(range));
                let all: Vec<usize> = own.concat();
                assert_eq!(all, (0..count).collect::<Vec<_>>(), "{count} on {threads}");
                let most = own.iter().map(Vec::len).max();
                assert_eq!(most, Some(count.div_ceil(threads)), "{count} on {threads}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "share 1")]
    fn a_panic_of_one_is_a_panic_of_all() {
        let team = Team::new(2).expect("threads");
        let _guard = Guard::begin();
        team.share(&mut [(), ()], 2, |(), range| {
            assert!(is_guarded());
            assert!(range.start == 0, "share {}", range.start);
        });
    }
}
