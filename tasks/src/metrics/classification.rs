//! Metrics of labels, from the table of how often each was given for each.

/// How often each label was given for each.
pub(super) struct Table {
    labels: usize,
    /// `[actual * labels + predicted]`.
    counts: Vec<f64>,
}

impl Table {
    /// Of pairs of a predicted and an actual label, each below `labels`.
    pub(super) fn of(pairs: impl Iterator<Item = (usize, usize)>, labels: usize) -> Self {
        let mut counts = vec![0.0; labels * labels];
        for (predicted, actual) in pairs {
            counts[actual * labels + predicted] += 1.0;
        }
        Self { labels, counts }
    }

    fn predicted(&self, label: usize) -> f64 {
        self.counts.iter().skip(label).step_by(self.labels).sum()
    }

    fn actual(&self, label: usize) -> f64 {
        self.counts[label * self.labels..][..self.labels].iter().sum()
    }

    fn right(&self, label: usize) -> f64 {
        self.counts[label * self.labels + label]
    }

    /// F1 of one label; zero if it was neither given nor right anywhere.
    pub(super) fn f1(&self, label: usize) -> f64 {
        ratio(2.0 * self.right(label), self.predicted(label) + self.actual(label))
    }

    /// The mean F1 of the labels that are there.
    pub(super) fn macro_f1(&self) -> f64 {
        let there = (0..self.labels)
            .filter(|label| self.predicted(*label) + self.actual(*label) > 0.0)
            .map(|label| self.f1(label));
        let there: Vec<f64> = there.collect();
        ratio(there.iter().sum(), there.len() as f64)
    }

    /// Matthews' correlation coefficient, of any number of labels (Gorodkin 2004).
    pub(super) fn matthews(&self) -> f64 {
        let labels = 0..self.labels;
        let all: f64 = self.counts.iter().sum();
        let right: f64 = labels.clone().map(|label| self.right(label)).sum();
        let sum = |one: &dyn Fn(usize) -> f64, other: &dyn Fn(usize) -> f64| -> f64 {
            labels.clone().map(|label| one(label) * other(label)).sum()
        };
        let predicted = |label| self.predicted(label);
        let actual = |label| self.actual(label);
        let covariance = right * all - sum(&predicted, &actual);
        let spread =
            (all * all - sum(&predicted, &predicted)) * (all * all - sum(&actual, &actual));
        ratio(covariance, spread.sqrt())
    }
}

fn ratio(one: f64, other: f64) -> f64 {
    if other == 0.0 { 0.0 } else { one / other }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(predicted: &[usize], actual: &[usize], labels: usize) -> Table {
        Table::of(predicted.iter().copied().zip(actual.iter().copied()), labels)
    }

    fn same(one: f64, other: f64) {
        assert!((one - other).abs() < 1e-15, "{one} {other}");
    }

    /// Expected values from `f1_score` and `matthews_corrcoef` of scikit-learn 1.9.1.
    #[test]
    fn two_labels_as_scikit_learn_has_them() {
        let predicted = [0, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1];
        let actual = [0, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0];
        let table = table(&predicted, &actual, 2);
        same(table.f1(1), 0.7142857142857143);
        same(table.macro_f1(), 0.6571428571428571);
        same(table.matthews(), 0.3142857142857143);
    }

    /// As above.
    #[test]
    fn three_labels_as_scikit_learn_has_them() {
        let predicted = [0, 1, 2, 2, 1, 0, 2, 1, 0, 2, 1, 1];
        let actual = [0, 2, 2, 1, 1, 0, 2, 1, 1, 2, 0, 1];
        let table = table(&predicted, &actual, 3);
        same(table.macro_f1(), 0.6722222222222222);
        same(table.matthews(), 0.48936170212765956);
    }

    /// As above, where it warns and gives zero.
    #[test]
    fn what_is_not_defined_is_zero() {
        assert_eq!(table(&[1, 1, 1], &[0, 1, 1], 2).matthews(), 0.0);
        assert_eq!(table(&[0, 0], &[0, 0], 2).f1(1), 0.0);
        assert_eq!(table(&[0, 0], &[0, 0], 2).macro_f1(), 1.0);
    }
}
