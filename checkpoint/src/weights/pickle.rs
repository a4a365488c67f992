//! `pytorch_model.bin`, as `torch.save` writes it since PyTorch 1.6: a zip archive of a
//! pickle, which describes the tensors, and their storages.
//!
//! The pickle is read as data. What it asks Python to call is looked at for the few
//! functions that make a tensor; anything else becomes a value that nothing is done with.
//! Values live in one list and refer to each other by number, so that depth costs nothing
//! and a value used often is held once.

use std::collections::HashMap;

use atb_files::stored_members;

use super::{Dtype, Entry, Tensors, WeightsFile};
use crate::CheckpointError;

const REMEDY: &str = "download or copy it again; if PyTorch older than 1.6 wrote it, save it as \
                      model.safetensors with a current version";

/// Bytes of the pickle that describes the tensors.
const MAX_PICKLE: usize = 64 << 20;

/// What tensors the file holds.
pub(crate) fn tensors(file: &WeightsFile) -> Result<Tensors, CheckpointError> {
    read(file.bytes()).map_err(|message| file.corrupt(message, REMEDY))
}

fn read(bytes: &[u8]) -> Result<Tensors, String> {
    let members = stored_members(bytes)?;
    let (folder, pickle) = members
        .iter()
        .find_map(|(name, place)| Some((name.strip_suffix("data.pkl")?, place.clone())))
        .ok_or("it holds no data.pkl")?;
    if pickle.len() > MAX_PICKLE {
        return Err(format!("its data.pkl is larger than {} MiB", MAX_PICKLE >> 20));
    }
    if let Some(order) = members.get(&format!("{folder}byteorder"))
        && &bytes[order.clone()] != b"little"
    {
        return Err("its numbers are big-endian".to_owned());
    }
    let mut machine = Machine::new(&bytes[pickle]);
    let root = machine.run()?;
    let Node::Dict(entries) = &machine.nodes[root] else {
        return Err("it is not a dictionary of tensors".to_owned());
    };
    let mut tensors = Tensors::new();
    for &(name, value) in entries {
        let (Node::Text(name), Node::Tensor(tensor)) =
            (&machine.nodes[name], &machine.nodes[value])
        else {
            continue;
        };
        let place = members
            .get(&format!("{folder}data/{}", tensor.storage))
            .ok_or_else(|| format!("the storage of tensor `{name}` is missing"))?;
        let place = (place.start, place.len());
        let Tensor { dtype, shape, strides, first, .. } = tensor.clone();
        let entry = Entry::new(dtype, shape, strides, first, place)
            .ok_or_else(|| format!("tensor `{name}` does not lie in its storage"))?;
        tensors.insert(name.clone(), entry);
    }
    if tensors.is_empty() {
        return Err("its dictionary holds no tensor".to_owned());
    }
    Ok(tensors)
}

/// Place of a value in [`Machine::nodes`].
type Id = usize;

