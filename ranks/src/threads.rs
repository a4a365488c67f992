//! Ranks that are threads of one process.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Transport;

/// What all ranks of the process see.
#[derive(Default)]
struct State {
    /// What the ranks gave to the exchange at work, by their numbers.
    given: Vec<Option<Vec<u8>>>,
    /// What they take from the last one.
    result: Arc<Vec<Vec<u8>>>,
    /// Exchanges completed.
    completed: u64,
    /// Messages by receiver: sender and bytes.
    messages: Vec<VecDeque<(usize, Vec<u8>)>>,
    /// Whether a rank's thread panicked.
    failed: bool,
}

#[derive(Default)]
struct Room {
    state: Mutex<State>,
    changed: Condvar,
}

/// A rank.
pub(super) struct Thread {
    rank: usize,
    size: usize,
    room: Arc<Room>,
}

/// `size` ranks.
pub(super) fn connected(size: usize) -> Vec<Thread> {
    let state = State {
        given: vec![None; size],
        messages: vec![VecDeque::new(); size],
        ..State::default()
    };
    let room = Arc::new(Room { state: Mutex::new(state), changed: Condvar::new() });
    (0..size).map(|rank| Thread { rank, size, room: room.clone() }).collect()
}

impl Thread {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.room.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_there`.
    fn wait(&self, is_there: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !is_there(&state) {
            assert!(!state.failed, "another rank is gone");
            state = self.room.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Gives bytes to an exchange and takes what all ranks gave.
    fn exchange(&self, bytes: Vec<u8>) -> Arc<Vec<Vec<u8>>> {
        let mut state = self.lock();
        let number = state.completed;
        state.given[self.rank] = Some(bytes);
        if state.given.iter().all(Option::is_some) {
            state.result = Arc::new(state.given.iter_mut().filter_map(Option::take).collect());
            state.completed += 1;
            self.room.changed.notify_all();
        }
        drop(state);
        self.wait(|state| state.completed > number).result.clone()
    }

    /// Adds up values in the order of the ranks.
    fn sum<T: Copy + std::ops::AddAssign, const N: usize>(
        &self,
        values: &mut [T],
        bytes_of: fn(T) -> [u8; N],
        value_of: fn([u8; N]) -> T,
    ) {
        let all = self.exchange(values.iter().flat_map(|value| bytes_of(*value)).collect());
        for (rank, given) in all.iter().enumerate() {
            let given = given.as_chunks::<N>().0;
            assert_eq!(given.len(), values.len(), "ranks disagree on what they exchange");
            for (value, given) in values.iter_mut().zip(given) {
                let given = value_of(*given);
                if rank == 0 { *value = given } else { *value += given }
            }
        }
    }
}

impl Transport for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum_f32(&self, values: &mut [f32]) {
        self.sum(values, f32::to_ne_bytes, f32::from_ne_bytes);
    }

    fn sum_f64(&self, values: &mut [f64]) {
        self.sum(values, f64::to_ne_bytes, f64::from_ne_bytes);
    }

    fn union(&self, bytes: &mut [u8]) {
        for given in self.exchange(bytes.to_vec()).iter() {
            bytes.iter_mut().zip(given).for_each(|(byte, given)| *byte |= given);
        }
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) {
        let given = if self.rank == 0 { std::mem::take(bytes) } else { Vec::new() };
        bytes.clone_from(&self.exchange(given)[0]);
    }

    fn barrier(&self) {
        self.exchange(Vec::new());
    }

    fn send(&self, to: usize, message: &[u8]) {
        self.lock().messages[to].push_back((self.rank, message.to_vec()));
        self.room.changed.notify_all();
    }

    fn receive(&self, from: usize) -> Vec<u8> {
        let place = |state: &State| {
            state.messages[self.rank].iter().position(|(sender, _)| *sender == from)
        };
        let mut state = self.wait(|state| place(state).is_some());
        let message = place(&state).and_then(|place| state.messages[self.rank].remove(place));
        message.map_or(Vec::new(), |(_, bytes)| bytes)
    }

    fn try_receive(&self) -> Option<(usize, Vec<u8>)> {
        let mut state = self.lock();
        let message = state.messages[self.rank].pop_front();
        assert!(message.is_some() || !state.failed, "another rank is gone");
        message
    }

    fn say_at_end(&self, _text: String) {}

    fn abort(&self, status: i32) -> ! {
        panic!("rank {} ends the job with status {status}", self.rank)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lock().failed = true;
            self.room.changed.notify_all();
        }
    }
}
