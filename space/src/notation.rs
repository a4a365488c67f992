//! Reading and writing the notation `L-dm-df-h-dq`, per-layer lists included.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::architecture::check_layers;
use crate::{ArchError, Architecture, Layer};

/// Why a text is not an architecture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NotationError {
    #[error("`{text}` has {found} parts where L-dm-df-h-dq has five (example: 5-564-1054-8-512)")]
    Parts { text: String, found: usize },
    #[error("in `{text}`, `{part}` is not a whole number (it stands for {what})")]
    Number { text: String, part: String, what: &'static str },
    #[error("in `{text}`, the list for {what} has {found} values for {layers} layers")]
    ListLength { text: String, what: &'static str, found: usize, layers: usize },
    #[error("`{text}` is not an architecture: {problem}")]
    Invalid { text: String, problem: ArchError },
}

/// The number that `digits` are; the largest there is if they are too many for it.
fn whole_number(digits: &str) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(usize::MAX))
}

impl FromStr for Architecture {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Self, NotationError> {
        let parts: Vec<&str> = text.trim().split('-').collect();
        let [layers, hidden, intermediate, heads, qkv] = parts[..] else {
            return Err(NotationError::Parts { text: text.to_owned(), found: parts.len() });
        };
        let number = |part: &str, what| {
            whole_number(part.trim()).ok_or_else(|| NotationError::Number {
                text: text.to_owned(),
                part: part.to_owned(),
                what,
            })
        };
        let num_layers = number(layers, "the number of layers")?;
        let invalid = |problem| NotationError::Invalid { text: text.to_owned(), problem };
        // Before a list of so many is made.
        check_layers(num_layers).map_err(invalid)?;
        let per_layer =
            |part: &str, what| match part.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
            {
                None => Ok(vec![number(part, what)?; num_layers]),
                Some(list) => {
                    let values: Vec<usize> =
                        list.split(',').map(|item| number(item, what)).collect::<Result<_, _>>()?;
                    if values.len() == num_layers {
                        Ok(values)
                    } else {
                        Err(NotationError::ListLength {
                            text: text.to_owned(),
                            what,
                            found: values.len(),
                            layers: num_layers,
                        })
                    }
                }
            };
        let hidden = number(hidden, "the hidden size")?;
        let intermediate = per_layer(intermediate, "the intermediate size")?;
        let heads = per_layer(heads, "the number of attention heads")?;
        let qkv = per_layer(qkv, "the q|k|v size")?;
        let layers = (0..num_layers)
            .map(|i| Layer { intermediate: intermediate[i], heads: heads[i], qkv: qkv[i] })
            .collect();
        Architecture::new(hidden, layers).map_err(invalid)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = format!("{}-{}", self.num_layers(), self.hidden());
        for size in [
            (|layer: &Layer| layer.intermediate) as fn(&Layer) -> usize,
            |layer| layer.heads,
            |layer| layer.qkv,
        ] {
            let values: Vec<usize> = self.layers().iter().map(size).collect();
            out.push('-');
            if values.iter().all(|value| *value == values[0]) {
                out.push_str(&values[0].to_string());
            } else {
                let list: Vec<String> = values.iter().map(usize::to_string).collect();
                out.push_str(&format!("[{}]", list.join(",")));
            }
        }
        f.pad(&out)
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parses() {
        for id in ["5-564-1054-8-512", "3-320-[608,608,512]-4-256", "2-128-512-[2,4]-[64,128]"] {
            let arch: Architecture = id.parse().expect(id);
            assert_eq!(arch.to_string(), id);
            let json = serde_json::to_string(&arch).expect("serialises");
            assert_eq!(json, format!("\"{id}\""));
            assert_eq!(serde_json::from_str::<Architecture>(&json).expect("reads back"), arch);
        }
    }

    #[test]
    fn a_list_of_equal_values_is_the_same_architecture() {
        let listed: Architecture = "2-128-[512,512]-2-64".parse().expect("parses");
        assert_eq!(listed.to_string(), "2-128-512-2-64");
    }

    #[test]
    fn errors_name_the_part() {
        let error = |text: &str| text.parse::<Architecture>().expect_err(text).to_string();
        assert_eq!(
            error("5-564-1054-8"),
            "`5-564-1054-8` has 4 parts where L-dm-df-h-dq has five (example: 5-564-1054-8-512)"
        );
        assert_eq!(
            error("5-wide-1054-8-512"),
            "in `5-wide-1054-8-512`, `wide` is not a whole number (it stands for the hidden size)"
        );
        assert_eq!(
            error("3-320-[608,512]-4-256"),
            "in `3-320-[608,512]-4-256`, the list for the intermediate size has 2 values for 3 layers"
        );
        assert_eq!(
            error("4-320-608-5-256"),
            "`4-320-608-5-256` is not an architecture: 5 attention heads do not divide the q|k|v size \
             256 of layer 0 (nearest that they divide: 255)"
        );
        assert_eq!(
            error("999999-320-608-5-255"),
            "`999999-320-608-5-255` is not an architecture: number of layers must be at most 1024, \
             got 999999"
        );
        assert_eq!(
            error("2-64-128-2-18446744073709551615"),
            "`2-64-128-2-18446744073709551615` is not an architecture: q|k|v size must be at most \
             1048576, got 18446744073709551615"
        );
        let error_of_huge = error(&format!("2-64-128-2-{}", "9".repeat(40)));
        assert!(error_of_huge.contains("q|k|v size must be at most 1048576"), "{error_of_huge}");
        assert_eq!(
            error("0-320-608-5-255"),
            "`0-320-608-5-255` is not an architecture: an architecture needs at least one layer"
        );
    }
}
