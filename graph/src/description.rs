//! What a model file says of itself, read without its weights.

use std::path::{Path, PathBuf};

use atb_interface::{INPUT_IDS, WORD_EMBEDDINGS};
use atb_space::{Architecture, Precision, Workload};
use prost::Message;

use crate::onnx::{DataType, StringStringEntryProto, ValueInfoProto};

/// The key of the architecture among a model file's metadata.
pub(crate) const ARCHITECTURE: &str = "architecture";

/// What a file that [`Network::write`](crate::Network::write) made says of its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The architecture.
    pub architecture: Architecture,
    /// The shape of input that it takes.
    pub workload: Workload,
    /// Word embeddings.
    pub words: usize,
    /// What they are, and the products' weights with them.
    pub precision: Precision,
}

/// Why a file does not describe its network.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DescriptionError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{} is not an ONNX file", path.display())]
    #[diagnostic(help("name a file that `atb export` wrote"))]
    NotOnnx { path: PathBuf, source: prost::DecodeError },
    #[error("{} does not say {lacking}, as files that atb exports do", path.display())]
    Lacking { path: PathBuf, lacking: &'static str },
}

// The parts of the messages that are read. Everything else is skipped over, the weights above
// all, so that a description costs no second copy of the model.

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<StringStringEntryProto>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
}

impl Description {
    /// Reads what the ONNX file `path` says of its network.
    ///
    /// # Errors
    /// [`DescriptionError`] naming the file and what it lacks.
    pub fn read(path: &Path) -> Result<Self, DescriptionError> {
        let bytes = fs_err::read(path)?;
        let model = Model::decode(&*bytes)
            .map_err(|source| DescriptionError::NotOnnx { path: path.to_owned(), source })?;
        let lacking = |lacking| DescriptionError::Lacking { path: path.to_owned(), lacking };
        let architecture = model
            .metadata_props
            .iter()
            .find(|entry| entry.key == ARCHITECTURE)
            .and_then(|entry| entry.value.parse().ok())
            .ok_or_else(|| lacking("its architecture"))?;
        let graph = model.graph.unwrap_or_default();
        let workload = graph
            .input
            .iter()
            .find(|input| input.name == INPUT_IDS)
            .and_then(workload)
            .ok_or_else(|| lacking("which shape of input it takes"))?;
        let (words, precision) = graph
            .initializer
            .iter()
            .find(|tensor| tensor.name == WORD_EMBEDDINGS)
            .and_then(|tensor| {
                let precision = match DataType::try_from(tensor.data_type).ok()? {
                    DataType::Float => Precision::F32,
                    DataType::Float16 => Precision::F16,
                    DataType::Int8 => Precision::Int8,
                    DataType::Undefined | DataType::Int64 => return None,
                };
                Some((usize::try_from(*tensor.dims.first()?).ok()?, precision))
            })
            .ok_or_else(|| lacking("how many words it knows"))?;
        Ok(Self { architecture, workload, words, precision })
    }
}

/// The shape of `input`, if it is fixed and that of tokens.
fn workload(input: &ValueInfoProto) -> Option<Workload> {
    let shape = input.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
    let [batch, sequence] = &shape.dim[..] else { return None };
    let size = |size: Option<i64>| usize::try_from(size?).ok().filter(|size| *size > 0);
    Some(Workload { batch: size(batch.dim_value)?, sequence: size(sequence.dim_value)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Network, NetworkConfig, RandomWeights};

    #[test]
    fn a_written_file_describes_its_network() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.onnx");
        let architecture: Architecture = "3-64-[96,96,128]-[2,4,2]-[32,48,64]".parse().expect("ok");
        let workload = Workload { batch: 2, sequence: 16 };
        for precision in Precision::ALL {
            let config = NetworkConfig { precision, ..NetworkConfig::encoder(100) };
            Network::new(&architecture, workload, &config)
                .write(&RandomWeights::new(1), &path)
                .expect("writes");
            let architecture = architecture.clone();
            let description = Description { architecture, workload, words: 100, precision };
            assert_eq!(Description::read(&path).expect("described"), description);
        }
    }

    #[test]
    fn files_of_another_origin_say_what_they_lack() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.onnx");
        let error = || Description::read(&path).expect_err("no description").to_string();
        assert!(error().contains("model.onnx"), "{}", error());
        fs_err::write(&path, "no protobuf").expect("writes");
        assert!(error().contains("model.onnx is not an ONNX file"), "{}", error());
        let mut model = Model::default();
        let lacks = |model: &Model, what: &str| {
            fs_err::write(&path, model.encode_to_vec()).expect("writes");
            assert!(error().contains(&format!("does not say {what}")), "{}", error());
        };
        lacks(&model, "its architecture");
        let (key, value) = (ARCHITECTURE.to_owned(), "not one".to_owned());
        model.metadata_props.push(StringStringEntryProto { key, value });
        lacks(&model, "its architecture");
        model.metadata_props[0].value = "1-32-64-2-32".to_owned();
        lacks(&model, "which shape of input");
    }
}
