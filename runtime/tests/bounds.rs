//! Files that claim more than they are: refused with a reason, before they take memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use atb_runtime::{Engine, Session, SessionError};

/// What a file may take: ten times its size and this.
const BESIDES: usize = 256 << 20;

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// One file at a time, so that its memory is its own.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: the system's allocator, with counters beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A number as a field.
fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value as u64)].concat()
}

/// A text, bytes or a message as a field.
fn bytes(field: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

const FLOAT: i64 = 1;
const INT64: i64 = 7;

fn tensor(name: &str, kind: i64, shape: &[i64], content: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|dim| number(1, *dim)).collect();
    [dims, number(2, kind), bytes(8, name), bytes(9, content)].concat()
}

fn integers(name: &str, values: &[i64]) -> Vec<u8> {
    let content: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, INT64, &[values.len() as i64], &content)
}

fn scalar(name: &str, value: i64) -> Vec<u8> {
    tensor(name, INT64, &[], &value.to_le_bytes())
}

fn value(name: &str, kind: i64, shape: &[i64]) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|dim| bytes(1, number(1, *dim))).collect();
    let kind = [number(1, kind), bytes(2, dims)].concat();
    [bytes(1, name), bytes(2, bytes(1, kind))].concat()
}

fn node(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| bytes(1, input)).collect();
    [inputs, bytes(2, output), bytes(3, output), bytes(4, op)].concat()
}

/// A model of one sequence of four tokens that gives `out`.
fn model(constants: &[Vec<u8>], nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut graph = bytes(2, "g");
    graph.extend(constants.iter().flat_map(|tensor| bytes(5, tensor)));
    for name in ["input_ids", "attention_mask", "token_type_ids"] {
        graph.extend(bytes(11, value(name, INT64, &[1, 4])));
    }
    graph.extend(nodes.iter().flat_map(|node| bytes(1, node)));
    graph.extend(bytes(12, bytes(1, "out")));
    [number(1, 8), bytes(8, number(2, 17)), bytes(7, graph)].concat()
}

/// What opening a file says, which may not take much.
fn told(name: &str, file: &[u8]) -> String {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let error = match Session::from_bytes(name, file, 1) {
        Ok(_) => "opens".to_owned(),
        Err(SessionError::Panicked { problem, .. }) => panic!("{name} panics: {problem}"),
        Err(error) => error.to_string(),
    };
    let took = MOST.load(Ordering::Relaxed) - before;
    println!("{name}: {} bytes take {} KiB: {error}", file.len(), took >> 10);
    assert!(took <= 10 * file.len() + BESIDES, "{name} of {} bytes takes {took}", file.len());
    error
}

#[test]
fn constants_that_would_be_large_are_refused() {
    const LARGE: i64 = 1 << 30;
    let floats = |count: usize| vec![0; 4 * count];
    let shaped =
        |shape: &[i64]| model(&[integers("s", shape)], &[node("ConstantOfShape", &["s"], "out")]);
    let range = |begin: i64, end: i64, step: i64| {
        let constants = [scalar("a", begin), scalar("b", end), scalar("c", step)];
        model(&constants, &[node("Range", &["a", "b", "c"], "out")])
    };
    let small_steps: Vec<_> = [("a", 0.0_f32), ("b", 1.0), ("c", 1e-9)]
        .map(|(name, value)| tensor(name, FLOAT, &[], &value.to_le_bytes()))
        .to_vec();
    let output = |i: usize, last: usize| if i == last { "out".to_owned() } else { format!("n{i}") };
    let many: Vec<_> =
        (1..=1000).map(|i| node("ConstantOfShape", &["s"], &output(i, 1000))).collect();
    let doubled: Vec<_> = (0..40)
        .map(|i| {
            let (from, to) = (format!("n{i}"), output(i + 1, 40));
            node("Concat", &[&from, &from], &to)
        })
        .collect();
    let one = tensor("x", FLOAT, &[1], &floats(1));
    for (name, file) in [
        ("a shape", shaped(&[67_108_865, 4, 4])),
        ("a shape beyond all", shaped(&[i32::MAX.into(); 4])),
        ("an expansion", {
            let constants = [one.clone(), integers("s", &[LARGE])];
            model(&constants, &[node("Expand", &["x", "s"], "out")])
        }),
        ("a tile", {
            let constants = [one.clone(), integers("s", &[LARGE])];
            model(&constants, &[node("Tile", &["x", "s"], "out")])
        }),
        ("a range", range(0, LARGE, 1)),
        ("a range backwards", range(LARGE, 0, -1)),
        ("a range of small steps", model(&small_steps, &[node("Range", &["a", "b", "c"], "out")])),
        ("one of many", {
            let values = tensor("v", FLOAT, &[2], &floats(2));
            let constants = [scalar("i", 3), scalar("d", LARGE), values];
            model(&constants, &[node("OneHot", &["i", "d", "v"], "out")])
        }),
        ("a product of a column and a row", {
            let constants = [
                tensor("x", FLOAT, &[40_000, 1], &floats(40_000)),
                tensor("y", FLOAT, &[1, 40_000], &floats(40_000)),
            ];
            model(&constants, &[node("Mul", &["x", "y"], "out")])
        }),
        ("a thousand of a megabyte", model(&[integers("s", &[1 << 18])], &many)),
        ("forty doublings", {
            let first = tensor("n0", FLOAT, &[1 << 10], &floats(1 << 10));
            let axis = [bytes(1, "axis"), number(20, 2), number(3, 0)].concat();
            let nodes: Vec<_> =
                doubled.iter().map(|node| [node.clone(), bytes(5, &axis)].concat()).collect();
            model(&[first], &nodes)
        }),
    ] {
        let error = told(name, &file);
        assert!(error.contains("what it computes from constants takes more than"), "{error}");
    }
    // The engine takes sizes for 32-bit numbers.
    for shape in [[-5; 2], [1 << 31; 2], [i64::MAX; 2]] {
        let error = told("a negative shape", &shaped(&shape));
        assert!(error.contains("a shape in it has the size -"), "{error}");
    }
}

