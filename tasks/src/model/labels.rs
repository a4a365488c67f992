//! Which of a task's labels each output of a model stands for.

/// For each output of a model, whose labels are called `own`, the number of the task's label, by
/// their names where both have some; `None` if the names are others.
pub(crate) fn order(own: &[String], labels: &[String]) -> Option<Vec<usize>> {
    let as_they_are = || Some((0..labels.len()).collect());
    let numbers = labels.iter().all(|label| label.parse::<f64>().is_ok());
    let unnamed = own.iter().all(|label| label.starts_with("LABEL_"));
    let find = |own: &String| labels.iter().position(|label| label.eq_ignore_ascii_case(own));
    let mut order: Vec<usize> = own.iter().filter_map(find).collect();
    order.sort_unstable();
    order.dedup();
    if order.len() == labels.len() {
        return own.iter().map(find).collect();
    }
    if unnamed || numbers { as_they_are() } else { None }
}

#[cfg(test)]
mod tests {

    #[test]
    fn labels_are_found_by_name_where_they_have_one() {
        let order = |own: &[&str], labels: &[&str]| {
            let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let (own, labels): (Vec<String>, Vec<String>) = (texts(own), texts(labels));
            super::order(&own, &labels)
        };
        let mnli = ["contradiction", "entailment", "neutral"];
        assert_eq!(order(&["ENTAILMENT", "NEUTRAL", "CONTRADICTION"], &mnli), Some(vec![1, 2, 0]));
        assert_eq!(order(&[], &mnli), Some(vec![0, 1, 2]));
        assert_eq!(order(&["LABEL_0", "LABEL_1", "LABEL_2"], &mnli), Some(vec![0, 1, 2]));
        assert_eq!(order(&["NEGATIVE", "POSITIVE"], &["0", "1"]), Some(vec![0, 1]));
        assert_eq!(order(&["1", "0"], &["0", "1"]), Some(vec![1, 0]));
        assert_eq!(order(&["yes", "no", "maybe"], &mnli), None);
    }
}
