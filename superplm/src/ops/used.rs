//! Which parameters, and which rows of tables, a step uses whose gradients candle returns.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Result, Tensor};

/// The rows of a parameter that were used.
#[derive(Clone, Debug, Default)]
pub(crate) enum Rows {
    /// None.
    #[default]
    Nothing,
    /// Those of a table that were looked up: how often, f32 `[rows, 1]`, on its device.
    LookedUp(Tensor),
    /// Taken as a whole, whatever the part.
    Everything,
}

/// What was used of a parameter since it was last asked.
///
/// A gradient that candle returns is dense: it does not tell a row that was not used from one
/// whose gradient is zero.
#[derive(Debug, Default)]
pub(crate) struct Used(Mutex<Rows>);

impl Used {
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a use as a whole.
    pub(super) fn as_a_whole(&self) {
        *self.lock() = Rows::Everything;
    }

    /// Notes that the rows `ids` (i64) of `table` were looked up.
    pub(super) fn rows(&self, table: &Tensor, ids: &Tensor) -> Result<()> {
        let mut used = self.lock();
        let before = match &*used {
            Rows::Everything => return Ok(()),
            Rows::LookedUp(counts) => counts.clone(),
            Rows::Nothing => Tensor::zeros((table.dim(0)?, 1), DType::F32, table.device())?,
        };
        let ones = Tensor::ones((ids.elem_count(), 1), DType::F32, table.device())?;
        *used = Rows::LookedUp(before.index_add(ids, &ones, 0)?);
        Ok(())
    }

    /// What was used since it was last taken.
    pub(crate) fn get(&self) -> Rows {
        self.lock().clone()
    }

    /// Makes it what is given.
    pub(crate) fn set(&self, used: Rows) {
        *self.lock() = used;
    }

    /// What was used, and from now on nothing.
    pub(crate) fn take(&self) -> Rows {
        std::mem::take(&mut *self.lock())
    }
}
