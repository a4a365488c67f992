//! Text from elsewhere, made fit for a terminal.

/// `text` with every character that would steer a terminal written out as an escape, such as
/// `\u{1b}`; line ends and tabs stay.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.replace("\r\n", "\n").chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            _ if steers(character) => shown.extend(character.escape_unicode()),
            _ => shown.push(character),
        }
    }
    shown
}

/// Whether `text` has a character that would steer a terminal, line ends and tabs among them.
#[must_use]
pub fn has_control_characters(text: &str) -> bool {
    text.chars().any(steers)
}

/// Control characters, and those that change the direction of writing.
fn steers(character: char) -> bool {
    let directions = ['\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}'];
    character.is_control()
        || directions.contains(&character)
        || matches!(character, '\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_written_out() {
        assert_eq!(visible("\u{1b}[2Jred\u{7}"), "\\u{1b}[2Jred\\u{7}");
        assert_eq!(visible("a\r\nb\tc\rd"), "a\nb\tc\\u{d}d");
        assert_eq!(visible("\u{9b}31m \u{202e}cba"), "\\u{9b}31m \\u{202e}cba");
        assert_eq!(visible("50 °C, 日本"), "50 °C, 日本");
        assert!(has_control_characters("a\nb") && !has_control_characters("a b"));
    }
}
