//! Sums of gradients over the ranks of a job.
//!
//! What the ranks have touched differs in the rows of tables alone: all train the same sub-models.
//! So they first tell each other what was touched, and then add up one buffer that holds just that.

use std::sync::Arc;
use std::time::Instant;

use atb_ranks::Ranks;
use candle_core::{Device, Result, Tensor};

use super::adamw::Dense;
use super::metrics::Exchange;
use crate::ops::{Gradient, Rows, Touched};

/// The gradient of a parameter, wherever it is kept.
pub(super) trait Part {
    /// Which rows got a gradient; of `rows` rows.
    fn touched(&self, rows: usize) -> Result<Touched>;

    /// Appends the values of `rows`, all of them if none are given.
    fn take(&mut self, rows: Option<&[u32]>, width: usize, into: &mut Vec<f32>) -> Result<()>;

    /// Replaces the values of the same rows, which count as touched from now on.
    fn put(&mut self, rows: Option<Vec<u32>>, width: usize, values: &[f32]) -> Result<()>;
}

/// A parameter with its gradient.
pub(super) struct Parameter<'a> {
    /// Number of values.
    pub(super) values: usize,
    /// Values a row.
    pub(super) width: usize,
    pub(super) state: &'a mut dyn Part,
}

const NOTHING: u8 = 0;
const ROWS: u8 = 1;
const EVERYTHING: u8 = 3;

