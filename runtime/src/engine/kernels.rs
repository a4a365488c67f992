//! Matrix kernels of tract-linalg, called tile by tile, and the choice among them.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tract_linalg::MmmDispatch;
use tract_linalg::mmm::{DynKernel, FusedKerSpec, MatMatMul, OutputStoreKer, Query};
use tract_linalg::pack::PackedFormat;
use tract_onnx::prelude::DatumType;

use super::buffer::Buffer;

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

/// Where a tile goes; strides in values.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) start: *mut f32,
    pub(super) row: usize,
    pub(super) column: usize,
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
}

/// One kernel for each product; all have the same `mr`, so activations are packed once.
pub(super) fn choose(shapes: &[Shape], rows: usize, measure: bool) -> Option<Vec<Tile>> {
    let tiles = tiles();
    if !measure {
        let tile = preferred(&tiles, *shapes.first()?, rows)?;
        return Some(vec![tile; shapes.len()]);
    }
    let mut heights: Vec<usize> = tiles.iter().map(|tile| tile.mr).collect();
    heights.sort_unstable();
    heights.dedup();
    let choice = |height: usize| -> (f64, Vec<Tile>) {
        let mut total = 0.0;
        let mut chosen = Vec::with_capacity(shapes.len());
        for shape in shapes {
            let candidates = tiles.iter().filter(|tile| tile.mr == height);
            let timed = candidates.map(|tile| (seconds(tile, *shape), tile));
            if let Some((time, tile)) = timed.min_by(|a, b| a.0.total_cmp(&b.0)) {
                total += time * rows.div_ceil(height) as f64;
                chosen.push(tile.clone());
            }
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

/// Seconds that one panel of rows takes for the whole product, measured once per process.
fn seconds(tile: &Tile, shape: Shape) -> f64 {
    static KNOWN: Mutex<Option<HashMap<(String, Shape), f64>>> = Mutex::new(None);
    // Held while measuring: two at once would disturb each other.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    *known.entry((tile.name.clone(), shape)).or_insert_with(|| measured(tile, shape))
}

fn measured(tile: &Tile, shape: Shape) -> f64 {
    const TIMES: usize = 4;
    let Shape { depth, columns } = shape;
    let panels = columns.div_ceil(tile.nr);
    let mut a = Buffer::new(depth * tile.mr);
    let mut b = Buffer::new(panels * depth * tile.nr);
    let mut c = Buffer::new(panels * tile.mr * tile.nr);
    a.fill(0.5);
    b.fill(0.25);
    let mut best = f64::INFINITY;
    for _ in 0..TIMES {
        let start = Instant::now();
        for panel in 0..panels {
            // SAFETY: the buffers hold what the sizes say and a record to spare.
            unsafe {
                let place = Place {
                    start: c.as_mut_ptr().add(panel * tile.mr * tile.nr),
                    row: 1,
                    column: tile.mr,
                };
                let weights = b.as_ptr().add(panel * depth * tile.nr);
                tile.run(depth, a.as_ptr(), weights, Epilogue::None, place);
            }
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}
