//! The part of a text that answers a question: windows over long texts, and the best answers.

use atb_text::{Specials, TextError, Token, Tokenizer};

/// How questions are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanSettings {
    /// Most tokens of a question, its text and the special tokens.
    pub sequence: usize,
    /// Most tokens of a question; the rest is cut off.
    pub question: usize,
    /// Tokens by which a window over a text that is too long moves.
    pub stride: usize,
    /// Most tokens of an answer.
    pub answer: usize,
    /// How many begins and ends of an answer are looked at in each window.
    pub n_best: usize,
}

impl Default for SpanSettings {
    /// As BERT's.
    fn default() -> Self {
        Self { sequence: 384, question: 64, stride: 128, answer: 30, n_best: 20 }
    }
}

/// Why there are no windows over a text.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum WindowError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] TextError),
    #[error(
        "the question is {tokens} tokens long, which leaves no room for its text in {sequence}"
    )]
    #[diagnostic(help("ask a shorter question, or export the model with a longer `--sequence`"))]
    NoRoom { tokens: usize, sequence: usize },
}

/// A question with a part of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Token ids of `[CLS] question [SEP] text [SEP]`.
    pub ids: Vec<i64>,
    /// Zero for the question's tokens, one for the text's.
    pub types: Vec<i64>,
    /// Where the text's tokens begin.
    first: usize,
    /// The bytes of the text that each of its tokens here stands for.
    bytes: Vec<(usize, usize)>,
}

impl Window {
    /// The windows over the text that a question is asked of, which cover it and overlap.
    ///
    /// # Errors
    /// [`WindowError`].
    pub fn over(
        question: &str,
        text: &str,
        tokenizer: &Tokenizer,
        settings: &SpanSettings,
    ) -> Result<Vec<Self>, WindowError> {
        let mut asked = tokenizer.tokens(question)?;
        asked.truncate(settings.question);
        let text = tokenizer.tokens(text)?;
        let Some(room) = settings.sequence.checked_sub(asked.len() + 3).filter(|room| *room > 0)
        else {
            let (tokens, sequence) = (asked.len() + 3, settings.sequence);
            return Err(WindowError::NoRoom { tokens, sequence });
        };
        let step = settings.stride.clamp(1, room);
        let mut windows = Vec::new();
        let mut start = 0;
        loop {
            let end = text.len().min(start + room);
            windows.push(Self::new(&asked, &text[start..end], tokenizer.specials()));
            if end == text.len() {
                return Ok(windows);
            }
            start += step;
        }
    }

    fn new(asked: &[Token], text: &[Token], specials: Specials) -> Self {
        let Specials { start, separator, .. } = specials;
        let ids = |tokens: &[Token]| tokens.iter().map(|token| token.id).collect::<Vec<_>>();
        let ids = [vec![start], ids(asked), vec![separator], ids(text), vec![separator]].concat();
        let first = asked.len() + 2;
        let types = (0..ids.len()).map(|at| i64::from(at >= first)).collect();
        let bytes = text.iter().map(|token| (token.start, token.end)).collect();
        Self { ids, types, first, bytes }
    }

    /// The bytes of the text that the window's tokens of it stand for, from the first to the
    /// last; `None` if it has none.
    #[must_use]
    pub fn covers(&self) -> Option<(usize, usize)> {
        Some((self.bytes.first()?.0, self.bytes.last()?.1))
    }

    /// The window's tokens at which the bytes from `start` to `end` of the text begin and end;
    /// those of `[CLS]`, zero and zero, if not all of them are in the window.
    #[must_use]
    pub fn positions(&self, start: usize, end: usize) -> (usize, usize) {
        let begins = self.bytes.iter().position(|(from, to)| *from <= start && start < *to);
        let ends = self.bytes.iter().position(|(from, to)| *from < end && end <= *to);
        match (begins, ends) {
            (Some(begins), Some(ends)) if begins <= ends => {
                (self.first + begins, self.first + ends)
            }
            _ => (0, 0),
        }
    }

    /// The likeliest answers by the logits of their begins and ends, best first; none if there
    /// is not one logit for each token.
    #[must_use]
    pub fn best(&self, begins: &[f32], ends: &[f32], settings: &SpanSettings) -> Vec<Span> {
        let text = self.first..self.first + self.bytes.len();
        let (Some(begins), Some(ends)) = (begins.get(text.clone()), ends.get(text)) else {
            return Vec::new();
        };
        let best = |logits: &[f32]| {
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            order.truncate(settings.n_best);
            order
        };
        let last = best(ends);
        let mut spans = Vec::new();
        for begin in best(begins) {
            for end in &last {
                if *end < begin || *end - begin >= settings.answer {
                    continue;
                }
                spans.push(Span {
                    start: self.bytes[begin].0,
                    end: self.bytes[*end].1,
                    score: begins[begin] + ends[*end],
                });
            }
        }
        spans.sort_by(|a, b| b.score.total_cmp(&a.score));
        spans.truncate(settings.n_best);
        spans
    }
}

/// A part of a text that may be the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The sum of the logits of its begin and end.
    pub score: f32,
}

/// The best answers over the windows of one question, each part of the text once.
#[must_use]
pub fn n_best(windows: impl IntoIterator<Item = Vec<Span>>, count: usize) -> Vec<Span> {
    let mut spans: Vec<Span> = windows.into_iter().flatten().collect();
    spans.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut best: Vec<Span> = Vec::new();
    for span in spans {
        if best.len() >= count {
            break;
        }
        if !best.iter().any(|known| (known.start, known.end) == (span.start, span.end)) {
            best.push(span);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_text() {
        const TEXT: &str = "The caf\u{e9} opened in 1973. It closed in 1981, to nobody's surprise.";
        let tokenizer = Tokenizer::bert_uncased().expect("loads");
        let settings = SpanSettings { sequence: 18, stride: 4, ..SpanSettings::default() };
        let windows =
            Window::over("When did it close?", TEXT, &tokenizer, &settings).expect("windows");
        assert!(windows.len() > 2);
        let mut covered = 0;
        for window in &windows {
            assert!(window.ids.len() <= 18);
            assert_eq!(window.ids.len(), window.types.len());
            let (from, to) = window.covers().expect("tokens of the text");
            assert!(TEXT[covered.min(from)..from].trim().is_empty());
            covered = to;
        }
        assert_eq!(covered, TEXT.len());
    }

    #[test]
    fn the_best_of_all_windows_are_told_once_each() {
        let span = |start, score| Span { start, end: start + 1, score };
        let best = n_best([vec![span(0, 1.0), span(3, 0.5)], vec![span(3, 2.0), span(5, 0.1)]], 2);
        assert_eq!(best, [span(3, 2.0), span(0, 1.0)]);
    }
}
