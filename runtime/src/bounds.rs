//! What a model may take, judged before the engine makes anything of it.
//!
//! A file of a few bytes can name tensors of any size, and the engine computes whatever follows
//! from constants while it loads. Three things are bounded: what the file's messages become in
//! memory, what is computed from constants, and each tensor of a run.

use std::collections::{BTreeSet, HashMap};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TDim;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::infer::Factoid;

/// Most nodes of a model; BERT-large as PyTorch exports it has three thousand.
const MAX_NODES: u64 = 20_000;

/// Most texts and messages in a file of this many bytes is this and one in [`BYTES_A_FIELD`] bytes.
/// In memory, one takes a thousand bytes or less.
const MAX_FIELDS: u64 = 100_000;
const BYTES_A_FIELD: u64 = 256;

/// Messages within each other; the engine's reader takes a hundred.
const MAX_DEPTH: usize = 64;

/// What may be computed from constants: [`COMPUTED`] bytes and eight times the constants' own size.
/// Weights of 8 bits become four times as large.
const COMPUTED: u64 = 64 << 20;
const COMPUTED_PER_CONSTANT: u64 = 8;

/// What a tensor of a run may take: [`TENSOR`] bytes and for each token that the model takes at a
/// time [`TOKEN`] bytes, a quarter of a million numbers, and as much as scores of [`HEADS`] heads.
const TENSOR: u64 = 64 << 20;
const TOKEN: u64 = 1 << 20;
const HEADS: u64 = 32;

/// Kinds of messages in an ONNX file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    Value,
    Type,
    TensorType,
    Shape,
    Training,
    Function,
    Annotation,
    /// One of texts and numbers.
    Leaf,
}

impl Message {
    /// What the field of this number is, if it is a message; as `onnx.proto` has it.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Training, 1 | 2) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => {
                Self::Tensor
            }
            (Self::Graph, 11..=13) => Self::Value,
            (Self::Graph, 14) => Self::Annotation,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Node, 5) => Self::Attribute,
            (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Attribute, 15) | (Self::Value, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Model, 8 | 14)
            | (Self::Training, 3 | 4)
            | (Self::Tensor, 3 | 13)
            | (Self::Shape, 1)
            | (Self::Function, 9)
            | (Self::Annotation, 2) => Self::Leaf,
            _ => return None,
        })
    }
}

/// Bytes of a message that are still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for place in 0..10 {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, length: u64) -> Option<&'a [u8]> {
        let (skipped, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(skipped)
    }

    /// Number and content of the next field that has a length.
    fn field(&mut self) -> Option<Option<(u64, &'a [u8])>> {
        let tag = self.varint()?;
        match tag & 7 {
            0 => self.varint().map(|_| None),
            1 => self.skip(8).map(|_| None),
            2 => {
                let length = self.varint()?;
                Some(Some((tag >> 3, self.skip(length)?)))
            }
            5 => self.skip(4).map(|_| None),
            // Groups, which ONNX has none of.
            _ => None,
        }
    }
}

/// What was counted in a file.
#[derive(Default)]
struct Counted {
    fields: u64,
    nodes: u64,
}

/// Whether the messages of an ONNX file can be read without taking more than the file's size allows.
pub(crate) fn check_file(file: &[u8]) -> TractResult<()> {
    let most = MAX_FIELDS + file.len() as u64 / BYTES_A_FIELD;
    let mut counted = Counted::default();
    // The last first, each with how deep it lies.
    let mut messages = vec![(Message::Model, file, 0)];
    while let Some((message, content, depth)) = messages.pop() {
        let mut reader = Reader(content);
        while !reader.0.is_empty() {
            let Some(field) = reader.field() else {
                return refused("it is not an ONNX file, or is cut off".to_owned());
            };
            let Some((number, content)) = field else { continue };
            counted.fields += 1;
            if counted.fields > most {
                return refused(format!(
                    "its {} bytes hold more than {most} names, numbers and nodes",
                    file.len()
                ));
            }
            let Some(inner) = message.field(number) else { continue };
            if (message, inner) == (Message::Attribute, Message::Graph) {
                return refused("it branches or loops, which no encoder does".to_owned());
            }
            counted.nodes += u64::from(inner == Message::Node);
            if counted.nodes > MAX_NODES {
                return refused(format!("it has more than {MAX_NODES} nodes"));
            }
            if depth == MAX_DEPTH {
                return refused("its messages lie too deep within each other".to_owned());
            }
            messages.push((inner, content, depth + 1));
        }
    }
    Ok(())
}

