//! Text files to datasets.

use std::path::{Path, PathBuf};

use atb_superplm::{DataError, Dataset, Layout, prepare};
use atb_text::Tokenizer;

use crate::common::vocabulary_folder;

fn tokenizer() -> Tokenizer {
    Tokenizer::from_folder(vocabulary_folder().path()).expect("loads")
}

fn write(folder: &Path, name: &str, text: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("writes");
    path
}

fn refusal(result: Result<Dataset, DataError>, folder: &Path) -> String {
    let error = result.expect_err("refused").to_string();
    error.replace(&folder.display().to_string(), "FOLDER")
}

fn shards(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("lists");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    paths.sort();
    paths
}

#[test]
fn what_is_tokenized_is_not_tokenized_again() {
    let root = tempfile::tempdir().expect("temporary folder");
    let inputs = [
        write(root.path(), "a.txt", b"a tiny model\nof text\n\ntext models\n"),
        write(root.path(), "b.txt", b"tiny text"),
    ];
    let (folder, tokenizer) = (root.path().join("data"), tokenizer());
    let run = |inputs: &[PathBuf], length| {
        let mut seen = Vec::new();
        let dataset = prepare(inputs, &tokenizer, Layout::Packed, length, &folder, |progress| {
            seen.push((progress.tokens, progress.reused));
        });
        (dataset.expect("prepares"), seen)
    };
    // [CLS] + ten ids of which one is the separator between documents, + [SEP] ..; and
    // [CLS] tiny text [SEP].
    let (dataset, seen) = run(&inputs, 6);
    assert_eq!((dataset.sequences(), dataset.sequence_length()), (4, 6));
    assert_eq!(seen, [(dataset.tokens() - 4, 0), (dataset.tokens(), 0)]);
    assert!(dataset.is_of(&tokenizer));
    assert!(!dataset.is_of(&Tokenizer::bert_uncased().expect("loads")));

    let (again, seen) = run(&inputs, 6);
    assert_eq!(seen.last().expect("progress").1, 2);
    assert_eq!(again.digest(), dataset.digest());

    // A shard that was cut short is made again, and only that.
    let damaged = &shards(&folder)[0];
    let bytes = std::fs::read(damaged).expect("reads");
    std::fs::write(damaged, &bytes[..bytes.len() - 1]).expect("writes");
    let error = refusal(Dataset::open(&folder), &folder);
    assert!(error.contains("is damaged"), "{error}");
    let (again, seen) = run(&inputs, 6);
    assert_eq!(seen.last().expect("progress").1, 1);
    assert_eq!(again.digest(), dataset.digest());

    // Another length or text is another dataset.
    assert_ne!(run(&inputs, 5).0.digest(), dataset.digest());
    assert_ne!(run(&inputs[..1], 6).0.digest(), dataset.digest());
    assert_eq!(Dataset::open(&folder).expect("opens").tokens(), run(&inputs[..1], 6).0.tokens());
}

#[test]
fn text_that_cannot_be_prepared() {
    let root = tempfile::tempdir().expect("temporary folder");
    let tokenizer = tokenizer();
    let refused = |inputs: &[PathBuf], length| {
        let result =
            prepare(inputs, &tokenizer, Layout::Packed, length, &root.path().join("data"), |_| {});
        refusal(result, root.path())
    };
    let fine = write(root.path(), "fine.txt", b"a tiny model\n");
    let invalid = write(root.path(), "invalid.txt", b"a tiny\n\nmodel \xff\n");
    assert_eq!(refused(&[fine.clone(), invalid], 8), "FOLDER/invalid.txt, line 3: not valid UTF-8");
    // What was not finished is no dataset.
    assert_eq!(
        refusal(Dataset::open(&root.path().join("data")), root.path()),
        "FOLDER/data/dataset.json is not there"
    );
    let empty = write(root.path(), "empty.txt", b"\n  \n");
    assert_eq!(refused(&[empty], 8), "FOLDER/empty.txt holds no text");
    assert_eq!(refused(&[], 8), "no text files given");
    let missing = refused(&[root.path().join("none.txt")], 8);
    assert!(missing.contains("FOLDER/none.txt"), "{missing}");
    assert!(refused(&[fine], 2).starts_with("a sequence length of 2 is too short"));
}

#[test]
fn a_dataset_of_a_newer_version_is_refused() {
    let root = tempfile::tempdir().expect("temporary folder");
    let input = write(root.path(), "a.txt", b"a tiny model");
    let folder = root.path().join("data");
    prepare(&[input], &tokenizer(), Layout::Packed, 8, &folder, |_| {}).expect("prepares");
    let list = folder.join("dataset.json");
    let json = std::fs::read_to_string(&list).expect("reads");
    let with = |schema: u32| {
        let changed = json.replace("\"schema\": 2", &format!("\"schema\": {schema}"));
        std::fs::write(&list, changed).expect("writes");
        refusal(Dataset::open(&folder), &folder)
    };
    assert_eq!(with(3), "FOLDER/dataset.json has schema 3, this version of atb reads up to 2");
    assert_eq!(with(1), "FOLDER/dataset.json is of a former version's format");
}

#[test]
fn a_dataset_has_no_shards_elsewhere() {
    let root = tempfile::tempdir().expect("temporary folder");
    let list = |shard: &str| {
        let text = format!(
            r#"{{"schema": 2, "sequence_length": 8, "vocabulary": "", "inputs": [],
                "shards": ["{shard}"]}}"#
        );
        write(root.path(), "dataset.json", text.as_bytes());
        refusal(Dataset::open(root.path()), root.path())
    };
    for shard in ["../a.safetensors", "/dev/zero", "a/../b", "..", ".", "", "a/"] {
        let error = list(shard);
        assert!(error.contains("is no name of a file beside it"), "{shard}: {error}");
    }
}

#[test]
fn a_shard_is_a_matrix_of_token_ids_in_safetensors() {
    let root = tempfile::tempdir().expect("temporary folder");
    let input = write(root.path(), "a.txt", b"a tiny model\nof text\n\ntext models\n");
    let folder = root.path().join("data");
    let dataset =
        prepare(&[input], &tokenizer(), Layout::Packed, 6, &folder, |_| {}).expect("prepares");
    let bytes = std::fs::read(&shards(&folder)[0]).expect("reads");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("is safetensors");
    let ids = tensors.tensor("input_ids").expect("is there");
    assert_eq!(ids.shape(), [dataset.sequences(), 6]);
    assert_eq!(ids.data()[..4], 2_u32.to_le_bytes(), "begins with [CLS]");
}
