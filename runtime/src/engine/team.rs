//! Threads that share the work on one text.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tract_onnx::prelude::*;

use crate::guard::{Guard, is_guarded};

/// The caller's thread, and others that sleep until it calls them.
#[derive(Debug)]
pub(super) struct Team {
    /// Busy with one caller at a time.
    others: Option<Mutex<ThreadPool>>,
    threads: usize,
}

/// One thread at work with others.
pub(super) struct Member<'a> {
    number: usize,
    meeting: &'a Meeting,
}

/// Where threads wait for each other.
struct Meeting {
    threads: usize,
    arrived: AtomicUsize,
    /// How often all have arrived.
    round: AtomicUsize,
    /// Whether one has panicked and will never arrive.
    broken: AtomicBool,
}

impl Team {
    /// So many threads, the caller's among them.
    pub(super) fn new(threads: usize) -> TractResult<Self> {
        let others = match threads {
            0 | 1 => None,
            _ => Some(Mutex::new(ThreadPoolBuilder::new().num_threads(threads - 1).build()?)),
        };
        Ok(Self { others, threads: threads.max(1) })
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Has each thread do `work` with memory of its own, of which there is as much as threads;
    /// comes back when all have. If the others are busy for another caller, this one is alone. A
    /// panic of one is a panic here.
    pub(super) fn run<T: Send>(&self, own: &mut [T], work: impl Fn(&mut T, Member<'_>) + Sync) {
        let Some((first, rest)) = own.split_first_mut() else { return };
        let free = self.others.as_ref().map(Mutex::try_lock);
        let others = match free {
            Some(Ok(others)) => others,
            // What panicked was the work, not the pool.
            Some(Err(TryLockError::Poisoned(error))) => error.into_inner(),
            Some(Err(TryLockError::WouldBlock)) | None => {
                return work(first, Member { number: 0, meeting: &Meeting::of(1) });
            }
        };
        let meeting = Meeting::of(rest.len() + 1);
        let guarded = is_guarded();
        others.in_place_scope(|scope| {
            for (number, own) in rest.iter_mut().enumerate() {
                let (work, meeting) = (&work, &meeting);
                scope.spawn(move |_| {
                    // A panic here goes on as one of the caller's.
                    let _guard = guarded.then(Guard::begin);
                    let _arrival = Arrival(meeting);
                    work(own, Member { number: number + 1, meeting });
                });
            }
            let _arrival = Arrival(&meeting);
            work(first, Member { number: 0, meeting: &meeting });
        });
    }
}

impl Member<'_> {
    /// This thread's share of `0..count`.
    pub(super) fn share(&self, count: usize) -> Range<usize> {
        let size = count.div_ceil(self.meeting.threads);
        (self.number * size).min(count)..((self.number + 1) * size).min(count)
    }

    /// Waits for all others to get here; whether they did, or one has panicked.
    pub(super) fn meet(&self) -> bool {
        self.meeting.attend()
    }
}

impl Meeting {
    /// Others are awake and as far as this one, within microseconds: to sleep and be woken would
    /// take longer.
    const SPINS: usize = 2_000;
    /// Then other programs may have the core.
    const YIELDS: usize = 200;

    fn of(threads: usize) -> Self {
        Self {
            threads,
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    fn attend(&self) -> bool {
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round + 1, Ordering::Release);
            return true;
        }
        let mut waited = 0;
        while self.round.load(Ordering::Acquire) == round {
            if self.broken.load(Ordering::Relaxed) {
                return false;
            }
            waited += 1;
            match waited {
                ..=Self::SPINS => std::hint::spin_loop(),
                _ if waited <= Self::SPINS + Self::YIELDS => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(100)),
            }
        }
        true
    }
}

/// Tells the others if this thread panics.
struct Arrival<'a>(&'a Meeting);

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
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
                team.run(&mut own, |done, member| done.extend(member.share(count)));
                assert_eq!(own.concat(), (0..count).collect::<Vec<_>>(), "{count} on {threads}");
                let most = own.iter().map(Vec::len).max();
                assert_eq!(most, Some(count.div_ceil(threads)), "{count} on {threads}");
            }
        }
    }

    #[test]
    fn nobody_goes_on_before_all_have_arrived() {
        let team = Team::new(3).expect("threads");
        let arrived = AtomicUsize::new(0);
        team.run(&mut [(), (), ()], |(), member| {
            for round in 1..=200 {
                arrived.fetch_add(1, Ordering::Relaxed);
                assert!(member.meet());
                assert_eq!(arrived.load(Ordering::Relaxed), 3 * round);
                assert!(member.meet());
            }
        });
    }

    #[test]
    fn a_caller_whose_team_is_busy_works_alone() {
        let team = Team::new(2).expect("threads");
        let shares = Mutex::new(Vec::new());
        team.run(&mut [0, 1], |_, member| {
            if member.share(2) == (0..1) {
                team.run(&mut [(), ()], |(), member| {
                    shares.lock().expect("no panic").push(member.share(2));
                    assert!(member.meet());
                });
            }
        });
        let shares = shares.into_inner().expect("no panic");
        assert_eq!(shares, vec![Range { start: 0, end: 2 }]);
    }

    #[test]
    fn a_panic_of_one_is_a_panic_of_all() {
        let team = Team::new(2).expect("threads");
        for panicking in 0..2 {
            let panic = std::panic::catch_unwind(|| {
                let _guard = Guard::begin();
                team.run(&mut [(), ()], |(), member| {
                    assert!(is_guarded());
                    assert!(member.number != panicking, "thread {panicking}");
                    assert!(!member.meet());
                });
            });
            let text = panic.expect_err("panics").downcast::<String>().expect("a text");
            assert_eq!(*text, format!("thread {panicking}"));
            // And it is there for the next.
            team.run(&mut [(), ()], |(), member| assert!(member.meet()));
        }
    }
}
