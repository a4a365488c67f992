//! How the project's files are read and written.
//!
//! - [`write()`] and [`Staging`]: files and folders that appear whole or not at all. A crash, a
//!   full disk or Ctrl-C in the middle leaves the old file as it was.
//! - [`check_schema`]: the one check of the `schema` that every format carries, and
//!   [`read_json`], [`write_json`] for formats that are one JSON document; [`difference`] of two.
//! - [`JsonLines`] and [`Appender`]: files that grow a line at a time.
//! - [`Lock`]: one writer at a time.
//! - [`digest`] and its like: SHA-256 in hexadecimal.
//! - [`stored_members`] and [`write_stored`]: archives that are read in place.
//! - [`cache_folder`]: where files are kept that can be had again.
//!
//! ```
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("numbers.txt");
//! atb_files::write(&path, b"1 2 3\n")?;
//! assert_eq!(atb_files::digest_of_file(&path)?, atb_files::digest(b"1 2 3\n"));
//! # Ok::<(), std::io::Error>(())
//! ```

mod archive;
mod cache;
mod digest;
mod error;
mod json;
mod json_lines;
mod leftovers;
mod lock;
mod whole;

pub use archive::{stored_members, write_stored};
pub use cache::{CacheError, cache_folder};
pub use digest::{digest, digest_of_file, digest_of_parts, hex};
pub use error::{FileError, JsonProblem};
pub use json::{
    Difference, check_schema, difference, parse_json, read_json, without_byte_order_mark,
    write_json,
};
pub use json_lines::{Appender, JsonLines, LINE_LIMIT, TornLine, json_line};
pub use lock::Lock;
pub use whole::{Staging, folder_of, write, write_program};