fn refused<T>(problem: String) -> TractResult<T> {
    Err(TractError::msg(problem))
}

/// How much may still be computed from constants.
struct Allowance {
    most: u64,
    left: u64,
}

impl Allowance {
    fn of(constants: u64) -> Self {
        let most = COMPUTED.saturating_add(constants.saturating_mul(COMPUTED_PER_CONSTANT));
        Self { most, left: most }
    }

    /// Takes so many bytes for the output of a node.
    fn take(&mut self, name: &str, bytes: u64) -> TractResult<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => refused(format!(
                "what it computes from constants takes more than {} MiB, the most for a file of \
                 its size, at {name}",
                self.most >> 20
            )),
        }
    }
}

/// The bytes of a tensor of which this is known: what is unknown counts as little as it can.
fn least_bytes(fact: &InferenceFact) -> TractResult<u64> {
    let mut bytes = fact.datum_type.concretize().map_or(1, |kind| kind.size_of() as u64);
    let mut empty = false;
    for dim in fact.shape.dims() {
        let Some(dim) = dim.concretize().and_then(|dim| dim.to_i64().ok()) else { continue };
        let Ok(size) = u64::try_from(dim) else {
            return refused(format!("a shape in it has the size {dim}"));
        };
        empty |= size == 0;
        bytes = bytes.saturating_mul(size.max(1));
    }
    Ok(if empty { 0 } else { bytes })
}

/// What is told of the tensors around a node.
type Told = (TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>);

/// Does what [`InferenceModelExt::analyse`] does, after which that finds nothing more to compute; but
/// before a node is computed from constants, it asks what comes of it.
pub(crate) fn analyse(model: &mut InferenceModel) -> TractResult<()> {
    let mut allowance = Allowance::of(constants(model.nodes().iter().map(|node| node.op_as())));
    let mut observers: HashMap<OutletId, Vec<usize>> = HashMap::new();
    let mut waiting: BTreeSet<usize> = BTreeSet::new();
    // What comes of these is taken from the allowance.
    let mut computed = BTreeSet::new();
    for node in model.nodes() {
        waiting.insert(node.id);
        for outlet in node.op.observe_outlets(model, node)? {
            observers.entry(outlet).or_default().push(node.id);
        }
        for output in &node.outputs {
            least_bytes(&output.fact)?;
        }
    }
    // In the order of computing first, so that sizes are known when they are asked for.
    for node in model.eval_order()? {
        waiting.remove(&node);
        waiting.extend(analyse_one(model, node, &mut allowance, &mut computed, &observers)?);
    }
    while let Some(node) = waiting.pop_first() {
        waiting.extend(analyse_one(model, node, &mut allowance, &mut computed, &observers)?);
    }
    Ok(())
}

/// The bytes of a model's constants.
fn constants<'a>(nodes: impl Iterator<Item = Option<&'a Const>>) -> u64 {
    nodes.flatten().map(|node| bytes_of(node.val())).fold(0, u64::saturating_add)
}

fn bytes_of(tensor: &Tensor) -> u64 {
    (tensor.len() as u64).saturating_mul(tensor.datum_type().size_of() as u64)
}

