//! Metrics of ranks.

/// One if the text was found among the first `most`, else zero.
pub(super) fn recall(rank: usize, most: usize) -> f64 {
    f64::from(u8::from(rank <= most))
}

/// The rank, from 1, of `right` among the candidates of these scores. Of equal scores every
/// other one counts as found before it, so that a model that tells nothing apart gains nothing.
pub(crate) fn rank(scores: impl Iterator<Item = f32>, right: usize, right_score: f32) -> usize {
    let before = scores.enumerate().filter(|(at, score)| *at != right && *score >= right_score);
    1 + before.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_gain_nothing() {
        let scores = [0.5, 0.9, 0.5, 0.1];
        let rank = |right: usize| rank(scores.into_iter(), right, scores[right]);
        assert_eq!([rank(0), rank(1), rank(2), rank(3)], [3, 1, 3, 4]);
        assert_eq!([recall(5, 5), recall(6, 5)], [1.0, 0.0]);
    }
}
