//! Texts, vocabularies, training shards and the data of tasks.

use atb_settings::Layers;
use atb_superplm::Dataset;
use atb_tasks::Task;
use atb_text::{Corpus, Tokenizer};

use crate::scratch::{parts, put, told, with_folder};

/// A prepared text: `dataset.json`, and the shard `0.safetensors`.
pub fn shards(data: &[u8]) {
    let [list, shard] = parts(data);
    with_folder(|folder| {
        put(folder, "dataset.json", list);
        put(folder, "0.safetensors", shard);
        let Some(dataset) = told(Dataset::open(folder)) else { return };
        assert!(dataset.sequences() > 0, "a dataset has a sequence");
        let _ = dataset.tokens();
    });
}

/// A vocabulary (`vocab.txt`, or `tokenizer.json` if it begins as one), `tokenizer_config.json`, and
/// a text that is tokenized.
pub fn text(data: &[u8]) {
    let [vocabulary, config, text] = parts(data);
    with_folder(|folder| {
        let name = match vocabulary.starts_with(b"{") {
            true => "tokenizer.json",
            false => "vocab.txt",
        };
        put(folder, name, vocabulary);
        if !config.is_empty() {
            put(folder, "tokenizer_config.json", config);
        }
        let Some(tokenizer) = told(Tokenizer::from_folder(folder)) else { return };
        for paragraph in Corpus::new("text", text) {
            let Some(paragraph) = told(paragraph) else { return };
            told(tokenizer.tokens(&paragraph.text));
            let pair = (paragraph.text.as_str(), "second");
            if let Some(encoded) = told(tokenizer.encode_batch([pair], 16)) {
                let size = tokenizer.vocabulary_size() as i64;
                let known = encoded.input_ids.iter().all(|id| (0..size).contains(id));
                assert!(known, "an id beyond the vocabulary: {:?}", encoded.input_ids);
            }
        }
        let _ = tokenizer.vocabulary_file();
        let _ = tokenizer.config_file(16);
    });
}

/// A task of each kind; `{}` is the end of its file's name.
const KINDS: [&str; 4] = [
    "kind = 'classification'\nfirst = 'a'\nsecond = 'b'\ntarget = 'c'",
    "kind = 'regression'\nfirst = 'a'\ntarget = 'c'\nrange = [0, 5]\ncolumns = ['a', 'b', 'c']",
    "kind = 'retrieval'\nfirst = 'a'\nsecond = 'b'\ntarget = 'c'\nrelevant = '1'\ndamaged = true",
    "kind = 'span'",
];

/// A data file of a task, in every layout and for every kind of task.
pub fn tasks(data: &[u8]) {
    with_folder(|folder| {
        for ending in ["tsv", "csv", "jsonl", "json"] {
            let path = put(folder, &format!("train.{ending}"), data);
            for kind in KINDS {
                let text =
                    format!("name = 't'\n{kind}\nsplits = {{ train = '{}' }}", path.display());
                let parsed = Layers::new().text("task.toml", &text).and_then(|it| it.parse());
                let Some(task) = told::<Task, _>(parsed) else { continue };
                let Some(split) = told(task.read_file(None, "train", &path)) else { continue };
                assert!(!split.is_empty(), "a split has examples");
                let _ = split.texts();
                told(task.check_leaks(&split, &split));
            }
        }
    });
}
