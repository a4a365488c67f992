//! Where our part of a remote shell's output begins.

use std::io::{self, BufRead, Read};

/// What a remote shell prints right before our part of its output begins; whatever a login
/// shell prints before it is no concern of ours.
const MARKER: &str = "--- atb ---";

/// `script` behind the marker. The empty line ends what a greeting may have left open.
pub(crate) fn marked(script: &str) -> String {
    format!("echo; echo '{MARKER}'; {script}")
}

/// Most that may stand before the marker, in bytes.
const GREETING_LIMIT: u64 = 1 << 20;

/// Reads up to and including the marker's line; gives the last line before it, and whether
/// the marker came at all.
///
/// # Errors
/// If the greeting does not come to an end.
pub(crate) fn skip_to_marker(output: &mut impl BufRead) -> io::Result<(String, bool)> {
    let mut last = String::new();
    let mut line = Vec::new();
    let mut left = GREETING_LIMIT;
    loop {
        line.clear();
        let length = output.by_ref().take(left).read_until(b'\n', &mut line)? as u64;
        left -= length;
        if left == 0 {
            let text =
                format!("it printed more than {GREETING_LIMIT} bytes before the agent began");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if length == 0 {
            return Ok((last, false));
        }
        let text = String::from_utf8_lossy(&line);
        match text.trim() {
            MARKER => return Ok((last, true)),
            "" => {}
            text => text.clone_into(&mut last),
        }
    }
}

/// What stands behind the marker's line.
pub(crate) fn after_marker(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(MARKER)?;
    Some(rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_greeting_is_told_from_the_answer() {
        let output = Command::new("sh")
            .args(["-c", &format!("printf 'Welcome! '; {}", marked("echo yes"))])
            .output()
            .expect("sh starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(after_marker(&text), Some("yes\n"));
        assert_eq!(after_marker("This account is not available.\n"), None);
    }

    #[test]
    fn a_greeting_without_an_end_is_an_error() {
        let mut endless = BufReader::new(io::repeat(b'x'));
        let error = skip_to_marker(&mut endless).expect_err("endless").to_string();
        assert!(error.contains("before the agent began"), "{error}");
        let mut endless = BufReader::new(io::repeat(b'\n'));
        assert!(skip_to_marker(&mut endless).is_err());
    }
}
