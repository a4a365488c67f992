//! Values with where they were given, and their deserialization, whose errors know the key.

use std::collections::{BTreeMap, btree_map};
use std::fmt::{self, Display};

use serde::de::value::StringDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::check::shortened;
use crate::error::Source;

/// A value and where it was given.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) source: Source,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Boolean(bool),
    Integer(i128),
    Float(f64),
    String(String),
    /// The text of a flag, which becomes what the settings' type asks for.
    Text(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// Something that no setting takes.
    Other(String),
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::String(text) => write!(f, "\"{}\"", shortened(text)),
            Self::Text(text) => write!(f, "`{}`", shortened(text)),
            Self::Array(_) => f.write_str("a list"),
            Self::Table(_) => f.write_str("a table"),
            Self::Other(text) => f.write_str(&shortened(text)),
        }
    }
}

impl Node {
    /// Puts `layer` over this: its values before those that are here.
    pub(crate) fn overlay(&mut self, layer: Node) {
        match (&mut self.value, layer.value) {
            (Value::Table(here), Value::Table(above)) => {
                for (key, node) in above {
                    match here.get_mut(&key) {
                        Some(below) => below.overlay(node),
                        None => _ = here.insert(key, node),
                    }
                }
                if self.source == Source::Default {
                    self.source = layer.source;
                }
            }
            (here, above) => {
                *here = above;
                self.source = layer.source;
            }
        }
    }

    /// The value of a key such as `search.population`.
    pub(crate) fn find(&self, key: &str) -> Option<&Node> {
        key.split('.').try_fold(self, |node, name| node.inner(name))
    }

    /// Removes the value of a key such as `search.population`, if there is one.
    pub(crate) fn remove(&mut self, key: &str) {
        let Value::Table(table) = &mut self.value else { return };
        match key.split_once('.') {
            None => _ = table.remove(key),
            Some((name, rest)) => {
                if let Some(inner) = table.get_mut(name) {
                    inner.remove(rest);
                }
            }
        }
    }

    /// Where the innermost value on the way along `path` was given.
    pub(crate) fn source_at(&self, path: &[String]) -> Source {
        let mut node = self;
        for name in path {
            match node.inner(name) {
                Some(inner) => node = inner,
                None => break,
            }
        }
        node.source.clone()
    }

    fn inner(&self, name: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(table) => table.get(name),
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        }
    }

    pub(crate) fn deserializer(&self) -> &Value {
        &self.value
    }
}

/// What is wrong with a value, and the keys that lead to it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) path: Vec<String>,
    pub(crate) problem: Problem,
}

#[derive(Debug)]
pub(crate) enum Problem {
    UnknownKey { key: String, known: &'static [&'static str] },
    UnknownVariant { variant: String, known: &'static [&'static str] },
    Value { value: String, expected: String },
    Missing { key: &'static str },
    Other(String),
}

impl Failure {
    fn new(problem: Problem) -> Self {
        Self { path: Vec::new(), problem }
    }

    fn value(value: &Value, expected: &str) -> Self {
        Self::new(Problem::Value { value: value.to_string(), expected: expected.to_owned() })
    }

    fn within(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.path.join("."), self.problem)
    }
}

impl std::error::Error for Failure {}

/// What a type expects, in a user's words.
fn in_words(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number, not negative".to_owned(),
        "a nonzero usize" | "a nonzero u64" | "a nonzero u32" => {
            "a whole number of at least 1".to_owned()
        }
        "i64" | "i32" => "a whole number".to_owned(),
        "f64" | "f32" => "a number".to_owned(),
        "a string" | "path string" => "a text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        _ => match text.strip_prefix("struct ") {
            Some(_) => "a table".to_owned(),
            None => text,
        },
    }
}

/// What was found, in a user's words.
fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(text) => format!("\"{}\"", shortened(text)),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => shortened(&other.to_string()),
    }
}

