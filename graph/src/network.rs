//! The network as a whole: graph and weight tensors, in memory or in a file.

use std::io;
use std::path::{Path, PathBuf};

use atb_space::{Architecture, Workload};
use prost::Message;

use crate::builder::{Built, build};
use crate::config::NetworkConfig;
use crate::description::ARCHITECTURE;
use crate::onnx::{
    DataLocation, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
};
use crate::stored::{Form, Stored};
use crate::tensor::TensorSpec;
use crate::weights::{WeightError, Weights};

/// Version of the default operator set; LayerNormalization came with it.
const OPSET: i64 = 17;
/// Version of the file format that goes with that operator set.
const IR_VERSION: i64 = 8;

/// Why a network could not be written or filled.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum GraphError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Weights(#[from] WeightError),
    #[error("{}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the bytes {offset}..{} are not one weight tensor of the network", offset + length)]
    NoTensor { offset: usize, length: usize },
}

/// An architecture at a fixed batch and sequence length, as an ONNX graph.
#[derive(Clone, Debug)]
pub struct Network {
    graph: GraphProto,
    tensors: Vec<Stored>,
}

impl Network {
    /// The graph of `arch` for inputs of the shape `workload`.
    #[must_use]
    pub fn new(arch: &Architecture, workload: Workload, config: &NetworkConfig) -> Self {
        let Built { graph, tensors } = build(arch, workload, config);
        Self { graph, tensors }
    }

    /// The weight tensors, in the order of their offsets.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorSpec> {
        let once = |stored: &&Stored| !matches!(stored.form, Form::Scales(_));
        self.tensors.iter().filter(once).map(|stored| &stored.spec)
    }

    /// Writes the network with its weights as one ONNX file, through a temporary file in
    /// the same folder.
    ///
    /// # Errors
    /// [`GraphError`] if `weights` lacks a tensor or the file cannot be written; the file
    /// is then as it was before.
    pub fn write(&self, weights: &dyn Weights, path: &Path) -> Result<(), GraphError> {
        let mut graph = self.graph.clone();
        for stored in &self.tensors {
            let raw_data = stored.encode(weights)?;
            graph.initializer.push(TensorProto { raw_data, ..stored.proto() });
        }
        let bytes = model(graph).encode_to_vec();
        atb_files::write(path, &bytes)
            .map_err(|source| GraphError::Write { path: path.to_owned(), source })
    }

    /// The network as ONNX bytes without its weights: each is marked as external data at
    /// the location `.`, with an offset and a length that [`Network::fill_range`] takes.
    /// A runtime that asks for them one by one never holds a second copy of the model.
    #[must_use]
    pub fn skeleton(&self) -> Vec<u8> {
        let mut graph = self.graph.clone();
        let mut offset = 0;
        for stored in &self.tensors {
            let entry =
                |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
            graph.initializer.push(TensorProto {
                data_location: Some(DataLocation::External as i32),
                external_data: vec![
                    entry("location", ".".to_owned()),
                    entry("offset", offset.to_string()),
                    entry("length", stored.bytes().to_string()),
                ],
                ..stored.proto()
            });
            offset += stored.bytes();
        }
        model(graph).encode_to_vec()
    }

    /// The little-endian bytes of the tensor that [`Network::skeleton`] placed at `offset`.
    ///
    /// # Errors
    /// [`GraphError`] if no tensor lies exactly there or `weights` lacks it.
    pub fn fill_range(
        &self,
        weights: &dyn Weights,
        offset: usize,
        length: usize,
    ) -> Result<Vec<u8>, GraphError> {
        let mut start = 0;
        for stored in &self.tensors {
            if start == offset && stored.bytes() == length {
                return Ok(stored.encode(weights)?);
            }
            start += stored.bytes();
        }
        Err(GraphError::NoTensor { offset, length })
    }
}

fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: "autotinybert".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        metadata_props: vec![StringStringEntryProto {
            key: ARCHITECTURE.to_owned(),
            value: graph.name.clone(),
        }],
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RandomWeights;
    use atb_space::{Cost, Precision};

    fn network(id: &str, precision: Precision) -> Network {
        let arch = id.parse().expect(id);
        let config = NetworkConfig { precision, ..NetworkConfig::encoder(100) };
        Network::new(&arch, Workload { batch: 2, sequence: 16 }, &config)
    }

    #[test]
    fn holds_every_parameter_once() {
        for id in ["2-128-512-2-128", "3-64-[96,96,128]-[2,4,2]-[32,48,64]"] {
            for precision in Precision::ALL {
                let arch = id.parse().expect(id);
                let network = network(id, precision);
                let elements: usize = network.tensors().map(TensorSpec::elements).sum();
                assert_eq!(elements as u64, Cost::parameters(&arch, 100, 16), "{id} {precision}");
            }
        }
    }

    #[test]
    fn every_value_is_made_once_and_before_it_is_used() {
        Precision::ALL
            .into_iter()
            .for_each(|precision| check_values(&network("2-64-96-2-48", precision)));
    }

    fn check_values(network: &Network) {
        let graph = &network.graph;
        let names: Vec<String> = network.tensors.iter().map(Stored::name).collect();
        let mut known: std::collections::HashSet<&str> = graph
            .input
            .iter()
            .map(|input| input.name.as_str())
            .chain(graph.initializer.iter().map(|constant| constant.name.as_str()))
            .chain(names.iter().map(String::as_str))
            .collect();
        for node in &graph.node {
            for input in &node.input {
                assert!(known.contains(input.as_str()), "{} uses {input}", node.name);
            }
            for output in &node.output {
                assert!(known.insert(output), "{output} is made twice");
            }
        }
        for output in &graph.output {
            assert!(known.contains(output.name.as_str()), "{} is never made", output.name);
        }
    }

    #[test]
    fn skeleton_and_file_hold_the_same_weights() {
        Precision::ALL
            .into_iter()
            .for_each(|precision| check_skeleton(&network("1-32-64-2-32", precision)));
    }

    fn check_skeleton(network: &Network) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.onnx");
        let weights = RandomWeights::new(5);
        network.write(&weights, &path).expect("writes");
        let file = ModelProto::decode(&*fs_err::read(&path).expect("reads")).expect("decodes");
        let skeleton = ModelProto::decode(&*network.skeleton()).expect("decodes");
        let (file, skeleton) = (file.graph.expect("a graph"), skeleton.graph.expect("a graph"));
        assert_eq!(file.initializer.len(), skeleton.initializer.len());
        let mut external = 0;
        for (inline, outside) in file.initializer.iter().zip(&skeleton.initializer) {
            assert_eq!(inline.name, outside.name);
            if outside.external_data.is_empty() {
                assert_eq!(inline, outside);
                continue;
            }
            let number = |index: usize| outside.external_data[index].value.parse().expect("number");
            let bytes = network.fill_range(&weights, number(1), number(2)).expect("a tensor");
            assert_eq!(inline.raw_data, bytes);
            external += 1;
        }
        assert_eq!(external, network.tensors.len());
        assert!(network.fill_range(&weights, 3, 5).is_err());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.onnx");
        fs_err::write(&path, "precious").expect("writes");
        let none = crate::HfWeights::new(|name: &str| Err(format!("no tensor `{name}`")));
        let error =
            network("1-32-64-2-32", Precision::F32).write(&none, &path).expect_err("no weights");
        assert_eq!(error.to_string(), "no tensor `embeddings.word_embeddings.weight`");
        assert_eq!(fs_err::read_to_string(&path).expect("reads"), "precious");
        assert_eq!(fs_err::read_dir(folder.path()).expect("lists").count(), 1);
    }
}
