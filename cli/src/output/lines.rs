//! The lines of a CSV, made of whatever can be serialized: fields of fields have names with dots,
//! lists of values stand in one cell, lists of more than values are left out.

use std::fmt;

use atb_settings::visible;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A serialized value with its fields in the order of their declaration.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// A value, as a cell has it; empty for none.
    Value(String),
    /// A list.
    List(Vec<Node>),
    /// Fields by their names.
    Fields(Vec<(String, Node)>),
}

/// Lines with named columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lines(Vec<Vec<(String, String)>>);

impl Lines {
    /// A line for each of `records`.
    pub(crate) fn of<T: Serialize>(records: &[T]) -> serde_json::Result<Self> {
        let line = |record: &T| -> serde_json::Result<Vec<(String, String)>> {
            let mut line = Vec::new();
            flatten("", Node::of(record)?, &mut line);
            Ok(line)
        };
        records.iter().map(line).collect::<Result<_, _>>().map(Self)
    }

    /// The names of all columns, in the order in which they appear first.
    fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = Vec::new();
        for (name, _) in self.0.iter().flatten() {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
        // What is absent in one line has no fields there, and a column of its own that is empty.
        let has_fields = |name: &str| {
            let mut others = self.0.iter().flatten();
            others.any(|(other, _)| {
                other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
            })
        };
        columns.retain(|name| !has_fields(name));
        columns
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns();
        let cell = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.to_owned(),
        };
        let mut write = |cells: Vec<String>| writeln!(f, "{}", cells.join(","));
        write(columns.iter().map(|name| cell(name)).collect())?;
        for line in &self.0 {
            let value = |name: &&str| {
                let found = line.iter().find(|(known, _)| known == name);
                found.map_or_else(String::new, |(_, value)| cell(value))
            };
            write(columns.iter().map(value).collect())?;
        }
        Ok(())
    }
}

fn flatten(name: &str, node: Node, line: &mut Vec<(String, String)>) {
    match node {
        Node::Value(value) => line.push((name.to_owned(), value)),
        Node::List(items) => {
            let value = |item| match item {
                Node::Value(value) => Some(value),
                _ => None,
            };
            if let Some(values) = items.into_iter().map(value).collect::<Option<Vec<_>>>() {
                line.push((name.to_owned(), values.join(" ")));
            }
        }
        Node::Fields(fields) => {
            for (field, node) in fields {
                let name = if name.is_empty() { field } else { format!("{name}.{field}") };
                flatten(&name, node, line);
            }
        }
    }
}

impl Node {
    /// What `value` serializes to.
    fn of(value: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::from_str(&serde_json::to_string(value)?)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Value(String::new()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Value(visible(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Node::List(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
                let mut all = Vec::new();
                while let Some(field) = fields.next_entry()? {
                    all.push(field);
                }
                Ok(Node::Fields(all))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Line {
        zeta: u8,
        parts: Option<Parts>,
        list: Vec<f64>,
        records: Vec<Parts>,
    }

    #[derive(Serialize)]
    struct Parts {
        beta: f64,
        alpha: i8,
    }

    #[test]
    fn columns_are_in_the_order_of_declaration_with_fields_of_fields() {
        let parts = || Parts { beta: 0.1, alpha: -2 };
        let lines = Lines::of(&[
            Line { zeta: 1, parts: None, list: vec![1.5, 2.0], records: vec![parts()] },
            Line { zeta: 2, parts: Some(parts()), list: vec![], records: vec![parts()] },
        ]);
        let csv = lines.expect("lines").to_string();
        assert_eq!(csv, "zeta,list,parts.beta,parts.alpha\n1,1.5 2,,\n2,,0.1,-2\n");
    }
}
