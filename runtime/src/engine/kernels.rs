//! Matrix kernels of tract-linalg, called tile by tile, and the choice among them.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tract_linalg::MmmDispatch;
use tract_linalg::mmm::{DynKernel, FusedKerSpec, MatMatMul, OutputStoreKer, Query};
use tract_linalg::pack::PackedFormat;
use tract_onnx::prelude::DatumType;

use super::Engine;
use super::buffer::Buffer;
use super::passes::Level;
use super::rounded::{IntegerTile, Outputs, Rounding, Tokens};
use super::shared::Place;

type Raw = unsafe fn(&[FusedKerSpec<f32>]) -> isize;

/// One kernel: a tile of `mr` rows and `nr` columns.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub(super) name: String,
    pub(super) mr: usize,
    pub(super) nr: usize,
    raw: Raw,
}

/// What happens to a tile before it is stored.
#[derive(Clone, Copy)]
pub(super) enum Epilogue {
    /// Nothing.
    None,
    /// One value is added to each column.
    AddToColumns(*const f32),
    /// Each row is multiplied by one value.
    MultiplyRows(*const f32),
}

impl Tile {
    fn of(kernel: &dyn MatMatMul) -> Option<Self> {
        let plain = |format: &dyn tract_linalg::mmm::MMMInputFormat, r: usize| {
            format
                .downcast_ref::<PackedFormat>()
                .is_some_and(|format| format.dt == DatumType::F32 && format.r == r)
        };
        let (a, b) = kernel.packings().first()?;
        if !kernel.runnable()
            || kernel.emulated()
            || !plain(&**a, kernel.mr())
            || !plain(&**b, kernel.nr())
        {
            return None;
        }
        let any: &dyn Any = kernel;
        macro_rules! one_of {
            ($($mr:literal x $nr:literal),*) => {
                $(if let Some(known) = any.downcast_ref::<DynKernel<$mr, $nr, f32>>() {
                    Some(known.kernel)
                } else)* { None }
            };
        }
        let raw = one_of!(
            16 x 6, 16 x 5, 24 x 4, 8 x 8, 40 x 2, 32 x 3, 16 x 12, 16 x 8, 32 x 6, 32 x 5,
            48 x 4, 64 x 3, 80 x 2, 12 x 8, 16 x 4, 4 x 4, 8 x 4, 8 x 6
        )?;
        Some(Self { name: kernel.name().to_owned(), mr: kernel.mr(), nr: kernel.nr(), raw })
    }

    /// Stores one tile of the product of two packed panels over `depth`.
    ///
    /// # Safety
    /// `a` holds `depth` records of `mr` values, aligned for the kernel, `b` as many of `nr`,
    /// each with a record to spare; the epilogue's values and the place hold a whole tile.
    #[inline]
    pub(super) unsafe fn run(
        &self,
        depth: usize,
        a: *const f32,
        b: *const f32,
        epilogue: Epilogue,
        place: Place,
    ) {
        let product = FusedKerSpec::AddMatMul { k: depth, pa: a.cast(), pb: b.cast(), packing: 0 };
        let store = FusedKerSpec::Store(OutputStoreKer {
            ptr: place.start.cast(),
            row_byte_stride: 4 * place.row as isize,
            col_byte_stride: 4 * place.column as isize,
            item_size: 4,
        });
        let (clear, done) = (FusedKerSpec::Clear, FusedKerSpec::Done);
        // SAFETY: the caller's promise is the kernel's.
        unsafe {
            match epilogue {
                Epilogue::None => (self.raw)(&[clear, product, store, done]),
                Epilogue::AddToColumns(values) => {
                    (self.raw)(&[clear, product, FusedKerSpec::PerColAdd(values), store, done])
                }
                Epilogue::MultiplyRows(values) => {
                    (self.raw)(&[clear, product, FusedKerSpec::PerRowMul(values), store, done])
                }
            };
        }
    }
}

/// The kernels that this processor runs, generic ones only where there are no others.
fn tiles() -> Vec<Tile> {
    let runnable = MmmDispatch::native().runnable();
    let plain = runnable.iter().filter_map(|kernel| Tile::of(&**kernel));
    let (generic, native): (Vec<Tile>, Vec<Tile>) =
        plain.partition(|tile| tile.name.starts_with("generic"));
    if native.is_empty() { generic } else { native }
}

/// The sizes of one product with constant weights: `depth` inputs to `columns` outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) depth: usize,
    pub(super) columns: usize,
    /// Where the weights were rounded to integers, how the tokens are to be.
    pub(super) rounding: Option<Rounding>,
}

