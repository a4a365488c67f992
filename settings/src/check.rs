//! The range of each value, and what lies outside of it.

use std::fmt::{self, Display};
use std::ops::{Bound, RangeBounds};

use crate::visible::visible;

/// Settings that know the range of each of their values.
pub trait Checked {
    /// States the range of every value to `at`, which notes those that lie outside.
    fn check(&self, at: &mut Check);

    /// All values are within their ranges.
    ///
    /// # Errors
    /// [`OutOfRange`] with every value that is not.
    fn checked(&self) -> Result<(), OutOfRange> {
        let mut at = Check::default();
        self.check(&mut at);
        match at.violations {
            violations if violations.is_empty() => Ok(()),
            violations => Err(OutOfRange { violations }),
        }
    }
}

/// A value outside of its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key with those of the tables around it, as in `search.population`.
    pub key: String,
    /// The value.
    pub value: String,
    /// What was expected, as in `1 to 10000`.
    pub expected: String,
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {}, expected {}", self.key, self.value, self.expected)
    }
}

/// Values outside of their ranges; at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("{}", list(violations))]
pub struct OutOfRange {
    /// In the order in which the settings state their ranges.
    pub violations: Vec<Violation>,
}

fn list(violations: &[Violation]) -> String {
    let texts: Vec<String> = violations.iter().map(Violation::to_string).collect();
    texts.join("; ")
}

/// Collects the values that lie outside of their ranges.
#[derive(Debug, Default)]
pub struct Check {
    path: String,
    violations: Vec<Violation>,
}

impl Check {
    /// `value` lies in `range`; a number that is not finite lies in none.
    pub fn range<T: Number>(&mut self, key: &str, value: T, range: impl RangeBounds<T>) {
        let inside = value.is_finite() && range.contains(&value);
        if !inside {
            let (start, end) = (range.start_bound(), range.end_bound());
            self.that(key, value, false, expected(start, end));
        }
    }

    /// `value`, if there is one, lies in `range`.
    pub fn optional<T: Number>(&mut self, key: &str, value: Option<T>, range: impl RangeBounds<T>) {
        if let Some(value) = value {
            self.range(key, value, range);
        }
    }

    /// `value` meets a condition that is no range, as `expected` describes it.
    pub fn that(
        &mut self,
        key: &str,
        value: impl Display,
        holds: bool,
        expected: impl Into<String>,
    ) {
        if !holds {
            let (key, value) = (self.at(key), shortened(&value.to_string()));
            self.violations.push(Violation { key, value, expected: expected.into() });
        }
    }

    /// `settings` in the table `key` are within their ranges.
    pub fn nested(&mut self, key: &str, settings: &(impl Checked + ?Sized)) {
        self.table(key, |at| settings.check(at));
    }

    /// What `check` states of the keys in the table `key`.
    pub fn table(&mut self, key: &str, check: impl FnOnce(&mut Self)) {
        let inner = self.at(key);
        let outer = std::mem::replace(&mut self.path, inner);
        check(self);
        self.path = outer;
    }

    fn at(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}

/// The range of what is more than zero and at most `most`.
#[must_use]
pub fn above_0_to(most: f64) -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(0.0), Bound::Included(most))
}

/// A number of which there are ranges.
pub trait Number: PartialOrd + Copy + Display {
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Number for $number {
            fn is_finite(self) -> bool {
                true
            }
        }
    )*};
}

whole_numbers!(u8, u16, u32, u64, usize, i32, i64);

impl Number for f32 {
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
}

impl Number for f64 {
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
}

/// A range in words.
fn expected<T: Display>(start: Bound<&T>, end: Bound<&T>) -> String {
    match (start, end) {
        (Bound::Included(start), Bound::Included(end)) => format!("{start} to {end}"),
        (Bound::Included(start), Bound::Excluded(end)) => format!("{start} to below {end}"),
        (Bound::Excluded(start), Bound::Included(end)) => format!("above {start} to {end}"),
        (Bound::Excluded(start), Bound::Excluded(end)) => format!("above {start} to below {end}"),
        (Bound::Included(start), Bound::Unbounded) => format!("at least {start}"),
        (Bound::Excluded(start), Bound::Unbounded) => format!("above {start}"),
        (Bound::Unbounded, Bound::Included(end)) => format!("at most {end}"),
        (Bound::Unbounded, Bound::Excluded(end)) => format!("below {end}"),
        (Bound::Unbounded, Bound::Unbounded) => "a finite number".to_owned(),
    }
}

/// `text` in at most about 60 characters, none of which steers a terminal.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => visible(&format!("{}...", &text[..end])),
        None => visible(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Inner {
        share: f64,
    }

    impl Checked for Inner {
        fn check(&self, at: &mut Check) {
            at.range("share", self.share, 0.0..1.0);
        }
    }

    #[test]
    fn a_number_that_is_not_finite_lies_in_no_range() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut at = Check::default();
            at.range("everything", value, ..);
            at.range("from", value, 0.0..);
            at.range("below", value, ..0.0);
            at.optional("perhaps", Some(value), 0.0..=1.0);
            assert_eq!(at.violations.len(), 4, "{value}");
        }
        let mut at = Check::default();
        at.range("everything", -1e300, ..);
        at.optional("perhaps", None, 0.0..=1.0);
        at.range("ends", 1, 1..=1);
        assert_eq!(at.violations, []);
    }

    #[test]
    fn all_violations_are_told_with_their_keys() {
        let mut at = Check::default();
        at.nested("outer", &Inner { share: 1.0 });
        at.range("count", 0_usize, 1..);
        at.range("above", 0.0, above_0_to(2.0));
        at.that("name", "x".repeat(1000), false, "a short name");
        let error = OutOfRange { violations: at.violations };
        insta::assert_snapshot!(error.to_string().replace("; ", "\n"), @r"
        `outer.share` is 1, expected 0 to below 1
        `count` is 0, expected at least 1
        `above` is 0, expected above 0 to 2
        `name` is xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..., expected a short name
        ");
        assert!(Inner { share: 0.5 }.checked().is_ok());
    }
}