#[test]
fn tensors_of_a_run_that_would_be_large_are_refused() {
    let constants = [integers("s", &[1 << 30, 1, 4])];
    let error = told("an input", &model(&constants, &[node("Expand", &["input_ids", "s"], "out")]));
    assert!(error.contains("of which a model of 4 tokens may have"), "{error}");
}

#[test]
fn files_that_become_large_when_they_are_read_are_refused() {
    let empty = vec![Vec::new(); 2_000_000];
    let error = told("two million empty nodes", &model(&[], &empty));
    assert!(error.contains("it has more than 20000 nodes"), "{error}");
    let error = told("two million empty tensors", &model(&empty, &[]));
    assert!(error.contains("hold more than"), "{error}");
    let attributes: Vec<u8> = empty.iter().flat_map(|_| bytes(5, "")).collect();
    let error = told("two million empty attributes", &model(&[], &[attributes]));
    assert!(error.contains("hold more than"), "{error}");
    let names: Vec<u8> = empty.iter().flat_map(|_| bytes(1, "")).collect();
    let error = told("two million inputs", &model(&[], &[names]));
    assert!(error.contains("hold more than"), "{error}");
    for shape in [[1 << 31, 1 << 31], [7, 0x6db6_db6d_b6db_6db7]] {
        let constants = [tensor("x", FLOAT, &shape, &[0; 4])];
        let error = told("a tensor of four bytes", &model(&constants, &[]));
        assert!(error.contains("could not be loaded"), "{error}");
    }
    let branch = [bytes(1, "then_branch"), number(20, 5), bytes(6, "")].concat();
    let branch = [node("If", &["input_ids"], "out"), bytes(5, branch)].concat();
    let error = told("a branch", &model(&[], &[branch]));
    assert!(error.contains("it branches or loops"), "{error}");
    let error = told("no model", b"this is no model");
    assert!(error.contains("it is not an ONNX file, or is cut off"), "{error}");
}

#[test]
fn external_data_does_not_become_more_than_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(folder.path().join("data"), vec![0; 1 << 20]).expect("writes");
    let outside = |i: usize| {
        let entry = |key: &str, value: &str| bytes(13, [bytes(1, key), bytes(2, value)].concat());
        let shape = [number(1, 1 << 18), number(2, FLOAT), bytes(8, format!("x{i}"))].concat();
        [shape, entry("location", "data"), number(14, 1)].concat()
    };
    let open = |path: &Path| Session::open_with(path, 1, Engine::Plain).map(|_| ());
    let cast = [bytes(1, "to"), number(20, 2), number(3, FLOAT)].concat();
    let cast = [node("Cast", &["input_ids"], "out"), bytes(5, cast)].concat();
    for (count, opens) in [(2, true), (3, false)] {
        let constants: Vec<_> = (0..count).map(outside).collect();
        std::fs::write(&path, model(&constants, std::slice::from_ref(&cast))).expect("writes");
        let opened = open(&path);
        match (opens, &opened) {
            (true, Ok(())) => {}
            (false, Err(error)) if error.to_string().contains("several times") => {}
            _ => panic!("{count}: {opened:?}"),
        }
    }
}
