//! Lines from a device, none of which is longer than the host allows.

use std::io::{self, BufRead, Read};

/// Longest line that an agent may send, in bytes; a record of a measurement has some
/// thousands.
pub(crate) const LINE_LIMIT: usize = 64 << 20;

/// The next line with its end, if it has one; empty at the end of `input`.
///
/// # Errors
/// If it is longer than `limit` bytes or not UTF-8.
pub(crate) fn read_line(input: &mut impl BufRead, limit: usize) -> io::Result<String> {
    let mut line = Vec::new();
    input.by_ref().take(limit as u64 + 1).read_until(b'\n', &mut line)?;
    if line.len() > limit {
        let text = format!("it sent a line of more than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    String::from_utf8(line)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it sent a line that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_is_an_error_and_not_memory() {
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        let error = read_line(&mut endless, 1000).expect_err("too long").to_string();
        assert_eq!(error, "it sent a line of more than 1000 bytes");
        let mut input = &b"one\nhalf"[..];
        assert_eq!(read_line(&mut input, 4).expect("fits"), "one\n");
        assert_eq!(read_line(&mut input, 4).expect("fits"), "half");
        assert_eq!(read_line(&mut input, 4).expect("the end"), "");
        assert!(read_line(&mut &b"\xff\n"[..], 4).is_err());
    }
}