impl Shape {
    /// How tokens are rounded, where sums of this many inputs stay within 32 bits.
    fn rounding(&self) -> Option<Rounding> {
        self.rounding.filter(|rounding| self.depth <= rounding.deepest())
    }
}

/// The kernels of one product.
#[derive(Clone, Debug)]
pub(super) struct Kernels {
    /// In floating point.
    pub(super) tile: Tile,
    /// In integers, where it is computed in them, and how; its height divides the other's.
    pub(super) integers: Option<(IntegerTile, Rounding)>,
}

impl Kernels {
    /// Outputs of a tile.
    pub(super) fn unit(&self) -> usize {
        self.integers.as_ref().map_or(self.tile.nr, |(tile, _)| tile.nr)
    }
}

/// The kernels of each product; those in floating point all have the same `mr`, so activations
/// are packed once.
pub(super) fn choose(shapes: &[Shape], rows: usize, engine: Engine) -> Option<Vec<Kernels>> {
    let tiles = tiles();
    let mut integers = match shapes.iter().any(|shape| shape.rounding.is_some()) {
        true => IntegerTile::all(),
        false => Vec::new(),
    };
    if engine == Engine::Tuned {
        return fastest(&tiles, &integers, shapes, rows);
    }
    let first = preferred(&tiles, *shapes.first()?, rows)?;
    if engine != Engine::Integers {
        integers.retain(IntegerTile::is_fast);
    }
    let integers = preferred_of_integers(&integers, *shapes.first()?, rows);
    // Where the integers' height does not divide the preferred one's, another has to do.
    let tile = match &integers {
        Some(integers) if !first.mr.is_multiple_of(integers.mr) => {
            let fitting = tiles.iter().filter(|tile| tile.mr.is_multiple_of(integers.mr));
            fitting.max_by_key(|tile| tile.mr * tile.nr).cloned().unwrap_or(first)
        }
        _ => first,
    };
    let integers = integers.filter(|integers| tile.mr.is_multiple_of(integers.mr));
    let of = |shape: &Shape| {
        let integers = integers.clone().zip(shape.rounding());
        Kernels { tile: tile.clone(), integers }
    };
    Some(shapes.iter().map(of).collect())
}

/// The kernels that take the least time for all products together, as measured here.
fn fastest(
    tiles: &[Tile],
    integers: &[IntegerTile],
    shapes: &[Shape],
    rows: usize,
) -> Option<Vec<Kernels>> {
    let mut heights: Vec<usize> = tiles.iter().map(|tile| tile.mr).collect();
    heights.sort_unstable();
    heights.dedup();
    let choice = |height: usize| -> (f64, Vec<Kernels>) {
        let mut total = 0.0;
        let mut chosen = Vec::with_capacity(shapes.len());
        for shape in shapes {
            let candidates = tiles.iter().filter(|tile| tile.mr == height);
            let timed = candidates.map(|tile| (seconds(tile, *shape), tile));
            let Some((mut time, tile)) = timed.min_by(|a, b| a.0.total_cmp(&b.0)) else { continue };
            let mut kernels = Kernels { tile: tile.clone(), integers: None };
            if let Some(rounding) = shape.rounding() {
                for integers in integers.iter().filter(|it| height.is_multiple_of(it.mr)) {
                    let with = seconds_in_integers(integers, rounding, height, *shape);
                    if with < time {
                        time = with;
                        kernels.integers = Some((integers.clone(), rounding));
                    }
                }
            }
            total += time * rows.div_ceil(height) as f64;
            chosen.push(kernels);
        }
        (total, chosen)
    };
    let all = heights.into_iter().map(choice);
    all.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, chosen)| chosen)
}

/// The kernel for a product that follows from the processor alone, where it is one of ours.
fn preferred(tiles: &[Tile], shape: Shape, rows: usize) -> Option<Tile> {
    // The best all-round kernel with AVX-512; tract's cost model for AMD takes one that makes two
    // thirds of its speed.
    const AVX_512: &str = "avx512_mmm_f32_32x6";
    let query = Query::plain(DatumType::F32, Some(rows), Some(shape.depth), Some(shape.columns));
    let (kernel, ..) = MmmDispatch::native().pick(&query)?;
    let named = |name: &str| tiles.iter().find(|tile| tile.name == name).cloned();
    let wide = kernel.name().starts_with("avx512").then(|| named(AVX_512)).flatten();
    wide.or_else(|| named(kernel.name()))
}

