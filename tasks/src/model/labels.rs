//! What a model folder says of the task that it was fine-tuned on.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::TaskError;

/// The task of a fine-tuned model, in the keys of `config.json` that Hugging Face has for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trained {
    /// The task's name.
    pub(crate) task: Option<String>,
    /// Its labels in the order of the outputs.
    pub(crate) labels: Vec<String>,
}

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    finetuning_task: Value,
    #[serde(default)]
    id2label: Value,
}

impl Trained {
    /// What `config.json` in this folder says; nothing without one.
    pub(crate) fn read(folder: &Path) -> Result<Self, TaskError> {
        let path = folder.join("config.json");
        if !path.is_file() {
            return Ok(Self::default());
        }
        let keys: Keys = atb_files::parse_json(&path, &fs_err::read(&path)?, u32::MAX)?;
        let map = keys.id2label.as_object();
        let label = |id: usize| Some(map?.get(&id.to_string())?.as_str()?.to_owned());
        Ok(Self {
            task: keys.finetuning_task.as_str().map(str::to_owned),
            labels: (0..).map_while(label).collect(),
        })
    }

    /// Whether it was fine-tuned on another task than the one of this name.
    pub(crate) fn is_of_another(&self, task: &str) -> Option<&str> {
        let plain = |name: &str| {
            name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
        };
        self.task.as_deref().filter(|own| plain(own) != plain(task))
    }

    /// For each output the number of the task's label, by their names where both have some;
    /// `None` if the names are others.
    pub(crate) fn order(&self, labels: &[String]) -> Option<Vec<usize>> {
        let as_they_are = || Some((0..labels.len()).collect());
        let numbers = labels.iter().all(|label| label.parse::<f64>().is_ok());
        let unnamed = self.labels.iter().all(|label| label.starts_with("LABEL_"));
        let find = |own: &String| labels.iter().position(|label| label.eq_ignore_ascii_case(own));
        let mut order: Vec<usize> = self.labels.iter().filter_map(find).collect();
        order.sort_unstable();
        order.dedup();
        if order.len() == labels.len() {
            return self.labels.iter().map(find).collect();
        }
        if unnamed || numbers { as_they_are() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_name_where_they_have_one() {
        let order = |own: &[&str], labels: &[&str]| {
            let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let trained = Trained { task: None, labels: texts(own) };
            let labels: Vec<String> = texts(labels);
            trained.order(&labels)
        };
        let mnli = ["contradiction", "entailment", "neutral"];
        assert_eq!(order(&["ENTAILMENT", "NEUTRAL", "CONTRADICTION"], &mnli), Some(vec![1, 2, 0]));
        assert_eq!(order(&[], &mnli), Some(vec![0, 1, 2]));
        assert_eq!(order(&["LABEL_0", "LABEL_1", "LABEL_2"], &mnli), Some(vec![0, 1, 2]));
        assert_eq!(order(&["NEGATIVE", "POSITIVE"], &["0", "1"]), Some(vec![0, 1]));
        assert_eq!(order(&["1", "0"], &["0", "1"]), Some(vec![1, 0]));
        assert_eq!(order(&["yes", "no", "maybe"], &mnli), None);
    }

    #[test]
    fn a_task_goes_by_its_letters() {
        let trained = Trained { task: Some("sst2".to_owned()), labels: Vec::new() };
        assert_eq!(trained.is_of_another("SST-2"), None);
        assert_eq!(trained.is_of_another("CoLA"), Some("sst2"));
        assert_eq!(Trained::default().is_of_another("CoLA"), None);
    }
}
