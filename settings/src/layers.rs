//! Settings read in layers: defaults, a TOML file, flags of the command line.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::check::shortened;
use crate::error::{Located, Source};
use crate::tree::{Failure, Node, Problem, Value};
use crate::{Checked, OutOfRange, SettingsError, Violation};

/// A key or value that has another name by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renamed {
    /// A key, with those of the tables around it.
    Key {
        /// Its former name.
        old: &'static str,
        /// Its name.
        new: &'static str,
    },
    /// A text that the key may have.
    Value {
        /// The key, with those of the tables around it.
        key: &'static str,
        /// The former text.
        old: &'static str,
        /// The text.
        new: &'static str,
    },
}

/// Layers of settings, the later ones before the earlier ones: the type's defaults
/// (`#[serde(default)]`), a TOML file, flags.
///
/// ```
/// use atb_settings::{Check, Checked, Layers};
/// use serde::Deserialize;
///
/// #[derive(Debug, Deserialize)]
/// #[serde(default, deny_unknown_fields)]
/// struct Search {
///     population: usize,
///     generations: usize,
/// }
///
/// impl Default for Search {
///     fn default() -> Self {
///         Self { population: 25, generations: 4 }
///     }
/// }
///
/// impl Checked for Search {
///     fn check(&self, at: &mut Check) {
///         at.range("population", self.population, 1..=10_000);
///         at.range("generations", self.generations, 1..=10_000);
///     }
/// }
///
/// let read = |flag: Option<usize>| -> Result<Search, _> {
///     let layers = Layers::new().text("search.toml", "generations = 3\npopulation = 0")?;
///     layers.flag("population", "--population", flag).read()
/// };
/// let search = read(Some(7))?;
/// assert_eq!((search.population, search.generations), (7, 3));
/// let message = read(None).unwrap_err().to_string();
/// assert_eq!(message, "search.toml: line 2: `population` is 0, expected 1 to 10000");
/// # Ok::<(), atb_settings::SettingsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Layers {
    root: Node,
    renamed: &'static [Renamed],
}

impl Default for Layers {
    fn default() -> Self {
        Self::new()
    }
}

impl Layers {
    /// No layer but the defaults.
    #[must_use]
    pub fn new() -> Self {
        let root = Node { source: Source::Default, value: Value::Table(BTreeMap::new()) };
        Self { root, renamed: &[] }
    }

    /// These keys and values have other names by now: whoever uses an old one is told the
    /// new one.
    #[must_use]
    pub fn renamed(self, renamed: &'static [Renamed]) -> Self {
        Self { renamed, ..self }
    }