/// The kernel in integers that follows from the processor alone: tract's own choice where it is
/// one of these, or the one with the largest tile.
fn preferred_of_integers(tiles: &[IntegerTile], shape: Shape, rows: usize) -> Option<IntegerTile> {
    let query = Query::plain(DatumType::I32, Some(rows), Some(shape.depth), Some(shape.columns));
    let picked = MmmDispatch::native().pick(&query);
    let named = picked.and_then(|(kernel, ..)| tiles.iter().find(|it| it.name == kernel.name()));
    named.or_else(|| tiles.iter().max_by_key(|tile| tile.mr * tile.nr)).cloned()
}

/// Seconds that one panel of rows takes for the whole product, measured once per process.
fn seconds(tile: &Tile, shape: Shape) -> f64 {
    once((tile.name.clone(), tile.mr, shape), || {
        let Shape { depth, columns, .. } = shape;
        let panels = columns.div_ceil(tile.nr);
        let mut a = Buffer::new(depth * tile.mr);
        let mut b = Buffer::new(panels * depth * tile.nr);
        let mut c = Buffer::new(panels * tile.mr * tile.nr);
        a.fill(0.5);
        b.fill(0.25);
        shortest(|| {
            for panel in 0..panels {
                // SAFETY: the buffers hold what the sizes say and a record to spare.
                unsafe {
                    let start = c.as_mut_ptr().add(panel * tile.mr * tile.nr);
                    let place = Place { start, row: 1, column: tile.mr };
                    let weights = b.as_ptr().add(panel * depth * tile.nr);
                    tile.run(depth, a.as_ptr(), weights, Epilogue::None, place);
                }
            }
        })
    })
}

/// As [`seconds`], for panels of `height` rows that are rounded first.
fn seconds_in_integers(tile: &IntegerTile, rounding: Rounding, height: usize, shape: Shape) -> f64 {
    once((tile.name.clone(), height, shape), || {
        macro_rules! by_height {
            ($($mr:literal)*) => {
                match height {
                    $($mr => shortest_in_integers::<$mr>(tile, rounding, shape),)*
                    _ => f64::INFINITY,
                }
            };
        }
        by_height!(4 8 12 16 24 32 40 48 64 80)
    })
}

fn shortest_in_integers<const MR: usize>(
    tile: &IntegerTile,
    rounding: Rounding,
    shape: Shape,
) -> f64 {
    let Shape { depth, columns, .. } = shape;
    let (level, panels) = (Level::detect(), columns.div_ceil(tile.nr));
    let size = tile.bytes(depth, tile.nr);
    let mut a = Buffer::new(depth * MR);
    let mut rounded = Buffer::new(tile.stride(depth, MR, rounding));
    let mut b = Buffer::new(panels * size.div_ceil(4));
    let mut c = Buffer::new(panels * MR * tile.nr);
    let scales = Buffer::new(tile.nr);
    a.fill(0.5);
    b.fill(0.25);
    shortest(|| {
        // SAFETY: the buffers hold what the sizes say and a record to spare.
        unsafe {
            tile.round::<MR>(level, depth, rounding, a.as_ptr(), rounded.as_mut_ptr());
            for panel in 0..panels {
                let start = c.as_mut_ptr().wrapping_add(panel * MR * tile.nr);
                let place = |column: usize| {
                    let start = start.wrapping_add(column * MR);
                    (tile.nr - column, Place { start, row: 1, column: MR })
                };
                for first in (0..MR).step_by(tile.mr) {
                    let both = rounding == Rounding::Fine;
                    let tokens = Tokens { panel: rounded.as_ptr(), height: MR, first, both };
                    let outputs = Outputs {
                        steps: b.as_ptr().cast::<i8>().add(panel * size),
                        scales: scales.as_ptr(),
                        bias: scales.as_ptr(),
                    };
                    tile.run(level, depth, tokens, outputs, 0..tile.nr, place);
                }
            }
        }
    })
}

/// A kernel's name, the height of the panels of rows, and the product.
type Known = (String, usize, Shape);

/// What `measure` gives, the first time in this process that it is asked for.
fn once(what: Known, measure: impl FnOnce() -> f64) -> f64 {
    static KNOWN: Mutex<Option<HashMap<Known, f64>>> = Mutex::new(None);
    // Held while measuring: two at once would disturb each other.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.get_or_insert_default().entry(what).or_insert_with(measure)
}

/// Seconds of the shortest of a few runs.
fn shortest(mut run: impl FnMut()) -> f64 {
    const TIMES: usize = 4;
    let mut time = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..TIMES).map(|_| time()).fold(f64::INFINITY, f64::min)
}
