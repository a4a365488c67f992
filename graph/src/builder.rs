//! From an architecture to the nodes of its graph.

use atb_interface::{
    ATTENTION_MASK, Dense, Head, INPUT_IDS, INPUTS, OutputShape, Reads, TOKEN_TYPE_IDS,
    WORD_EMBEDDINGS,
};
use atb_space::{Architecture, Layer, Precision, Workload};

use crate::MASKED_SCORE;
use crate::config::{NetworkConfig, NetworkHead};
use crate::onnx::{
    AttributeProto, DataType, GraphProto, NodeProto, TensorProto, float, int, ints, value_info,
};
use crate::stored::{Form, Scaled, Stored};
use crate::tensor::{Layout, TensorSpec};

/// Nodes, small constants and weight tensors of the network.
pub(crate) struct Built {
    /// The graph; its initializers are the constants only.
    pub(crate) graph: GraphProto,
    /// The weights, in the order they are used.
    pub(crate) tensors: Vec<Stored>,
}

/// Builds the graph of `arch`. Values are named by the Hugging Face module that makes them.
pub(crate) fn build(arch: &Architecture, workload: Workload, config: &NetworkConfig) -> Built {
    let mut builder = Builder {
        hidden: arch.hidden(),
        workload,
        eps: config.layer_norm_eps,
        precision: config.precision,
        rounded: None,
        nodes: Vec::new(),
        constants: Vec::new(),
        tensors: Vec::new(),
    };
    let mask = builder.attention_mask();
    let mut x = builder.embeddings(config);
    for (index, layer) in arch.layers().iter().enumerate() {
        let is_last = index + 1 == arch.num_layers();
        x = builder.layer(index, *layer, &x, &mask, is_last);
    }
    builder.heads(&x, &config.heads);

    let Workload { batch, sequence } = workload;
    let outputs = config.outputs(arch.hidden(), workload);
    let info = |output: &OutputShape| value_info(&output.name, DataType::Float, &output.shape);
    let graph = GraphProto {
        name: arch.id(),
        output: outputs.iter().map(info).collect(),
        node: builder.nodes,
        initializer: builder.constants,
        input: INPUTS
            .iter()
            .map(|name| value_info(name, DataType::Int64, &[batch, sequence]))
            .collect(),
    };
    Built { graph, tensors: builder.tensors }
}

/// A value rounded to steps of u8: `(steps - zero) * scale`.
#[derive(Clone)]
struct Rounded {
    steps: String,
    scale: String,
    zero: String,
}

struct Builder {
    hidden: usize,
    workload: Workload,
    eps: f32,
    precision: Precision,
    /// The value that was rounded last, and what that gave.
    rounded: Option<(String, Rounded)>,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    tensors: Vec<Stored>,
}

