//! What a program is built for, by the head of its file.

use std::io::{self, Read};
use std::path::Path;

use fs_err::File;

/// The processor that a program is for, from the head of its ELF file: the byte order is the
/// sixth byte, `e_machine` the two from the nineteenth.
pub(crate) fn elf_machine(path: &Path) -> io::Result<&'static str> {
    let mut head = [0; 20];
    let whole = File::open(path)?.read_exact(&mut head);
    if whole.is_err() || !head.starts_with(b"\x7fELF") {
        return Err(io::Error::other("it is not a program for Linux or Android (not an ELF file)"));
    }
    let number = match head[5] {
        2 => u16::from_be_bytes([head[18], head[19]]),
        _ => u16::from_le_bytes([head[18], head[19]]),
    };
    Ok(match number {
        3 => "x86",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        _ => "an unknown processor",
    })
}
