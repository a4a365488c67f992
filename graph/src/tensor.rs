//! What the graph knows of each of its weight tensors.

/// How a tensor of the graph relates to the Hugging Face tensor of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The leading rows of the source, all of them or fewer.
    Leading,
    /// The transpose of the source: Hugging Face keeps linear weights as
    /// `[outputs, inputs]`, ONNX multiplies by `[inputs, outputs]`.
    Transposed,
}

/// One weight tensor of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name: that of the Hugging Face tensor it comes from.
    pub name: String,
    /// Its shape in the graph.
    pub shape: Vec<usize>,
    /// How it lies in the graph relative to the source.
    pub layout: Layout,
}

impl TensorSpec {
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}