/// Replaces the gradients of all parameters by their sums over all ranks; `flat` is room that is
/// used again.
pub(super) fn sum(
    ranks: &Ranks,
    parameters: &mut [Parameter<'_>],
    flat: &mut Vec<f32>,
) -> Result<Exchange> {
    let (began, before) = (Instant::now(), ranks.exchanged());
    let rows = |parameter: &Parameter<'_>| parameter.values / parameter.width.max(1);
    let own: Vec<Touched> =
        parameters.iter().map(|p| p.state.touched(rows(p))).collect::<Result<_>>()?;
    let mut kinds: Vec<u8> = own
        .iter()
        .map(|touched| match touched {
            Touched::Nothing => NOTHING,
            Touched::Rows(_) => ROWS,
            Touched::Everything => EVERYTHING,
        })
        .collect();
    // Whoever is first waits here for the others.
    ranks.union(&mut kinds);
    let (waited, began) = (began.elapsed(), Instant::now());

    // The rows of all tables, a bit each.
    let mut bits = Vec::new();
    for ((parameter, kind), own) in parameters.iter().zip(&kinds).zip(&own) {
        if *kind == ROWS {
            let first = bits.len();
            bits.resize(first + rows(parameter).div_ceil(8), 0);
            if let Touched::Rows(own) = own {
                own.iter().for_each(|row| bits[first + *row as usize / 8] |= 1 << (row % 8));
            }
        }
    }
    if !bits.is_empty() {
        ranks.union(&mut bits);
    }
    let (mut rest, mut of_tables) = (bits.as_slice(), Vec::new());
    for (parameter, kind) in parameters.iter().zip(&kinds) {
        of_tables.push((*kind == ROWS).then(|| {
            let (bits, others) = rest.split_at(rows(parameter).div_ceil(8));
            rest = others;
            let is_set = |row: &u32| bits[*row as usize / 8] >> (row % 8) & 1 == 1;
            (0..rows(parameter) as u32).filter(is_set).collect::<Vec<u32>>()
        }));
    }

    flat.clear();
    for ((parameter, kind), rows) in parameters.iter_mut().zip(&kinds).zip(&of_tables) {
        if *kind != NOTHING {
            let (first, width) = (flat.len(), parameter.width);
            parameter.state.take(rows.as_deref(), width, flat)?;
            let expected = rows.as_ref().map_or(parameter.values, |rows| rows.len() * width);
            assert_eq!(flat.len() - first, expected, "a gradient is of another size");
        }
    }
    ranks.sum(flat);
    let mut rest = flat.as_slice();
    for ((parameter, kind), rows) in parameters.iter_mut().zip(&kinds).zip(of_tables) {
        if *kind != NOTHING {
            let width = parameter.width;
            let length = rows.as_ref().map_or(parameter.values, |rows| rows.len() * width);
            let (values, others) = rest.split_at(length);
            parameter.state.put(rows, width, values)?;
            rest = others;
        }
    }
    Ok(Exchange {
        ranks: ranks.size(),
        bytes: ranks.exchanged() - before,
        waited: waited.as_secs_f64(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

impl Part for Arc<Gradient> {
    fn touched(&self, _rows: usize) -> Result<Touched> {
        Ok(self.lock().touched.clone())
    }

    fn take(&mut self, rows: Option<&[u32]>, width: usize, into: &mut Vec<f32>) -> Result<()> {
        let sum = self.lock();
        match rows {
            None => into.extend_from_slice(&sum.values),
            Some(rows) => rows.iter().for_each(|row| {
                into.extend_from_slice(&sum.values[*row as usize * width..][..width]);
            }),
        }
        Ok(())
    }

    fn put(&mut self, rows: Option<Vec<u32>>, width: usize, values: &[f32]) -> Result<()> {
        let mut sum = self.lock();
        match rows {
            None => {
                sum.values.copy_from_slice(values);
                sum.touched = Touched::Everything;
            }
            Some(rows) => {
                for (row, values) in rows.iter().zip(values.chunks_exact(width)) {
                    sum.values[*row as usize * width..][..width].copy_from_slice(values);
                }
                sum.touched = Touched::Rows(rows);
            }
        }
        Ok(())
    }
}

/// On another device than the processor the gradients go through the memory of the host.
impl Part for Dense {
    fn touched(&self, _rows: usize) -> Result<Touched> {
        if self.gradient.is_none() {
            return Ok(Touched::Nothing);
        }
        Ok(match self.used.get() {
            Rows::Nothing => Touched::Nothing,
            Rows::Everything => Touched::Everything,
            Rows::LookedUp(counts) => {
                let counts: Vec<f32> = counts.flatten_all()?.to_vec1()?;
                let rows = counts.iter().zip(0..).filter(|(count, _)| **count > 0.0);
                Touched::Rows(rows.map(|(_, row)| row).collect())
            }
        })
    }

    fn take(&mut self, rows: Option<&[u32]>, width: usize, into: &mut Vec<f32>) -> Result<()> {
        let length = rows.map_or(self.first.elem_count(), |rows| rows.len() * width);
        let values = match (&self.gradient, rows) {
            (None, _) => vec![0.0; length],
            (Some(gradient), None) => gradient.flatten_all()?.to_vec1()?,
            (Some(gradient), Some(rows)) => {
                let rows = Tensor::new(rows, gradient.device())?;
                gradient.index_select(&rows, 0)?.flatten_all()?.to_vec1()?
            }
        };
        into.extend(values);
        Ok(())
    }

    fn put(&mut self, rows: Option<Vec<u32>>, width: usize, values: &[f32]) -> Result<()> {
        let (shape, device) = (self.first.shape(), self.first.device().clone());
        let (gradient, used) = match rows {
            None => (Tensor::from_slice(values, shape, &Device::Cpu)?, Rows::Everything),
            Some(rows) => {
                let mut whole = vec![0.0; shape.elem_count()];
                let mut counts = vec![0.0_f32; shape.elem_count() / width.max(1)];
                for (row, values) in rows.iter().zip(values.chunks_exact(width)) {
                    whole[*row as usize * width..][..width].copy_from_slice(values);
                    counts[*row as usize] = 1.0;
                }
                let count = counts.len();
                let counts = Tensor::from_vec(counts, (count, 1), &device)?;
                (Tensor::from_vec(whole, shape, &Device::Cpu)?, Rows::LookedUp(counts))
            }
        };
        self.gradient = Some(gradient.to_device(&device)?);
        self.used.set(used);
        Ok(())
    }
}