/// Tells what can be told around a node; returns the nodes that have more to go by then.
fn analyse_one(
    model: &mut InferenceModel,
    id: usize,
    allowance: &mut Allowance,
    computed: &mut BTreeSet<usize>,
    observers: &HashMap<OutletId, Vec<usize>>,
) -> TractResult<BTreeSet<usize>> {
    let node = model.node(id);
    let name = node.name.clone();
    let within = |error: TractError| error.context(format!("at {name}"));
    let observed_outlets = node.op.observe_outlets(model, node)?;
    let of = |outlets: &[OutletId]| -> TractResult<TVec<InferenceFact>> {
        outlets.iter().map(|outlet| model.outlet_fact(*outlet).cloned()).collect()
    };
    let (inputs, observed) = (of(&node.inputs)?, of(&observed_outlets)?);
    let input_outlets = node.inputs.clone();
    let outputs: TVec<InferenceFact> =
        node.outputs.iter().map(|output| output.fact.clone()).collect();
    let count = node.op.nboutputs()?;
    if count != outputs.len() {
        return refused(format!("{name} has {} outputs, not {count}", outputs.len()));
    }
    let op = &mut model.node_mut(id).op;
    if op.name() == "Range" && inputs.iter().all(|fact| fact.value.is_concrete()) {
        // The engine tells the length for whole steps forwards only.
        allowance.take(&name, range_bytes(&inputs)?)?;
    }
    let mut told: Told = op
        .infer_facts(inputs.iter().collect(), outputs.iter().collect(), observed.iter().collect())
        .map_err(within)?;
    let known = !told.0.is_empty() && told.0.iter().all(|fact| fact.value.is_concrete());
    if known {
        if computed.insert(id) {
            for fact in &told.1 {
                allowance.take(&name, least_bytes(fact)?)?;
            }
        }
        told = op
            .infer(inputs.iter().collect(), outputs.iter().collect(), observed.iter().collect())
            .map_err(within)?;
    }
    let own = (0..told.1.len()).map(|slot| OutletId::new(id, slot));
    let outlets: Vec<OutletId> =
        input_outlets.iter().copied().chain(own).chain(observed_outlets).collect();
    let mut next = BTreeSet::new();
    for (outlet, fact) in outlets.into_iter().zip(told.0.iter().chain(&told.1).chain(&told.2)) {
        let before = model.outlet_fact(outlet)?;
        let unified = fact.unify(before).map_err(within)?;
        if &unified == before {
            continue;
        }
        least_bytes(&unified).map_err(within)?;
        let successors = &model.node(outlet.node).outputs[outlet.slot].successors;
        next.extend(successors.iter().map(|inlet| inlet.node).filter(|node| *node != outlet.node));
        next.extend(Some(outlet.node).filter(|node| *node != id));
        next.extend(observers.get(&outlet).into_iter().flatten());
        model.set_outlet_fact(outlet, unified)?;
    }
    Ok(next)
}

/// The bytes of the numbers from the first to the second input in steps of the third.
fn range_bytes(inputs: &[InferenceFact]) -> TractResult<u64> {
    let mut numbers = [0.0; 3];
    for (number, fact) in numbers.iter_mut().zip(inputs) {
        let Some(value) = fact.value.concretize() else { continue };
        *number = value.cast_to_scalar::<f64>()?;
    }
    let [begin, end, step] = numbers;
    // A float becomes the nearest whole number, or the largest.
    Ok((((end - begin) / step).abs().ceil() as u64).saturating_mul(8))
}

/// Whether the tensors of a model that takes so many `tokens` at a time, in sequences of so many, can
/// be computed.
pub(crate) fn check_typed(model: &TypedModel, tokens: u64, sequence: u64) -> TractResult<()> {
    let mut allowance = Allowance::of(constants(model.nodes().iter().map(|node| node.op_as())));
    let a_token = TOKEN.saturating_add(sequence.saturating_mul(4 * HEADS));
    let most = TENSOR.saturating_add(tokens.saturating_mul(a_token));
    let mut constant = BTreeSet::new();
    for id in model.eval_order()? {
        let node = model.node(id);
        if node.op_is::<Const>() {
            constant.insert(id);
            continue;
        }
        let computed = !node.inputs.is_empty()
            && node.inputs.iter().all(|outlet| constant.contains(&outlet.node));
        if computed {
            constant.insert(id);
        }
        for output in &node.outputs {
            let kind = output.fact.datum_type.size_of() as u64;
            let shape = output.fact.shape.iter().map(TDim::to_i64);
            let bytes = shape.flatten().map(i64::unsigned_abs).fold(kind, u64::saturating_mul);
            if computed {
                allowance.take(&node.name, bytes)?;
            } else if bytes > most {
                return refused(format!(
                    "{} has {} MiB, of which a model of {tokens} tokens may have {}",
                    node.name,
                    bytes >> 20,
                    most >> 20
                ));
            }
        }
    }
    Ok(())
}
