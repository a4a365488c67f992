//! How the programs that write BERT weights name the tensors.
//!
//! A layout is one entry of [`LAYOUTS`]: what may stand before the names, and which parts of
//! a name stand for which of ours. Files are told apart by their names alone.

use std::collections::BTreeMap;

use crate::BertConfig;
use crate::parameters::axes;

/// One program's names.
struct Layout {
    /// What users know it by.
    name: &'static str,
    /// May stand before every name; the first that does is cut off.
    prefixes: &'static [&'static str],
    /// Part of a name in the file, between dots or at an end, and what it is here.
    renames: &'static [(&'static str, &'static str)],
}

/// The layouts that are read.
const LAYOUTS: &[Layout] = &[
    Layout {
        name: "Hugging Face BERT or ELECTRA",
        prefixes: &["module.bert.", "module.", "bert.", "electra."],
        renames: &[
            ("LayerNorm.gamma", "LayerNorm.weight"),
            ("LayerNorm.beta", "LayerNorm.bias"),
            ("fit_dense", "kd_projection"),
            ("dense_fit", "kd_projection"),
        ],
    },
    Layout {
        name: "AutoTinyBERT reference",
        prefixes: &["module.bert.", "module.", "bert."],
        renames: &[
            ("encoder.layers", "encoder.layer"),
            ("word_embeddings.embedding", "word_embeddings"),
            ("position_embeddings.embedding", "position_embeddings"),
            ("token_type_embeddings.embedding", "token_type_embeddings"),
            ("dense_fit", "kd_projection"),
            ("fit_dense", "kd_projection"),
        ],
    },
];

/// Names, or beginnings of names, of tensors that stand in such files and are not needed:
/// constants, copies of tied weights, and heads of pre-training.
const UNUSED: &[&str] = &[
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    "cls.predictions.decoder.",
    "discriminator_predictions.",
    "generator_predictions.",
    "generator_lm_head.",
];

/// Why the names of a file make no model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// No layout has this name.
    Unknown(String),
    /// Two names of the file stand for the same parameter.
    Twice(String, String),
}

/// The names of the layouts, for messages.
pub(crate) fn known() -> String {
    let names: Vec<&str> = LAYOUTS.iter().map(|layout| layout.name).collect();
    names.join(", ")
}

impl Layout {
    /// Our name of a tensor.
    fn rename(&self, stored: &str) -> String {
        let prefix = self.prefixes.iter().find(|prefix| stored.starts_with(**prefix));
        let mut name = stored[prefix.map_or(0, |prefix| prefix.len())..].to_owned();
        for (theirs, ours) in self.renames {
            let found = name.match_indices(theirs).map(|(at, _)| at).find(|at| {
                let (before, after) = (&name[..*at], &name[at + theirs.len()..]);
                (before.is_empty() || before.ends_with('.'))
                    && (after.is_empty() || after.starts_with('.'))
            });
            if let Some(at) = found {
                name.replace_range(at..at + theirs.len(), ours);
            }
        }
        name
    }

    /// From our name to the file's, for all of the names that the file has.
    fn names<'a>(
        &self,
        stored: impl Iterator<Item = &'a String>,
        config: &BertConfig,
    ) -> (BTreeMap<String, String>, Vec<Unclear>) {
        let (mut names, mut unclear) = (BTreeMap::new(), Vec::new());
        for stored in stored {
            let ours = self.rename(stored);
            if UNUSED.iter().any(|unused| ours.starts_with(unused)) {
                continue;
            }
            if axes(&ours, &[], config).is_none() {
                unclear.push(Unclear::Unknown(stored.clone()));
            } else if let Some(before) = names.insert(ours, stored.clone()) {
                unclear.push(Unclear::Twice(before, stored.clone()));
            }
        }
        (names, unclear)
    }
}

/// From our name to the file's of every parameter, by the layout that fits the names best.
pub(crate) fn names<'a>(
    stored: impl Iterator<Item = &'a String> + Clone,
    config: &BertConfig,
) -> Result<BTreeMap<String, String>, Unclear> {
    let read = LAYOUTS.iter().map(|layout| layout.names(stored.clone(), config));
    let (names, unclear) = read.min_by_key(|(_, unclear)| unclear.len()).unwrap_or_default();
    unclear.into_iter().next().map_or(Ok(names), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(names: &[&str]) -> Result<Vec<String>, Unclear> {
        let config = BertConfig::new("2-16-32-4-8".parse().expect("parses"), 60);
        let stored: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        names_of(&stored, &config)
    }

    fn names_of(stored: &[String], config: &BertConfig) -> Result<Vec<String>, Unclear> {
        Ok(names(stored.iter(), config)?.into_keys().collect())
    }

    #[test]
    fn the_same_parameter_is_found_under_every_name() {
        let query = "encoder.layer.1.attention.self.query.weight";
        let norm = "embeddings.LayerNorm.weight";
        for stored in [
            [query, norm],
            ["bert.encoder.layer.1.attention.self.query.weight", "bert.embeddings.LayerNorm.gamma"],
            ["electra.encoder.layer.1.attention.self.query.weight", norm],
            ["encoder.layers.1.attention.self.query.weight", norm],
            [
                "bert.encoder.layers.1.attention.self.query.weight",
                "bert.embeddings.LayerNorm.weight",
            ],
            ["module.bert.encoder.layers.1.attention.self.query.weight", norm],
        ] {
            assert_eq!(ours(&stored).expect("known"), [norm, query], "{stored:?}");
        }
        for fit in ["dense_fit", "bert.dense_fit", "fit_dense", "kd_projection"] {
            let (weight, bias) = (format!("{fit}.weight"), format!("{fit}.bias"));
            let found = ours(&[&weight, &bias]).expect("known");
            assert_eq!(found, ["kd_projection.bias", "kd_projection.weight"], "{fit}");
        }
        let words = "bert.embeddings.word_embeddings.embedding.weight";
        assert_eq!(ours(&[words]).expect("known"), ["embeddings.word_embeddings.weight"]);
    }

    #[test]
    fn names_that_no_layout_has_and_names_twice_are_found() {
        for name in [
            "roberta.encoder.layer.0.output.dense.weight",
            "encoder.layer.2.output.dense.weight",
            "encoder.layer.x.output.dense.weight",
            "encoder.layer.00.output.dense.weight",
            "embeddings_project.weight",
            "xdense_fit.weight",
        ] {
            assert_eq!(ours(&[name]), Err(Unclear::Unknown(name.to_owned())));
        }
        let (old, new) = ("embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight");
        assert_eq!(ours(&[old, new]), Err(Unclear::Twice(old.to_owned(), new.to_owned())));
        assert_eq!(ours(&["embeddings.position_ids"]), Ok(Vec::new()));
    }
}
