//! ONNX files by hand: just enough of protobuf's wire format (protobuf.dev/programming-guides/encoding)
//! and of `onnx.proto` to say what no exporter would.

/// Types of elements.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// A field that is a number.
pub(crate) fn int(field: u64, value: i64) -> Vec<u8> {
    [number(field << 3), number(value.cast_unsigned())].concat()
}

/// A field that is bytes, a text or a message.
pub(crate) fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [number(field << 3 | 2), number(value.len() as u64), value.to_vec()].concat()
}

/// A tensor of 64-bit numbers.
pub(crate) fn tensor(name: &str, dims: &[i64], values: &[i64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| int(1, *dim)).collect();
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [dims, int(2, INT64), bytes(8, name), bytes(9, raw)].concat()
}

/// A tensor of f32 whose data is in a file beside the model's.
pub(crate) fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Vec<u8> {
    const EXTERNAL: i64 = 1;
    let dims: Vec<u8> = dims.iter().flat_map(|dim| int(1, *dim)).collect();
    let entries: Vec<u8> = entries
        .iter()
        .flat_map(|(key, value)| bytes(13, [bytes(1, key), bytes(2, value)].concat()))
        .collect();
    [dims, int(2, FLOAT), bytes(8, name), entries, int(14, EXTERNAL)].concat()
}

/// An operation.
pub(crate) fn node(kind: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| bytes(1, input)).collect();
    [inputs, bytes(2, output), bytes(3, output), bytes(4, kind)].concat()
}

/// What goes in or comes out.
pub(crate) fn value(name: &str, kind: i64, dims: &[i64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| bytes(1, int(1, *dim))).collect();
    let of_tensor = [int(1, kind), bytes(2, dims)].concat();
    [bytes(1, name), bytes(2, bytes(1, of_tensor))].concat()
}

/// A model of these nodes and constants, with an encoder's inputs.
pub(crate) fn model(nodes: &[Vec<u8>], constants: &[Vec<u8>], output: &str) -> Vec<u8> {
    let repeated = |field, parts: &[Vec<u8>]| -> Vec<u8> {
        parts.iter().flat_map(|part| bytes(field, part)).collect()
    };
    let inputs =
        ["input_ids", "attention_mask", "token_type_ids"].map(|name| value(name, INT64, &[1, 16]));
    let outputs = [value(output, FLOAT, &[1, 16, 48])];
    let graph = [
        repeated(1, nodes),
        bytes(2, "by hand"),
        repeated(5, constants),
        repeated(11, &inputs),
        repeated(12, &outputs),
    ]
    .concat();
    let opset = [bytes(1, ""), int(2, 17)].concat();
    [int(1, 8), bytes(7, graph), bytes(8, opset)].concat()
}
