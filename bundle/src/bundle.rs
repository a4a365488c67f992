//! A bundle, as a folder or in one file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Cursor};
use std::ops::Range;
use std::path::{Path, PathBuf};

use atb_files::FileError;

use crate::{BundleError, Bytes, MANIFEST_FILE, MANIFEST_SCHEMA, Manifest, Part};

/// What the parts of a bundle in one file begin at multiples of: the size of a page on every
/// current phone and board divides it, or it divides that.
pub const ALIGNMENT: u16 = 4096;

/// Bytes of a manifest; one with a hundred labels has a few thousand.
const MAX_MANIFEST: usize = 1 << 20;

/// An opened bundle.
#[derive(Debug)]
pub struct Bundle {
    name: String,
    place: Place,
    manifest: Manifest,
}

/// Where the parts are.
#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    File { bytes: Bytes, members: HashMap<String, Range<usize>> },
}

impl Bundle {
    /// Opens a bundle: a folder, or one file, which is mapped.
    ///
    /// # Errors
    /// [`BundleError`] naming the bundle and what is wrong in it.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let name = path.display().to_string();
        match fs_err::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(BundleError::NotFound { path: path.to_owned() })
            }
            Ok(metadata) if metadata.is_dir() => Self::of(name, Place::Folder(path.to_owned())),
            _ => Self::from_bytes(&name, Bytes::map_file(path)?),
        }
    }

    /// Opens a bundle in one file of which the bytes are at hand; `name` stands for it in
    /// messages.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn from_bytes(name: &str, bytes: Bytes) -> Result<Self, BundleError> {
        let members = atb_files::stored_members(&bytes)
            .map_err(|problem| BundleError::Archive { name: name.to_owned(), problem })?;
        Self::of(name.to_owned(), Place::File { bytes, members })
    }

    /// Opens a bundle in one file that lies in another one, `length` bytes from `offset` on, as
    /// the assets of an Android app do.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn from_file(
        name: &str,
        file: &File,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Self, BundleError> {
        Self::from_bytes(name, Bytes::map(name, file, offset, length)?)
    }

    fn of(name: String, place: Place) -> Result<Self, BundleError> {
        let Some(text) = place.read(MANIFEST_FILE)? else {
            return Err(BundleError::NoManifest { name });
        };
        if text.len() > MAX_MANIFEST {
            let problem = format!("it is larger than {} KiB", MAX_MANIFEST >> 10);
            return Err(BundleError::Value { name, problem });
        }
        let path = Path::new(&name).join(MANIFEST_FILE);
        let manifest: Manifest =
            atb_files::parse_json(&path, &text, MANIFEST_SCHEMA).map_err(|error| match error {
                FileError::Json { problem, .. } => {
                    BundleError::Manifest { name: name.clone(), problem }
                }
                error => BundleError::NewerSchema(error),
            })?;
        if let Some(problem) = manifest.problem() {
            return Err(BundleError::Value { name, problem });
        }
        Ok(Self { name, place, manifest })
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its outputs mean, and its parts.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The content of a part that the manifest lists.
    ///
    /// # Errors
    /// [`BundleError::MissingPart`], [`BundleError::Size`].
    pub fn part(&self, name: &str) -> Result<Bytes, BundleError> {
        let missing =
            || BundleError::MissingPart { name: self.name.clone(), part: name.to_owned() };
        let listed = self.manifest.parts.iter().find(|part| part.name == name);
        let Part { bytes: expected, .. } = *listed.ok_or_else(missing)?;
        let bytes = self.place.read(name)?.ok_or_else(missing)?;
        let found = bytes.len() as u64;
        if found != expected {
            let (name, part) = (self.name.clone(), name.to_owned());
            return Err(BundleError::Size { name, part, found, expected });
        }
        Ok(bytes)
    }

    /// Checks that every part is the one that was exported.
    ///
    /// # Errors
    /// [`BundleError::Digest`] for the first that is not; as [`Bundle::part`].
    pub fn check_digests(&self) -> Result<(), BundleError> {
        for part in &self.manifest.parts {
            let found = atb_files::digest(&self.part(&part.name)?);
            if found != part.sha256 {
                return Err(BundleError::Digest {
                    name: self.name.clone(),
                    part: part.name.clone(),
                    found,
                    expected: part.sha256.clone(),
                });
            }
        }
        Ok(())
    }
}

impl Place {
    /// The content of a file of this name, if there is one.
    fn read(&self, name: &str) -> Result<Option<Bytes>, BundleError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                path.is_file().then(|| Bytes::map_file(&path)).transpose()
            }
            Self::File { bytes, members } => {
                Ok(members.get(name).and_then(|place| bytes.slice(place.clone())))
            }
        }
    }
}

/// Writes the manifest of the bundle in `folder`, with the sizes and digests of the parts of
/// these names, whatever `manifest` says of parts.
///
/// # Errors
/// If a part cannot be read or the manifest not be written.
pub fn write_manifest(
    folder: &Path,
    manifest: Manifest,
    parts: &[&str],
) -> Result<Manifest, BundleError> {
    let part = |name: &&str| {
        let path = folder.join(name);
        Ok(Part {
            name: (*name).to_owned(),
            bytes: fs_err::metadata(&path)?.len(),
            sha256: atb_files::digest_of_file(&path)?,
        })
    };
    let parts = parts.iter().map(part).collect::<std::io::Result<_>>()?;
    let manifest = Manifest { parts, ..manifest };
    if let Some(problem) = manifest.problem() {
        return Err(BundleError::Value { name: folder.display().to_string(), problem });
    }
    atb_files::write_json(&folder.join(MANIFEST_FILE), &manifest)?;
    Ok(manifest)
}