    /// With the TOML file at `path` as the next layer.
    ///
    /// # Errors
    /// [`SettingsError`] if it cannot be read or is not TOML.
    pub fn file(self, path: &Path) -> Result<Self, SettingsError> {
        let bytes = fs_err::read(path)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
            SettingsError::NotText { path: path.to_owned(), line }
        })?;
        self.text(path, text)
    }

    /// With a TOML text as the next layer; messages name it as `path`.
    ///
    /// # Errors
    /// [`SettingsError`] if it is not TOML.
    pub fn text(mut self, path: impl AsRef<Path>, text: &str) -> Result<Self, SettingsError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let path = path.as_ref();
        let table = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let (line, column, excerpt) = place(text, offset);
            let problem = shortened(error.message());
            SettingsError::Syntax { path: path.to_owned(), line, column, problem, excerpt }
        })?;
        let lines = Lines { path: path.to_owned(), text };
        let layer = lines.table(table.get_ref(), table.span().start);
        self.root.overlay(layer);
        Ok(self)
    }

    /// With the value of a flag, if it was given, for the key `key` (`search.population`).
    #[must_use]
    pub fn flag(mut self, key: &str, flag: &str, value: Option<impl Display>) -> Self {
        if let Some(value) = value {
            self.set(key, flag, |_| Value::Text(value.to_string()));
        }
        self
    }

    /// With the values of a flag that may be given more than once, if any were, for the key
    /// `key`.
    #[must_use]
    pub fn flags<T: Display>(
        mut self,
        key: &str,
        flag: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        if !values.is_empty() {
            self.set(key, flag, |source| {
                let node = |text| Node { source: source.clone(), value: Value::Text(text) };
                Value::Array(values.into_iter().map(node).collect())
            });
        }
        self
    }

    /// Without what the layers so far say about the key `key`: for a flag that takes the place
    /// of another key.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.root.remove(key);
        self
    }

    fn set(&mut self, key: &str, flag: &str, value: impl FnOnce(&Source) -> Value) {
        let source = Source::Flag(flag.to_owned());
        let mut layer = Node { value: value(&source), source: source.clone() };
        for name in key.rsplit('.') {
            let table = BTreeMap::from([(name.to_owned(), layer)]);
            layer = Node { source: source.clone(), value: Value::Table(table) };
        }
        self.root.overlay(layer);
    }

    /// The settings that come of the layers, all within their ranges.
    ///
    /// # Errors
    /// [`SettingsError`] naming the line of the file or the flag, and what is known or
    /// expected there.
    pub fn read<T: DeserializeOwned + Checked>(&self) -> Result<T, SettingsError> {
        let settings: T = self.parse()?;
        self.check(&settings)?;
        Ok(settings)
    }

    /// What was made of the layers is within its ranges.
    ///
    /// # Errors
    /// [`SettingsError::OutOfRange`] naming the line of the file or the flag.
    pub fn check(&self, settings: &(impl Checked + ?Sized)) -> Result<(), SettingsError> {
        let Err(OutOfRange { violations }) = settings.checked() else { return Ok(()) };
        let located =
            |violation: Violation| Located { source: self.source_of(&violation.key), violation };
        Err(SettingsError::OutOfRange { values: violations.into_iter().map(located).collect() })
    }

    /// What comes of the layers, for a type that checks itself while it is read, or that
    /// [`Layers::check`] checks later.
    ///
    /// # Errors
    /// As [`Layers::read`], but for ranges.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        self.refuse_old_names()?;
        T::deserialize(self.root.deserializer()).map_err(|failure| self.error(failure))
    }

    /// Where the value of a key was given; of a key that is not there the default.
    #[must_use]
    pub fn source_of(&self, key: &str) -> Source {
        self.root.find(key).map_or(Source::Default, |node| node.source.clone())
    }

    fn refuse_old_names(&self) -> Result<(), SettingsError> {
        for renamed in self.renamed {
            let (key, old, new) = match *renamed {
                Renamed::Key { old, new } => (old, old, new),
                Renamed::Value { key, old, new } => (key, old, new),
            };
            let Some(node) = self.root.find(key) else { continue };
            let uses_old = match (renamed, &node.value) {
                (Renamed::Key { .. }, _) => true,
                (_, Value::String(text) | Value::Text(text)) => text == old,
                _ => false,
            };
            if uses_old {
                let (at, old, new) =
                    (Box::new(node.source.clone()), old.to_owned(), new.to_owned());
                return Err(SettingsError::Renamed { at, old, new });
            }
        }
        Ok(())
    }

    fn error(&self, failure: Failure) -> SettingsError {
        let Failure { path, problem } = failure;
        let key = path.iter().map(|name| shortened(name)).collect::<Vec<_>>().join(".");
        let at = Box::new(self.root.source_at(&path));
        match problem {
            Problem::UnknownKey { key: last, known } => {
                let suggestion = nearest(&last, known)
                    .map_or(String::new(), |near| format!("did you mean `{near}`? "));
                SettingsError::UnknownKey { at, key, suggestion, known: known.join(", ") }
            }
            Problem::UnknownVariant { variant, known } => {
                let suggestion = nearest(&variant, known)
                    .map_or(String::new(), |near| format!("did you mean `{near}`? "));
                let expected = format!("one of {}", known.join(", "));
                let value = format!("`{}`", shortened(&variant));
                SettingsError::Value { at, key, value, expected, suggestion }
            }
            Problem::Value { value, expected } => {
                let suggestion = String::new();
                SettingsError::Value { at, key, value, expected, suggestion }
            }
            Problem::Missing { key: missing } => {
                let key = match key.as_str() {
                    "" => missing.to_owned(),
                    table => format!("{table}.{missing}"),
                };
                SettingsError::Missing { at, key }
            }
            Problem::Other(problem) => SettingsError::Invalid { at, key, problem },
        }
    }
}

/// The known name that is most like `name`, if one is.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(name, other);
    let near = known.iter().copied().filter(|_| name.len() < 60).min_by_key(|k| distance(k))?;
    (distance(near) <= near.len().div_ceil(3)).then_some(near)
}

/// Line and column of an offset, from 1, and a bounded part of the line around it.
fn place(text: &str, offset: usize) -> (usize, usize, String) {
    const BEFORE: usize = 30;
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = 1 + before.matches('\n').count();
    let column = 1 + before[start..].chars().count();
    let from =
        before[start..].char_indices().rev().nth(BEFORE - 1).map_or(start, |(i, _)| start + i);
    let rest = text[from..].lines().next().unwrap_or_default();
    let lead = if from > start { "..." } else { "" };
    (line, column, format!("{lead}{}", shortened(rest.trim_end())))
}

/// The lines of a text in a file.
struct Lines<'a> {
    path: PathBuf,
    text: &'a str,
}

