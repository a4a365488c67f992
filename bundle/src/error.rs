//! What can be wrong with a bundle.

use std::path::PathBuf;

use atb_files::{FileError, JsonProblem};

use crate::MANIFEST_FILE;

/// Why a bundle could not be opened, read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BundleError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("there is no bundle at {}", path.display())]
    #[diagnostic(help("name the folder or the file that `atb export` wrote"))]
    NotFound { path: PathBuf },
    #[error("{name} is no bundle: it has no {MANIFEST_FILE}")]
    #[diagnostic(help("export the model with `atb export`; bundles of versions before have none"))]
    NoManifest { name: String },
    #[error(transparent)]
    #[diagnostic(transparent)]
    NewerSchema(FileError),
    #[error("{name}: {MANIFEST_FILE}: {problem}")]
    #[diagnostic(help("export the model again with `atb export`"))]
    Manifest { name: String, problem: JsonProblem },
    #[error("{name}: {MANIFEST_FILE}: {problem}")]
    #[diagnostic(help("export the model again with `atb export`"))]
    Value { name: String, problem: String },
    #[error("{name} is no bundle in one file: {problem}")]
    #[diagnostic(help("copy the file again, or write it again with `atb export --single-file`"))]
    Archive { name: String, problem: String },
    #[error("{name} lacks {part}")]
    #[diagnostic(help("copy the whole bundle again"))]
    MissingPart { name: String, part: String },
    #[error("{name}: {part} has {found} bytes, {MANIFEST_FILE} says {expected}")]
    #[diagnostic(help("copy the whole bundle again"))]
    Size { name: String, part: String, found: u64, expected: u64 },
    #[error("{name}: {part} is not what was exported: its SHA-256 is {found}, not {expected}")]
    #[diagnostic(help("copy the whole bundle again"))]
    Digest { name: String, part: String, found: String, expected: String },
    #[error("{name} ends at byte {end}; {length} bytes from {offset} on do not lie in it")]
    #[diagnostic(help("take offset and length from who gave the file"))]
    Range { name: String, offset: u64, length: u64, end: u64 },
}