#[derive(Clone, Debug)]
struct Tensor {
    dtype: Dtype,
    storage: String,
    first: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Node {
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function, by module and name.
    Global(String, String),
    Storage {
        dtype: Dtype,
        key: String,
    },
    Tensor(Tensor),
    /// Something that has no part in a tensor.
    Other,
}

/// Reads the pickle's instructions one by one; none makes more than one value.
struct Machine<'a> {
    rest: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

impl<'a> Machine<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }
    }

    /// The value that the pickle describes.
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let code = self.take(1)?[0];
            match code {
                b'.' => return self.pop(),
                0x80 => drop(self.take(1)?), // protocol
                0x95 => drop(self.take(8)?), // frame
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_to_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.stack.push(top);
                }
                b'N' | 0x88 | 0x89 => self.push(Node::Other),
                b'G' => {
                    self.take(8)?;
                    self.push(Node::Other);
                }
                b'K' | b'M' => {
                    let value = self.number(if code == b'K' { 1 } else { 2 })?;
                    self.push(Node::Int(value as i64));
                }
                b'J' => {
                    let value = self.number(4)? as u32;
                    self.push(Node::Int(i64::from(value.cast_signed())));
                }
                0x8a => self.long()?,
                b'X' | 0x8c | 0x8d | b'U' | b'T' => self.text(code)?,
                b'C' | b'B' => {
                    let length = self.number(if code == b'C' { 1 } else { 4 })?;
                    self.take(length)?;
                    self.push(Node::Other);
                }
                b')' => self.push(Node::Tuple(Vec::new())),
                b']' => self.push(Node::List(Vec::new())),
                b'}' => self.push(Node::Dict(Vec::new())),
                0x85..=0x87 => {
                    let from = self.depth(usize::from(code - 0x84))?;
                    let items = self.stack.split_off(from);
                    self.push(Node::Tuple(items));
                }
                b't' | b'l' => {
                    let items = self.pop_to_mark()?;
                    self.push(if code == b't' { Node::Tuple(items) } else { Node::List(items) });
                }
                b'd' => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::Dict(pairs(&items)?));
                }
                b's' => {
                    let from = self.depth(2)?;
                    let items = self.stack.split_off(from);
                    self.extend(&items, true)?;
                }
                b'u' | b'e' => {
                    let items = self.pop_to_mark()?;
                    self.extend(&items, code == b'u')?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.extend(&[item], false)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Node::Global(module, name));
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Node::Text(name), Node::Text(module)) =
                        (&self.nodes[name], &self.nodes[module])
                    else {
                        return Err("a class without a name".to_owned());
                    };
                    self.push(Node::Global(module.clone(), name.clone()));
                }
                b'q' | b'r' => {
                    let place = self.number(if code == b'q' { 1 } else { 4 })?;
                    let top = self.top()?;
                    self.memo.insert(place, top);
                }
                0x94 => {
                    let top = self.top()?;
                    self.memo.insert(self.memo.len(), top);
                }
                b'h' | b'j' => {
                    let place = self.number(if code == b'h' { 1 } else { 4 })?;
                    let id = *self.memo.get(&place).ok_or("a value that was never stored")?;
                    self.stack.push(id);
                }
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.storage(id);
                    self.push(storage.unwrap_or(Node::Other));
                }
                b'R' | 0x81 => {
                    let (arguments, callable) = (self.pop()?, self.pop()?);
                    let node = self.call(callable, arguments)?;
                    self.push(node);
                }
                // What an object is filled with beside its items: of no interest in tensors.
                b'b' => drop(self.pop()?),
                other => return Err(format!("instruction {other:#04x} of its pickle is unknown")),
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("its pickle is cut short")?;
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned number of up to eight bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, String> {
        let taken = self.take(bytes)?;
        let value = taken.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| "a number of its pickle is too large".to_owned())
    }

    /// A signed number of any length; those over eight bytes have no part in a tensor.
    fn long(&mut self) -> Result<(), String> {
        let length = self.number(1)?;
        let taken = self.take(length)?;
        let mut bytes = [if taken.last().is_some_and(|last| *last >= 0x80) { 0xff } else { 0 }; 8];
        self.push(match bytes.get_mut(..length) {
            Some(low) => {
                low.copy_from_slice(taken);
                Node::Int(i64::from_le_bytes(bytes))
            }
            None => Node::Other,
        });
        Ok(())
    }

    fn text(&mut self, code: u8) -> Result<(), String> {
        let length = self.number(match code {
            0x8c | b'U' => 1,
            0x8d => 8,
            _ => 4,
        })?;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Node::Text(text));
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        let length =
            self.rest.iter().position(|byte| *byte == b'\n').ok_or("a name without end")?;
        let line = String::from_utf8_lossy(self.take(length)?).trim_end().to_owned();
        self.take(1)?;
        Ok(line)
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    /// Values below the last mark belong to what is made before it.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn depth(&self, count: usize) -> Result<usize, String> {
        let from = self.stack.len().checked_sub(count).filter(|from| *from >= self.floor());
        from.ok_or_else(|| "its pickle lacks a value".to_owned())
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.depth(1)?;
        self.stack.pop().ok_or_else(|| "its pickle lacks a value".to_owned())
    }

    fn top(&self) -> Result<Id, String> {
        Ok(self.stack[self.depth(1)?])
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("its pickle lacks a mark")?;
        Ok(self.stack.split_off(mark))
    }

    /// Adds items to the list, or pairs to the dictionary, on top of the stack.
    fn extend(&mut self, items: &[Id], to_dict: bool) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Dict(entries) if to_dict => entries.extend(pairs(items)?),
            Node::List(list) if !to_dict => list.extend(items),
            Node::Other => {}
            _ => return Err("its pickle adds to what is no collection".to_owned()),
        }
        Ok(())
    }

    fn tuple(&self, id: Id) -> Option<&[Id]> {
        match &self.nodes[id] {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.tuple(id)?.iter().map(|item| self.size(*item)).collect()
    }

    fn size(&self, id: Id) -> Option<usize> {
        match self.nodes[id] {
            Node::Int(value) => usize::try_from(value).ok(),
            _ => None,
        }
    }

    /// `("storage", torch.FloatStorage, key, place, elements)`.
    fn storage(&self, id: Id) -> Option<Node> {
        let [kind, class, key, ..] = self.tuple(id)? else { return None };
        match (&self.nodes[*kind], &self.nodes[*class], &self.nodes[*key]) {
            (Node::Text(kind), Node::Global(_, class), Node::Text(key)) if kind == "storage" => {
                let dtype = match class.as_str() {
                    "HalfStorage" => Dtype::F16,
                    "BFloat16Storage" => Dtype::BF16,
                    "FloatStorage" => Dtype::F32,
                    "DoubleStorage" => Dtype::F64,
                    other => Dtype::Other(other.trim_end_matches("Storage").to_lowercase()),
                };
                Some(Node::Storage { dtype, key: key.clone() })
            }
            _ => None,
        }
    }

    /// What the few functions that make tensors give.
    fn call(&self, callable: Id, arguments: Id) -> Result<Node, String> {
        let Node::Global(module, name) = &self.nodes[callable] else { return Ok(Node::Other) };
        let wrong = || format!("{module}.{name} is given something else than a tensor has");
        match (module.as_str(), name.as_str()) {
            ("collections", "OrderedDict" | "defaultdict") => Ok(Node::Dict(Vec::new())),
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => {
                self.tensor(arguments).ok_or_else(wrong)
            }
            // (tensor, requires_grad, hooks)
            ("torch._utils", "_rebuild_parameter") => {
                let tensor = self.tuple(arguments).and_then(<[Id]>::first);
                Ok(self.nodes[*tensor.ok_or_else(wrong)?].clone())
            }
            // (function, type, arguments, state)
            ("torch._tensor", "_rebuild_from_type_v2") => {
                let arguments = self.tuple(arguments).and_then(|items| items.get(2));
                Ok(self.tensor(*arguments.ok_or_else(wrong)?).unwrap_or(Node::Other))
            }
            ("torch", "Size") => {
                let sizes = self.tuple(arguments).and_then(<[Id]>::first);
                Ok(self.nodes[*sizes.ok_or_else(wrong)?].clone())
            }
            _ => Ok(Node::Other),
        }
    }

    /// `(storage, first element, shape, strides, ...)`.
    fn tensor(&self, arguments: Id) -> Option<Node> {
        let [storage, first, shape, strides, ..] = self.tuple(arguments)? else { return None };
        let Node::Storage { dtype, key } = &self.nodes[*storage] else { return None };
        Some(Node::Tensor(Tensor {
            dtype: dtype.clone(),
            storage: key.clone(),
            first: self.size(*first)?,
            shape: self.sizes(*shape)?,
            strides: self.sizes(*strides)?,
        }))
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    match items.as_chunks() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err("its pickle has a key without a value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pickle: &[u8]) -> Result<Node, String> {
        let mut machine = Machine::new(pickle);
        let root = machine.run()?;
        Ok(machine.nodes[root].clone())
    }

    #[test]
    fn what_a_pickle_asks_to_call_is_not_called() {
        let node = run(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.").expect("reads");
        assert!(matches!(node, Node::Other), "{node:?}");
    }

    #[test]
    fn depth_and_repetition_cost_nothing() {
        let mut deep = vec![b']'; 2_000_000];
        deep.extend(vec![b'a'; 1_999_999]);
        deep.push(b'.');
        assert!(matches!(run(&deep).expect("reads"), Node::List(items) if items.len() == 1));
        // Each tuple holds the one before twice: 2 to the 200th at the end, if it were copied.
        let doubled = [&b")"[..], &b"q\x00h\x00\x86".repeat(200), b"."].concat();
        assert!(matches!(run(&doubled).expect("reads"), Node::Tuple(items) if items.len() == 2));
    }

    #[test]
    fn pickles_that_make_no_sense_are_refused() {
        for (pickle, problem) in [
            (&b""[..], "cut short"),
            (b".", "lacks a value"),
            (b"t.", "lacks a mark"),
            (b"h\x07.", "never stored"),
            (b"N(0.", "lacks a value"),
            (b"X\xff\xff\xff\xffa.", "cut short"),
            (b"}(Nu.", "without a value"),
            (b"Na", "lacks a value"),
            (b"I7\n.", "instruction 0x49"),
            (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "something else than a tensor"),
            (b"ctorch._utils\n_rebuild_parameter\n)R.", "something else than a tensor"),
        ] {
            let error = run(pickle).expect_err(problem);
            assert!(error.contains(problem), "{pickle:?}: {error}");
        }
    }
}
