//! What an app embeds: tokenizer and tract session.
