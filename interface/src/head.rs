//! The heads that a network may end in, as data.

/// An axis of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// One entry for each sequence of the batch.
    Batch,
    /// One entry for each token of a sequence, padding included.
    Sequence,
    /// The hidden size.
    Hidden,
    /// As many entries as the head's linear layer has outputs: labels, or the width that an
    /// embedding is projected to.
    Width,
}

/// What the values of an output stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A vector for each token.
    TokenStates,
    /// The pooler's vector for each text.
    Pooled,
    /// One logit for each text and label.
    ClassLogits,
    /// One logit for each token and label.
    TokenLogits,
    /// One logit for each token: the answer begins there.
    SpanStart,
    /// One logit for each token: the answer ends there.
    SpanEnd,
    /// A vector for each text, to be compared with others.
    Embedding,
}

/// Which tokens of the last layer a head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// The first token alone.
    First,
    /// Every token that is not padding.
    Real,
}

/// What a head's linear layer is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The last layer's state of every token.
    States,
    /// The last layer's state of the first token.
    FirstState,
    /// The mean of the last layer's states over the tokens that are not padding.
    MeanState,
    /// The output of the head [`Head::POOLER`].
    Pooled,
}

/// How many outputs a head's linear layer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The hidden size.
    Hidden,
    /// This many.
    Exactly(usize),
    /// As many as the checkpoint's weight has.
    Any,
}

/// The linear layer of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dense {
    /// Its Hugging Face name, without `.weight` and `.bias`.
    pub module: &'static str,
    /// Whether it has a bias.
    pub bias: bool,
    /// Its number of outputs.
    pub width: Width,
    /// Whether tanh follows it.
    pub tanh: bool,
}

impl Dense {
    /// The name of its weight, which lies as `[outputs, inputs]`.
    #[must_use]
    pub fn weight(&self) -> String {
        format!("{}.weight", self.module)
    }

    /// The name of its bias, where it has one.
    #[must_use]
    pub fn bias(&self) -> Option<String> {
        self.bias.then(|| format!("{}.bias", self.module))
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = String> {
        [Some(self.weight()), self.bias()].into_iter().flatten()
    }

    /// Its number of outputs in a model of this hidden size whose weight has `rows` rows;
    /// `None` if they are not as many as it must have.
    #[must_use]
    pub fn outputs(&self, hidden: usize, rows: usize) -> Option<usize> {
        let fits = match self.width {
            Width::Hidden => rows == hidden,
            Width::Exactly(width) => rows == width,
            Width::Any => rows > 0,
        };
        fits.then_some(rows)
    }
}

/// One output of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    /// Its name, as Hugging Face's exports have it.
    pub name: &'static str,
    /// What its values stand for.
    pub meaning: Meaning,
    /// Its axes.
    pub axes: &'static [Axis],
}

/// What a network ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The name that it is asked for by.
    pub name: &'static str,
    /// What it reads.
    pub reads: Reads,
    /// What it applies to that; `None` gives what it reads as it is.
    pub dense: Option<Dense>,
    /// What it gives: the result as one output, or each column of it as one.
    pub outputs: &'static [OutputSpec],
    /// The end of the name of Hugging Face's class for a model with this head; a model that
    /// has it gives the head's outputs alone.
    pub task: Option<&'static str>,
}

const fn dense(module: &'static str, width: Width) -> Option<Dense> {
    Some(Dense { module, bias: true, width, tanh: false })
}

/// Every head that there is.
pub static HEADS: [Head; 6] = [
    Head::STATES,
    Head::POOLER,
    Head {
        name: "sequence-classification",
        reads: Reads::Pooled,
        dense: dense("classifier", Width::Any),
        outputs: &[OutputSpec {
            name: "logits",
            meaning: Meaning::ClassLogits,
            axes: &[Axis::Batch, Axis::Width],
        }],
        task: Some("ForSequenceClassification"),
    },
    Head {
        name: "token-classification",
        reads: Reads::States,
        dense: dense("classifier", Width::Any),
        outputs: &[OutputSpec {
            name: "logits",
            meaning: Meaning::TokenLogits,
            axes: &[Axis::Batch, Axis::Sequence, Axis::Width],
        }],
        task: Some("ForTokenClassification"),
    },
    Head {
        name: "question-answering",
        reads: Reads::States,
        dense: dense("qa_outputs", Width::Exactly(2)),
        outputs: &[
            OutputSpec {
                name: "start_logits",
                meaning: Meaning::SpanStart,
                axes: &[Axis::Batch, Axis::Sequence],
            },
            OutputSpec {
                name: "end_logits",
                meaning: Meaning::SpanEnd,
                axes: &[Axis::Batch, Axis::Sequence],
            },
        ],
        task: Some("ForQuestionAnswering"),
    },
    Head {
        name: "embedding",
        reads: Reads::MeanState,
        dense: Some(Dense { module: "kd_projection", bias: false, width: Width::Any, tanh: false }),
        outputs: &[OutputSpec {
            name: "sentence_embedding",
            meaning: Meaning::Embedding,
            axes: &[Axis::Batch, Axis::Width],
        }],
        task: None,
    },
];

impl Head {
    /// The hidden states of the last layer.
    pub const STATES: Head = Head {
        name: "states",
        reads: Reads::States,
        dense: None,
        outputs: &[OutputSpec {
            name: "last_hidden_state",
            meaning: Meaning::TokenStates,
            axes: &[Axis::Batch, Axis::Sequence, Axis::Hidden],
        }],
        task: None,
    };