impl de::Error for Failure {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Problem::Other(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_value(unexpected, expected)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Problem::Value { value: found(unexpected), expected: in_words(expected) })
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { key: shortened(field), known })
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownVariant { variant: variant.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Problem::Missing { key })
    }
}

/// Numbers and truth values, which the text of a flag becomes where they are asked for.
macro_rules! parsed {
    ($($deserialize:ident, $visit:ident, $number:ty, $expected:literal;)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            match self {
                Value::Text(text) => match text.trim().parse::<$number>() {
                    Ok(value) => visitor.$visit(value),
                    Err(_) => Err(Failure::value(self, $expected)),
                },
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Value {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self {
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Integer(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (_, Ok(value)) => visitor.visit_u64(value),
                (Ok(value), _) => visitor.visit_i64(value),
                _ => Err(Failure::new(Problem::Value {
                    value: value.to_string(),
                    expected: "a number of at most 64 bits".to_owned(),
                })),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) => visitor.visit_str(text),
            Value::Text(text) => {
                let trimmed = text.trim();
                if let Ok(value) = trimmed.parse() {
                    visitor.visit_u64(value)
                } else if let Ok(value) = trimmed.parse() {
                    visitor.visit_i64(value)
                } else if let Ok(value) = trimmed.parse() {
                    visitor.visit_f64(value)
                } else if let Ok(value) = trimmed.parse() {
                    visitor.visit_bool(value)
                } else {
                    visitor.visit_str(text)
                }
            }
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), index: 0 }),
            Value::Table(table) => visitor.visit_map(Entries { entries: table.iter(), next: None }),
            Value::Other(text) => Err(Failure::new(Problem::Value {
                value: shortened(text),
                expected: in_words(&visitor),
            })),
        }
    }

    parsed! {
        deserialize_bool, visit_bool, bool, "true or false";
        deserialize_i8, visit_i8, i8, "a whole number";
        deserialize_i16, visit_i16, i16, "a whole number";
        deserialize_i32, visit_i32, i32, "a whole number";
        deserialize_i64, visit_i64, i64, "a whole number";
        deserialize_u8, visit_u8, u8, "a whole number, not negative";
        deserialize_u16, visit_u16, u16, "a whole number, not negative";
        deserialize_u32, visit_u32, u32, "a whole number, not negative";
        deserialize_u64, visit_u64, u64, "a whole number, not negative";
        deserialize_f32, visit_f32, f32, "a number";
        deserialize_f64, visit_f64, f64, "a number";
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self {
            Value::Text(text) => visitor.visit_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self {
            Value::String(text) | Value::Text(text) => {
                visitor.visit_enum(text.as_str().into_deserializer())
            }
            Value::Table(table) => match table.iter().next() {
                Some(variant) if table.len() == 1 => visitor.visit_enum(Variant(variant)),
                _ => Err(Failure::value(self, "a table with one key")),
            },
            _ => Err(Failure::value(self, "a text in quotes")),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

struct Items<'de> {
    items: std::slice::Iter<'de, Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        let item = seed.deserialize(&item.value);
        item.map(Some).map_err(|failure| failure.within(&index.to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'de> {
    entries: btree_map::Iter<'de, String, Node>,
    next: Option<(&'de String, &'de Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        self.next = self.entries.next();
        let Some((key, _)) = self.next else { return Ok(None) };
        let key_deserializer: StringDeserializer<Failure> = key.clone().into_deserializer();
        seed.deserialize(key_deserializer).map(Some).map_err(|failure| failure.within(key))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let Some((key, node)) = self.next.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(&node.value).map_err(|failure| failure.within(key))
    }
}

/// An enum's variant with content: a table of one key.
struct Variant<'de>((&'de String, &'de Node));

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Failure;
    type Variant = &'de Value;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Failure> {
        let Variant((key, node)) = self;
        let name: StringDeserializer<Failure> = key.clone().into_deserializer();
        Ok((seed.deserialize(name)?, &node.value))
    }
}

impl<'de> de::VariantAccess<'de> for &'de Value {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Err(Failure::value(self, "nothing"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }
}
