//! The ranks of `MPI_COMM_WORLD`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use atb_ranks::Transport;
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{
    Communicator, CommunicatorCollectives, Destination, Equivalence, MatchedReceiveVec, Root,
    Source,
};

use super::MpiError;
use super::farewell::Farewell;

/// Bytes that one call exchanges at most; its result is copied from a buffer of as many.
const PIECE: usize = 1 << 24;

/// `MPI_COMM_WORLD`, from `MPI_Init_thread` to `MPI_Finalize`.
pub(super) struct World {
    rank: usize,
    size: usize,
    farewell: Farewell,
    handles: Mutex<Handles>,
}

struct Handles {
    world: SimpleCommunicator,
    /// Finalizes when it is dropped, after `world`.
    _universe: Universe,
}

// SAFETY: MPI was initialised for calls from any thread, one at a time, which the mutex around the
// handles sees to.
unsafe impl Send for Handles {}

impl World {
    pub(super) fn begin() -> Result<Self, MpiError> {
        // Before MPI starts threads of its own, which inherit what it blocks.
        let farewell = Farewell::prepare();
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| MpiError::Threads { found: "already initialised".to_owned() })?;
        if threading < Threading::Serialized {
            return Err(MpiError::Threads { found: format!("{threading:?}") });
        }
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        let handles = Mutex::new(Handles { world, _universe: universe });
        Ok(Self { rank, size, farewell, handles })
    }

    fn lock(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reduce<T: Equivalence + Copy + Default>(&self, values: &mut [T], by: SystemOperation) {
        let handles = self.lock();
        let most = PIECE / size_of::<T>();
        let mut result = vec![T::default(); most.min(values.len())];
        for piece in values.chunks_mut(most) {
            let result = &mut result[..piece.len()];
            handles.world.all_reduce_into(&*piece, &mut *result, by);
            piece.copy_from_slice(result);
        }
    }
}

// What fails within a call ends the job: that is MPI's own handling of errors, and nothing here
// changes it.
impl Transport for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum_f32(&self, values: &mut [f32]) {
        self.reduce(values, SystemOperation::sum());
    }

    fn sum_f64(&self, values: &mut [f64]) {
        self.reduce(values, SystemOperation::sum());
    }

    fn union(&self, bytes: &mut [u8]) {
        self.reduce(bytes, SystemOperation::bitwise_or());
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) {
        let handles = self.lock();
        let root = handles.world.process_at_rank(0);
        let mut length = bytes.len() as u64;
        root.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        for piece in bytes.chunks_mut(PIECE) {
            root.broadcast_into(piece);
        }
    }

    fn barrier(&self) {
        self.lock().world.barrier();
    }

    fn send(&self, to: usize, message: &[u8]) {
        self.lock().world.process_at_rank(to as i32).send(message);
    }

    fn receive(&self, from: usize) -> Vec<u8> {
        self.lock().world.process_at_rank(from as i32).receive_vec().0
    }

    fn try_receive(&self) -> Option<(usize, Vec<u8>)> {
        let handles = self.lock();
        let probed = handles.world.any_process().immediate_matched_probe()?;
        let from = probed.1.source_rank() as usize;
        Some((from, probed.matched_receive_vec().0))
    }

    fn say_at_end(&self, text: String) {
        // With thousands of ranks two voices are enough: one of them is alive.
        if self.rank < 2 {
            self.farewell.say(text);
        }
    }

    fn abort(&self, status: i32) -> ! {
        self.lock().world.abort(status)
    }
}