    /// BERT's pooler.
    pub const POOLER: Head = Head {
        name: "pooler",
        reads: Reads::FirstState,
        dense: Some(Dense { module: "pooler.dense", bias: true, width: Width::Hidden, tanh: true }),
        outputs: &[OutputSpec {
            name: "pooler_output",
            meaning: Meaning::Pooled,
            axes: &[Axis::Batch, Axis::Hidden],
        }],
        task: None,
    };

    /// The head of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Head> {
        HEADS.iter().find(|head| head.name == name)
    }

    /// Which tokens of the last layer it reads.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        match self.reads {
            Reads::FirstState | Reads::Pooled => Tokens::First,
            Reads::States | Reads::MeanState => Tokens::Real,
        }
    }

    /// Names of the weights that it needs, those of the head it reads included.
    #[must_use]
    pub fn weights(&self) -> Vec<String> {
        let below = if self.reads == Reads::Pooled { Self::POOLER.weights() } else { vec![] };
        below.into_iter().chain(self.dense.map(|dense| dense.weight())).collect()
    }

    /// The heads that a model gives the outputs of when nobody chooses: its task's if it has
    /// been trained for one, else the hidden states and, where they are there, pooler and embedding.
    ///
    /// `has` tells whether the checkpoint has a parameter, `class` is what it says of its
    /// class (`BertForTokenClassification`). Without that, weights that fit several heads are
    /// taken for the first of [`HEADS`].
    #[must_use]
    pub fn of_checkpoint(has: impl Fn(&str) -> bool, class: Option<&str>) -> Vec<&'static Head> {
        let complete = |head: &&Head| head.weights().iter().all(|name| has(name));
        let of_task = |head: &&Head| head.task.is_some();
        let of_class = |head: &&Head| {
            head.task.is_some_and(|task| class.is_some_and(|class| class.ends_with(task)))
        };
        let task = HEADS.iter().filter(complete).find(of_class);
        match task.or_else(|| HEADS.iter().filter(of_task).find(complete)) {
            Some(head) => vec![head],
            None => HEADS.iter().filter(|head| head.task.is_none()).filter(complete).collect(),
        }
    }
}

impl OutputSpec {
    /// The output that a model calls `name`, of as many axes as it has there.
    #[must_use]
    pub fn of(name: &str, axes: usize) -> Option<&'static OutputSpec> {
        let mut outputs = HEADS.iter().flat_map(|head| head.outputs);
        outputs.find(|output| output.name == name && output.axes.len() == axes)
    }

    /// Whether it holds something for each token, padding included.
    #[must_use]
    pub fn is_by_token(&self) -> bool {
        self.axes.starts_with(&[Axis::Batch, Axis::Sequence])
    }

    /// Its shape for inputs `[batch, sequence]`, of a model of this hidden size and a head
    /// whose linear layer has `width` outputs.
    #[must_use]
    pub fn shape(&self, [batch, sequence]: [usize; 2], hidden: usize, width: usize) -> Vec<usize> {
        let size = |axis: &Axis| match axis {
            Axis::Batch => batch,
            Axis::Sequence => sequence,
            Axis::Hidden => hidden,
            Axis::Width => width,
        };
        self.axes.iter().map(size).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_outputs_are_told_apart() {
        for (i, head) in HEADS.iter().enumerate() {
            assert_eq!(Head::named(head.name), Some(head));
            for other in &HEADS[i + 1..] {
                assert_ne!(head.name, other.name);
                for (one, two) in head.outputs.iter().zip(other.outputs) {
                    assert!(one.name != two.name || one.axes.len() != two.axes.len());
                }
            }
            for output in head.outputs {
                assert_eq!(OutputSpec::of(output.name, output.axes.len()), Some(output));
            }
            // Several outputs are the columns of the result, one each.
            let columns = head.dense.map(|dense| dense.width);
            assert!(head.outputs.len() == 1 || columns == Some(Width::Exactly(head.outputs.len())));
        }
    }

    #[test]
    fn a_checkpoint_gives_what_it_was_trained_for() {
        let chosen = |parameters: &[&str], class: Option<&str>| -> Vec<&str> {
            let heads = Head::of_checkpoint(|name| parameters.contains(&name), class);
            heads.iter().map(|head| head.name).collect()
        };
        let (pooler, classifier) = ("pooler.dense.weight", "classifier.weight");
        assert_eq!(chosen(&[], None), ["states"]);
        let projection = "kd_projection.weight";
        assert_eq!(chosen(&[pooler, projection], None), ["states", "pooler", "embedding"]);
        assert_eq!(chosen(&[projection, pooler, classifier], None), ["sequence-classification"]);
        assert_eq!(chosen(&[pooler, classifier], None), ["sequence-classification"]);
        assert_eq!(chosen(&[classifier], None), ["token-classification"]);
        let class = Some("BertForTokenClassification");
        assert_eq!(chosen(&[pooler, classifier], class), ["token-classification"]);
        assert_eq!(chosen(&["qa_outputs.weight"], Some("BertModel")), ["question-answering"]);
        assert_eq!(chosen(&[pooler], Some("BertForQuestionAnswering")), ["states", "pooler"]);
    }
}