/// Writes the bundle `folder` into the one file `path`: the manifest and the parts that it lists.
/// The same bundle gives the same bytes.
///
/// # Errors
/// [`BundleError`] if it is no bundle, a part is not the one that was exported, or the file
/// cannot be written.
pub fn pack(folder: &Path, path: &Path) -> Result<(), BundleError> {
    let bundle = Bundle::open(folder)?;
    bundle.check_digests()?;
    let lacks = || BundleError::NoManifest { name: bundle.name.clone() };
    let mut contents = vec![(MANIFEST_FILE, bundle.place.read(MANIFEST_FILE)?.ok_or_else(lacks)?)];
    for part in &bundle.manifest.parts {
        contents.push((&part.name, bundle.part(&part.name)?));
    }
    let mut output = BufWriter::new(Cursor::new(Vec::new()));
    let members = contents.iter().map(|(name, content)| (*name, &**content));
    atb_files::write_stored(&mut output, ALIGNMENT, members)?;
    let bytes = output.into_inner().map_err(std::io::IntoInnerError::into_error)?.into_inner();
    Ok(atb_files::write(path, &bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [("model.onnx", "a model"), ("vocab.txt", "[PAD]\n")] {
            std::fs::write(folder.path().join(name), text).expect("writes");
        }
        let manifest: Manifest =
            serde_json::from_str(r#"{"schema":1,"labels":["no","yes"],"parts":[]}"#)
                .expect("a manifest");
        write_manifest(folder.path(), manifest, &["model.onnx", "vocab.txt"]).expect("writes");
        folder
    }

    /// The bundle with one part of its manifest replaced.
    fn changed(from: &str, to: &str) -> Result<Bundle, BundleError> {
        let folder = folder();
        let path = folder.path().join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path).expect("reads");
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).expect("writes");
        Bundle::open(folder.path())
    }

    #[test]
    fn a_folder_and_one_file_are_the_same_bundle() {
        let folder = folder();
        let file = folder.path().join("all.atb");
        pack(folder.path(), &file).expect("packs");
        let bytes = std::fs::read(&file).expect("reads");
        let middle = folder.path().join("middle");
        std::fs::write(&middle, [&[7; 5001][..], &bytes, &[9; 77]].concat()).expect("writes");
        let opened = File::open(&middle).expect("opens");
        let length = Some(bytes.len() as u64);
        for bundle in [
            Bundle::open(folder.path()),
            Bundle::open(&file),
            Bundle::from_bytes("memory", Bytes::new(bytes)),
            Bundle::from_file("asset", &opened, 5001, length),
        ] {
            let bundle = bundle.expect("opens");
            bundle.check_digests().expect("is whole");
            assert_eq!(&*bundle.part("model.onnx").expect("there"), b"a model");
            assert_eq!(bundle.manifest().labels, ["no", "yes"]);
            let error = bundle.part("config.json").expect_err("not listed");
            assert!(matches!(error, BundleError::MissingPart { .. }), "{error}");
        }
        let error = Bundle::from_file("asset", &opened, 5001, Some(u64::MAX)).expect_err("past");
        assert!(matches!(error, BundleError::Range { .. }), "{error}");
        let error = Bundle::from_file("asset", &opened, u64::MAX, None).expect_err("past the end");
        assert!(matches!(error, BundleError::Range { .. }), "{error}");
    }

    #[test]
    fn what_was_changed_is_told() {
        let folder = folder();
        std::fs::write(folder.path().join("model.onnx"), "A model").expect("writes");
        let bundle = Bundle::open(folder.path()).expect("opens");
        let error = bundle.check_digests().expect_err("another model").to_string();
        assert!(error.contains("model.onnx is not what was exported"), "{error}");
        std::fs::write(folder.path().join("model.onnx"), "").expect("writes");
        let error = bundle.part("model.onnx").expect_err("another size").to_string();
        assert!(error.contains("model.onnx has 0 bytes, bundle.json says 7"), "{error}");
        std::fs::remove_file(folder.path().join("model.onnx")).expect("removes");
        let error = bundle.part("model.onnx").expect_err("gone").to_string();
        assert!(error.ends_with("lacks model.onnx"), "{error}");
    }

    #[test]
    fn manifests_that_are_none_are_refused() {
        for (from, to, told) in [
            ("\"schema\": 1", "\"schema\": 2", "has schema 2, this version of atb reads up to 1"),
            ("\"schema\": 1", "\"schema\": -1", "invalid value"),
            ("model.onnx", "../model.onnx", "a part cannot be called \"../model.onnx\""),
            ("model.onnx", "/etc/passwd", "a part cannot be called \"/etc/passwd\""),
            ("model.onnx", "vocab.txt", "the part vocab.txt is listed twice"),
            ("\"yes\"", "7", "expected a string"),
            ("\"softmax\"", "\"argmax\"", "unknown variant `argmax`"),
            ("\"labels\"", "\"score_range\": [1, 1], \"labels\"", "are no range"),
            ("}", "", "key must be a string"),
        ] {
            let error = changed(from, to).expect_err(to).to_string();
            assert!(error.contains(told), "{error}");
        }
        let empty = tempfile::tempdir().expect("a folder");
        let error = Bundle::open(empty.path()).expect_err("empty").to_string();
        assert!(error.ends_with("it has no bundle.json"), "{error}");
        let error = Bundle::open(&empty.path().join("none")).expect_err("nothing").to_string();
        assert!(error.starts_with("there is no bundle at"), "{error}");
    }
}
