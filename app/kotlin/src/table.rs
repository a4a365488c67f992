//! Numbers that stand for values of Rust's on the other side.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values by number. A number is never given twice.
pub(crate) struct Table<T>(Mutex<Option<Entries<T>>>);

struct Entries<T> {
    last: i64,
    values: HashMap<i64, T>,
}

impl<T: Clone> Table<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn entries(&self) -> MutexGuard<'_, Option<Entries<T>>> {
        // Nothing is half done while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a value and gives its number, which is larger than zero.
    pub(crate) fn insert(&self, value: T) -> i64 {
        let mut entries = self.entries();
        let entries = entries.get_or_insert_with(|| Entries { last: 0, values: HashMap::new() });
        entries.last += 1;
        entries.values.insert(entries.last, value);
        entries.last
    }

    /// The value of a number, if it has one.
    pub(crate) fn get(&self, number: i64) -> Option<T> {
        self.entries().as_ref()?.values.get(&number).cloned()
    }

    /// Forgets a number. Who has its value keeps it.
    pub(crate) fn remove(&self, number: i64) {
        // Dropped when the table is free again.
        let _value = self.entries().as_mut().and_then(|entries| entries.values.remove(&number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_forgotten_stays_so() {
        let table = Table::new();
        assert_eq!(table.get(1), None::<&str>);
        let (one, two) = (table.insert("one"), table.insert("two"));
        assert!(0 < one && one < two);
        table.remove(one);
        table.remove(one);
        table.remove(-7);
        assert!(table.insert("three") > two);
        assert_eq!((table.get(one), table.get(two)), (None, Some("two")));
    }
}
