//! What goes into a network and what comes out of it: names, shapes and meaning.
//!
//! Whoever builds a network, runs it, trains it or compares its outputs reads them here.
//! [`INPUTS`] are the names of what goes in. [`HEADS`] describes, as data, every head that a
//! network may end in: what it reads, the linear layer it applies under its Hugging Face
//! name, and the outputs it gives.
//!
//! ```
//! use atb_interface::{Axis, Head, Meaning, Tokens};
//!
//! let parameters = ["pooler.dense.weight", "classifier.weight"];
//! let heads = Head::of_checkpoint(|name| parameters.contains(&name), None);
//! let logits = &heads[0].outputs[0];
//! assert_eq!((logits.name, logits.meaning), ("logits", Meaning::ClassLogits));
//! assert_eq!(logits.axes, [Axis::Batch, Axis::Width]);
//! assert_eq!(heads[0].tokens(), Tokens::First);
//! ```

mod head;
mod values;

pub use head::{Axis, Dense, HEADS, Head, Meaning, OutputSpec, Reads, Tokens, Width};
pub use values::{Inputs, Output, OutputShape, Outputs, larger};

/// Token ids, `[batch, sequence]`.
pub const INPUT_IDS: &str = "input_ids";

/// One for tokens, zero for padding, `[batch, sequence]`.
pub const ATTENTION_MASK: &str = "attention_mask";

/// Zero for the first text, one for the second, `[batch, sequence]`.
pub const TOKEN_TYPE_IDS: &str = "token_type_ids";

/// Names of a network's inputs, in order.
pub const INPUTS: [&str; 3] = [INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS];

/// The weight tensor whose rows are the words.
pub const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";