impl Lines<'_> {
    fn source(&self, offset: usize) -> Source {
        let before = self.text.get(..offset).unwrap_or(self.text);
        Source::File { path: self.path.clone(), line: 1 + before.matches('\n').count() }
    }

    fn table(&self, table: &DeTable<'_>, offset: usize) -> Node {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let key: &Spanned<std::borrow::Cow<'_, str>> = key;
            (key.get_ref().to_string(), self.node(value, key.span().start))
        };
        let table = table.iter().map(entry).collect();
        Node { source: self.source(offset), value: Value::Table(table) }
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, offset: usize) -> Node {
        let value = match value.get_ref() {
            DeValue::Table(table) => return self.table(table, offset),
            DeValue::Array(items) => {
                Value::Array(items.iter().map(|item| self.node(item, item.span().start)).collect())
            }
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(time) => Value::Other(time.to_string()),
            // What does not fit is kept as text, for the message.
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::Other(number.to_string()), Value::Integer),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .map_or_else(|_| Value::Other(number.to_string()), Value::Float),
        };
        Node { source: self.source(offset), value }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::Check;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        name: String,
        output: Option<PathBuf>,
        strategy: Strategy,
        cores: Vec<usize>,
        search: Search,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Strategy {
        #[default]
        Random,
        Evolved,
        At {
            steps: usize,
        },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Search {
        population: usize,
        fresh: f64,
        level: Option<f64>,
    }

    impl Default for Search {
        fn default() -> Self {
            Self { population: 25, fresh: 0.5, level: None }
        }
    }

    impl Checked for Settings {
        fn check(&self, at: &mut Check) {
            at.nested("search", &self.search);
        }
    }

    impl Checked for Search {
        fn check(&self, at: &mut Check) {
            at.range("population", self.population, 1..=100);
            at.range("fresh", self.fresh, 0.0..=1.0);
            at.optional("level", self.level, 0.0..1.0);
        }
    }

    const RENAMED: &[Renamed] = &[
        Renamed::Key { old: "search.pop", new: "search.population" },
        Renamed::Value { key: "strategy", old: "evolutionary", new: "evolved" },
    ];

    fn read(text: &str) -> Result<Settings, SettingsError> {
        Layers::new().renamed(RENAMED).text("a.toml", text)?.read()
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_the_defaults() {
        let text = "\u{feff}name = 'x'\ncores = [1, 2]\n[search]\nfresh = 1\npopulation = 3\n";
        let layers = Layers::new().text("a.toml", text).expect("TOML");
        let layers = layers
            .flag("search.population", "--population", Some(7))
            .flag("search.level", "--confidence", Some("0.9"))
            .flag("name", "--name", Some("17"))
            .flag("output", "--output", Some("a/b"))
            .flag("strategy", "--strategy", Some("evolved"))
            .flag("search.fresh", "--fresh", None::<f64>)
            .flags("cores", "--core", [4, 5]);
        let expected = Settings {
            name: "17".to_owned(),
            output: Some("a/b".into()),
            strategy: Strategy::Evolved,
            cores: vec![4, 5],
            search: Search { population: 7, fresh: 1.0, level: Some(0.9) },
        };
        assert_eq!(layers.read::<Settings>().expect("valid"), expected);
        assert_eq!(Layers::new().read::<Settings>().expect("defaults"), Settings::default());
        let at = read("strategy = { at = { steps = 3 } }").expect("valid").strategy;
        assert_eq!(at, Strategy::At { steps: 3 });
    }

    #[test]
    fn a_mistake_is_told_with_its_place_and_what_to_do() {
        let long = format!("name = 'x'\noutput = [{}", "1, ".repeat(100_000));
        let texts = [
            "name = 'x'\n[serch]\npopulation = 3",
            "[search]\npopulatoin = 3",
            "[search]\n\nquite_another = 3",
            "[search]\npop = 3",
            "strategy = 'evolutionary'",
            "strategy = 'evolvd'",
            "name = 3",
            "search = 3",
            "cores = [1, 2,\n  'x']",
            "search.population = -3",
            "search.population = 99999999999999999999",
            "search.population = 1.5",
            "strategy = { at = {} }",
            "[search]\npopulation = 0\nfresh = nan\nlevel = inf",
            "[search\npopulation = 0",
            "name = 'x'\nname = 'y'",
            &long,
        ];
        let mut messages = String::new();
        for text in texts {
            let error = miette::Report::new(read(text).expect_err(text));
            let help = error.help().map(|help| help.to_string()).unwrap_or_default();
            messages.push_str(&format!("{error}\n    help: {help}\n"));
        }
        insta::assert_snapshot!(messages);
    }

    #[test]
    fn a_mistake_in_a_flag_names_it() {
        let message = |key: &str, flag: &str, value: &str| {
            let layers = Layers::new().renamed(RENAMED).flag(key, flag, Some(value));
            layers.read::<Settings>().expect_err("wrong").to_string()
        };
        let all = [
            message("search.population", "--population", "many"),
            message("search.population", "--population", "0"),
            message("search.fresh", "--fresh", "NaN"),
            message("strategy", "--strategy", "evolutionary"),
            message("strategy", "--strategy", "x"),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn a_file_that_is_no_text_is_refused_with_the_line() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs_err::write(file.path(), b"name = 'x'\noutput = '\xff'\n").expect("written");
        let error = Layers::new().file(file.path()).expect_err("no text").to_string();
        assert!(error.ends_with("line 2 is not UTF-8 text"), "{error}");
        let error = Layers::new().file(Path::new("/nowhere/at-all")).expect_err("absent");
        assert!(error.to_string().contains("/nowhere/at-all"), "{error}");
    }
}
