//! Numbers as an axis has them.

/// `value` with as many decimals as a `step` between such numbers needs, and thin spaces between
/// thousands.
#[must_use]
pub fn number(value: f64, step: f64) -> String {
    // A step of 0.25 has one digit more than its size says.
    let mut decimals = 0;
    let mut scaled = step.abs();
    while decimals < 9 && scaled > 0.0 && (scaled - scaled.round()).abs() > 1e-6 * scaled {
        decimals += 1;
        scaled *= 10.0;
    }
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && whole.len() > 4 && (whole.len() - index) % 3 == 0 {
            grouped.push('\u{2009}');
        }
        grouped.push(digit);
    }
    let sign =
        if value < 0.0 && text.chars().any(|c| ('1'..='9').contains(&c)) { "\u{2212}" } else { "" };
    match fraction {
        "" => format!("{sign}{grouped}"),
        fraction => format!("{sign}{grouped}.{fraction}"),
    }
}

/// Round numbers in `low..=high`, about `count` of them, and the step between them.
pub(crate) fn ticks(low: f64, high: f64, count: usize) -> (Vec<f64>, f64) {
    let rough = (high - low) / count.max(1) as f64;
    if rough.is_nan() || rough <= 0.0 {
        return (vec![low], 1.0);
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    ((first..=last).map(|index| index as f64 * step).collect(), step)
}

/// Round numbers of a logarithmic axis from `low` to `high`, at most `count` of them.
pub(crate) fn logarithmic_ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    for factors in [&[1.0, 2.0, 3.0, 5.0, 7.0][..], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]] {
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let all: Vec<f64> = decades
            .flat_map(|decade| factors.iter().map(move |factor| factor * 10_f64.powi(decade)))
            .filter(|value| (low * 0.999..=high * 1.001).contains(value))
            .collect();
        if all.len() <= count.max(1) || factors.len() == 1 {
            return all;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_decimals_of_their_step() {
        assert_eq!(number(1000.0, 200.0), "1000");
        assert_eq!(number(12_500.0, 500.0), "12\u{2009}500");
        assert_eq!(number(0.30000000000000004, 0.1), "0.3");
        assert_eq!(number(0.25, 0.25), "0.25");
        assert_eq!(number(-2.0, 1.0), "\u{2212}2");
        assert_eq!(number(-0.0, 0.5), "0.0");
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(33.1, 42.9, 5), (vec![34.0, 36.0, 38.0, 40.0, 42.0], 2.0));
        assert_eq!(ticks(0.0, 1.0, 4).0, [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks(3.0, 3.0, 5).0, [3.0]);
        assert_eq!(logarithmic_ticks(8.0, 700.0, 5), [10.0, 30.0, 100.0, 300.0]);
    }
}