impl Builder {
    /// Adds a node and returns the name of its only output, which is also its own.
    fn node(
        &mut self,
        name: &str,
        op_type: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> String {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
        });
        name.to_owned()
    }

    fn in_f32(&mut self, name: &str, x: &str) -> String {
        self.node(name, "Cast", &[x], vec![int("to", DataType::Float as i64)])
    }

    fn scalar(&mut self, name: &str, value: f32) -> String {
        self.constants.push(TensorProto {
            data_type: DataType::Float as i32,
            name: name.to_owned(),
            raw_data: value.to_le_bytes().to_vec(),
            ..TensorProto::default()
        });
        name.to_owned()
    }

    fn shape(&mut self, name: &str, shape: &[usize]) -> String {
        self.constants.push(TensorProto {
            dims: vec![shape.len() as i64],
            data_type: DataType::Int64 as i32,
            name: name.to_owned(),
            raw_data: shape.iter().flat_map(|size| (*size as i64).to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        name.to_owned()
    }

    fn weight(&mut self, name: &str, shape: &[usize], layout: Layout) -> String {
        self.stored(name, shape, layout, Form::Values)
    }

    fn stored(&mut self, name: &str, shape: &[usize], layout: Layout, form: Form) -> String {
        let spec = TensorSpec { name: name.to_owned(), shape: shape.to_vec(), layout };
        let stored = Stored { spec, form };
        let name = stored.name();
        self.tensors.push(stored);
        name
    }

    /// `0` where the attention mask is one, [`MASKED_SCORE`] where it is zero; shape
    /// `[batch, 1, 1, sequence]`.
    fn attention_mask(&mut self) -> String {
        let Workload { batch, sequence } = self.workload;
        let one = self.scalar("attention_mask.one", 1.0);
        let masked = self.scalar("attention_mask.masked_score", MASKED_SCORE);
        let shape = self.shape("attention_mask.shape", &[batch, 1, 1, sequence]);
        let mask = self.in_f32("attention_mask/Cast", ATTENTION_MASK);
        let mask = self.node("attention_mask/Sub", "Sub", &[&one, &mask], vec![]);
        let mask = self.node("attention_mask/Mul", "Mul", &[&mask, &masked], vec![]);
        self.node("attention_mask/Reshape", "Reshape", &[&mask, &shape], vec![])
    }

    fn embeddings(&mut self, config: &NetworkConfig) -> String {
        let hidden = self.hidden;
        let table = |name: &str| format!("embeddings.{name}_embeddings.weight");
        let words = self.words(config.vocab_size);
        let types =
            self.weight(&table("token_type"), &[config.type_vocab_size, hidden], Layout::Leading);
        let positions =
            self.weight(&table("position"), &[self.workload.sequence, hidden], Layout::Leading);
        let types =
            self.node("embeddings/token_type/Gather", "Gather", &[&types, TOKEN_TYPE_IDS], vec![]);
        let sum = self.node("embeddings/Add", "Add", &[&words, &types], vec![]);
        let sum = self.node("embeddings/position/Add", "Add", &[&sum, &positions], vec![]);
        self.layer_norm("embeddings.LayerNorm", &sum, "embeddings/LayerNorm")
    }

    /// The embedding of each token's word.
    fn words(&mut self, vocabulary: usize) -> String {
        let (name, shape) = (WORD_EMBEDDINGS, [vocabulary, self.hidden]);
        let form = match self.precision {
            Precision::F32 => Form::Values,
            Precision::F16 => Form::Halves,
            Precision::Int8 => Form::Steps(Scaled::Rows),
        };
        let table = self.stored(name, &shape, Layout::Leading, form);
        let words = self.node("embeddings/word/Gather", "Gather", &[&table, INPUT_IDS], vec![]);
        if self.precision == Precision::F32 {
            return words;
        }
        let words = self.in_f32("embeddings/word/Cast", &words);
        if self.precision == Precision::F16 {
            return words;
        }
        let scales = self.stored(name, &shape, Layout::Leading, Form::Scales(Scaled::Rows));
        let scales = self.node("embeddings/word/Gather_1", "Gather", &[&scales, INPUT_IDS], vec![]);
        self.node("embeddings/word/Mul", "Mul", &[&words, &scales], vec![])
    }

    fn layer_norm(&mut self, module: &str, x: &str, output: &str) -> String {
        let scale = self.weight(&format!("{module}.weight"), &[self.hidden], Layout::Leading);
        let bias = self.weight(&format!("{module}.bias"), &[self.hidden], Layout::Leading);
        let attributes = vec![int("axis", -1), float("epsilon", self.eps)];
        self.node(output, "LayerNormalization", &[x, &scale, &bias], attributes)
    }

    /// `x W + b` for a Hugging Face linear module, whose weight is `[outputs, inputs]`.
    fn linear(&mut self, module: &str, x: &str, inputs: usize, outputs: usize) -> String {
        let (name, shape) = (format!("{module}.weight"), [inputs, outputs]);
        let path = path(module);
        let product = match self.precision {
            Precision::F32 => {
                let weight = self.weight(&name, &shape, Layout::Transposed);
                self.node(&format!("{path}/MatMul"), "MatMul", &[x, &weight], vec![])
            }
            Precision::F16 => {
                let weight = self.stored(&name, &shape, Layout::Transposed, Form::Halves);
                let weight = self.in_f32(&format!("{path}/Cast"), &weight);
                self.node(&format!("{path}/MatMul"), "MatMul", &[x, &weight], vec![])
            }
            Precision::Int8 => self.integer_product(&path, x, &name, &shape),
        };
        let bias = self.weight(&format!("{module}.bias"), &[outputs], Layout::Leading);
        self.node(&format!("{path}/Add"), "Add", &[&product, &bias], vec![])
    }

    /// `x W` in integers. These nodes in this order are what ONNX Runtime takes together as one.
    fn integer_product(&mut self, path: &str, x: &str, name: &str, shape: &[usize; 2]) -> String {
        let Rounded { steps, scale, zero } = self.rounded(x);
        let layout = Layout::Transposed;
        let weight = self.stored(name, shape, layout, Form::Steps(Scaled::Columns));
        let scales = self.stored(name, shape, layout, Form::Scales(Scaled::Columns));
        let operands = [&*steps, &weight, &zero];
        let sums = self.node(&format!("{path}/MatMulInteger"), "MatMulInteger", &operands, vec![]);
        let sums = self.in_f32(&format!("{path}/Cast"), &sums);
        let scale = self.node(&format!("{path}/Mul"), "Mul", &[&scale, &scales], vec![]);
        self.node(&format!("{path}/Mul_1"), "Mul", &[&sums, &scale], vec![])
    }

    /// `x` in steps of u8, rounded once for all products that follow each other.
    fn rounded(&mut self, x: &str) -> Rounded {
        if let Some((value, rounded)) = &self.rounded
            && value == x
        {
            return rounded.clone();
        }
        let name = format!("{x}/DynamicQuantizeLinear");
        let output = |what: &str| format!("{name}:{what}");
        let rounded =
            Rounded { steps: output("steps"), scale: output("scale"), zero: output("zero") };
        self.nodes.push(NodeProto {
            input: vec![x.to_owned()],
            output: vec![rounded.steps.clone(), rounded.scale.clone(), rounded.zero.clone()],
            name,
            op_type: "DynamicQuantizeLinear".to_owned(),
            attribute: Vec::new(),
        });
        self.rounded = Some((x.to_owned(), rounded.clone()));
        rounded
    }

    /// One of q, k, v: projected, split into heads and laid out as `perm` says.
    fn attention_heads(&mut self, module: &str, x: &str, layer: Layer, perm: &[i64]) -> String {
        let Workload { batch, sequence } = self.workload;
        let projected = self.linear(module, x, self.hidden, layer.qkv);
        let path = path(module);
        let shape = self
            .shape(&format!("{module}.shape"), &[batch, sequence, layer.heads, layer.head_size()]);
        let split = self.node(&format!("{path}/Reshape"), "Reshape", &[&projected, &shape], vec![]);
        self.node(&format!("{path}/Transpose"), "Transpose", &[&split], vec![ints("perm", perm)])
    }

    fn layer(&mut self, index: usize, layer: Layer, x: &str, mask: &str, is_last: bool) -> String {
        let module = format!("encoder.layer.{index}");
        let attended = self.attention(&format!("{module}.attention"), layer, x, mask);
        let output = if is_last {
            Head::STATES.outputs[0].name.to_owned()
        } else {
            format!("{}/output/LayerNorm", path(&module))
        };
        self.feed_forward(&module, layer, &attended, &output)
    }

    fn attention(&mut self, module: &str, layer: Layer, x: &str, mask: &str) -> String {
        let Workload { batch, sequence } = self.workload;
        let at = path(module);
        let q = self.attention_heads(&format!("{module}.self.query"), x, layer, &[0, 2, 1, 3]);
        let k = self.attention_heads(&format!("{module}.self.key"), x, layer, &[0, 2, 3, 1]);
        let v = self.attention_heads(&format!("{module}.self.value"), x, layer, &[0, 2, 1, 3]);
        let root = (layer.head_size() as f32).sqrt();
        let scale = self.scalar(&format!("{module}.self.scale"), root);
        let scores = self.node(&format!("{at}/self/MatMul"), "MatMul", &[&q, &k], vec![]);
        let scores = self.node(&format!("{at}/self/Div"), "Div", &[&scores, &scale], vec![]);
        let scores = self.node(&format!("{at}/self/Add"), "Add", &[&scores, mask], vec![]);
        let axis = vec![int("axis", -1)];
        let shares = self.node(&format!("{at}/self/Softmax"), "Softmax", &[&scores], axis);
        let context = self.node(&format!("{at}/self/MatMul_1"), "MatMul", &[&shares, &v], vec![]);
        let perm = vec![ints("perm", &[0, 2, 1, 3])];
        let context = self.node(&format!("{at}/self/Transpose"), "Transpose", &[&context], perm);
        let shape = self.shape(&format!("{module}.self.shape"), &[batch, sequence, layer.qkv]);
        let context =
            self.node(&format!("{at}/self/Reshape"), "Reshape", &[&context, &shape], vec![]);
        let output =
            self.linear(&format!("{module}.output.dense"), &context, layer.qkv, self.hidden);
        let sum = self.node(&format!("{at}/output/Add"), "Add", &[&output, x], vec![]);
        let norm = format!("{at}/output/LayerNorm");
        self.layer_norm(&format!("{module}.output.LayerNorm"), &sum, &norm)
    }

    fn feed_forward(&mut self, module: &str, layer: Layer, x: &str, output: &str) -> String {
        let at = path(module);
        let (hidden, ffn) = (self.hidden, layer.intermediate);
        let inner = self.linear(&format!("{module}.intermediate.dense"), x, hidden, ffn);
        let inner = self.gelu(&format!("{module}.intermediate"), &inner);
        let outer = self.linear(&format!("{module}.output.dense"), &inner, ffn, hidden);
        let sum = self.node(&format!("{at}/output/Add"), "Add", &[&outer, x], vec![]);
        self.layer_norm(&format!("{module}.output.LayerNorm"), &sum, output)
    }

    /// The exact GELU, `x / 2 * (1 + erf(x / sqrt 2))`.
    fn gelu(&mut self, module: &str, x: &str) -> String {
        let at = path(module);
        let root = self.scalar(&format!("{module}.gelu.sqrt_2"), std::f32::consts::SQRT_2);
        let one = self.scalar(&format!("{module}.gelu.one"), 1.0);
        let half = self.scalar(&format!("{module}.gelu.half"), 0.5);
        let erf = self.node(&format!("{at}/gelu/Div"), "Div", &[x, &root], vec![]);
        let erf = self.node(&format!("{at}/gelu/Erf"), "Erf", &[&erf], vec![]);
        let erf = self.node(&format!("{at}/gelu/Add"), "Add", &[&erf, &one], vec![]);
        let product = self.node(&format!("{at}/gelu/Mul"), "Mul", &[x, &erf], vec![]);
        self.node(&format!("{at}/gelu/Mul_1"), "Mul", &[&product, &half], vec![])
    }

    /// Every head of `heads` over the last layer's states `x`, and the pooler below those
    /// that read it.
    fn heads(&mut self, x: &str, heads: &[NetworkHead]) {
        let reads = |wanted: Reads| heads.iter().any(|head| head.head.reads == wanted);
        let listed = heads.iter().any(|head| *head.head == Head::POOLER);
        let pooled = (listed || reads(Reads::Pooled)).then(|| {
            let pooler =
                NetworkHead { head: &Head::POOLER, dense: Head::POOLER.dense, width: self.hidden };
            let token = self.first_state(x);
            self.head(&token, pooler);
            Head::POOLER.outputs[0].name
        });
        let mean = reads(Reads::MeanState).then(|| self.mean_state(x));
        for head in heads.iter().filter(|head| *head.head != Head::POOLER) {
            let input = match head.head.reads {
                Reads::States => Some(x),
                Reads::MeanState => mean.as_deref(),
                // The pooler is the only one that reads the first token's state itself.
                Reads::FirstState | Reads::Pooled => pooled,
            };
            self.head(input.unwrap_or(x), *head);
        }
    }

    /// Applies a head to what it reads; its results bear the names of its outputs.
    fn head(&mut self, x: &str, NetworkHead { head, dense, width }: NetworkHead) {
        let Some(dense) = dense else { return };
        match head.outputs {
            [output] => self.dense(&dense, x, width, output.name),
            columns => {
                let result = format!("{}/columns", path(dense.module));
                self.dense(&dense, x, width, &result);
                for (column, output) in columns.iter().enumerate() {
                    let name = format!("{}.column_{column}", dense.module);
                    let index = self.index(&name, column);
                    let axis = vec![int("axis", -1)];
                    self.node(output.name, "Gather", &[&result, &index], axis);
                }
            }
        }
    }

    /// The linear layer of a head, with its result named `output`.
    fn dense(&mut self, dense: &Dense, x: &str, outputs: usize, output: &str) {
        let at = path(dense.module);
        let weight = self.weight(&dense.weight(), &[self.hidden, outputs], Layout::Transposed);
        let mut steps = vec![("MatMul", Some(weight))];
        if let Some(bias) = dense.bias() {
            steps.push(("Add", Some(self.weight(&bias, &[outputs], Layout::Leading))));
        }
        if dense.tanh {
            steps.push(("Tanh", None));
        }
        let mut value = x.to_owned();
        let last = steps.len() - 1;
        for (number, (operator, operand)) in steps.into_iter().enumerate() {
            let name = if number == last { output.to_owned() } else { format!("{at}/{operator}") };
            let inputs = [Some(&value), operand.as_ref()];
            let inputs: Vec<&str> = inputs.into_iter().flatten().map(String::as_str).collect();
            value = self.node(&name, operator, &inputs, vec![]);
        }
    }

    /// A scalar index: Gather then drops the axis.
    fn index(&mut self, name: &str, index: usize) -> String {
        self.constants.push(TensorProto {
            data_type: DataType::Int64 as i32,
            name: name.to_owned(),
            raw_data: (index as i64).to_le_bytes().to_vec(),
            ..TensorProto::default()
        });
        name.to_owned()
    }

    /// The state of the first token, `[batch, hidden]`.
    fn first_state(&mut self, x: &str) -> String {
        let first = self.index("pooler.first", 0);
        self.node("pooler/Gather", "Gather", &[x, &first], vec![int("axis", 1)])
    }

    /// The mean of the states of the tokens that are not padding, `[batch, hidden]`.
    fn mean_state(&mut self, x: &str) -> String {
        let Workload { batch, sequence } = self.workload;
        let to = vec![int("to", DataType::Float as i64)];
        let real = self.node("mean/Cast", "Cast", &[ATTENTION_MASK], to);
        let shape = self.shape("mean.mask_shape", &[batch, 1, sequence]);
        let real = self.node("mean/Reshape", "Reshape", &[&real, &shape], vec![]);
        let sum = self.node("mean/MatMul", "MatMul", &[&real, x], vec![]);
        let axes = self.shape("mean.axes", &[2]);
        let count = self.node("mean/ReduceSum", "ReduceSum", &[&real, &axes], vec![]);
        let mean = self.node("mean/Div", "Div", &[&sum, &count], vec![]);
        let shape = self.shape("mean.shape", &[batch, self.hidden]);
        self.node("mean/Reshape_1", "Reshape", &[&mean, &shape], vec![])
    }
}

fn path(module: &str) -> String {
    module.replace('.', "/")
}
