//! Zip archives whose members lie in them as they are, so that they are read in place.

use std::collections::HashMap;
use std::io::{self, Cursor, Seek, Write};
use std::ops::Range;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Where each member of a zip archive lies in its bytes.
///
/// # Errors
/// What is wrong with it: it is none, a member is compressed, encrypted or cut short.
pub fn stored_members(bytes: &[u8]) -> Result<HashMap<String, Range<usize>>, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let mut members = HashMap::new();
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(|error| error.to_string())?;
        let name = member.name().map_err(|error| error.to_string())?.into_owned();
        if member.compression() != CompressionMethod::Stored || member.encrypted() {
            return Err(format!("its member {name} is compressed or encrypted"));
        }
        let place = member.data_start().and_then(|start| {
            let (start, length) =
                (usize::try_from(start).ok()?, usize::try_from(member.size()).ok()?);
            let end = start.checked_add(length)?;
            (end <= bytes.len()).then_some(start..end)
        });
        let place = place.ok_or_else(|| format!("its member {name} is cut short"))?;
        members.insert(name, place);
    }
    Ok(members)
}

/// Writes a zip archive of members that are not compressed. Each begins at a multiple of
/// `alignment` bytes, and the same members give the same bytes.
///
/// # Errors
/// If `output` cannot be written to.
pub fn write_stored<'a>(
    output: impl Write + Seek,
    alignment: u16,
    members: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> io::Result<()> {
    let mut writer = ZipWriter::new(output);
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(alignment);
    for (name, content) in members {
        let large = u32::try_from(content.len()).is_err();
        writer.start_file(name, options.large_file(large)).map_err(io::Error::from)?;
        writer.write_all(content)?;
    }
    writer.finish().map_err(io::Error::from)?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        write_stored(&mut bytes, 64, [("one", &b"1"[..]), ("two", &[2; 100])]).expect("writes");
        bytes.into_inner()
    }

    #[test]
    fn members_are_read_in_place_and_begin_where_they_are_asked_to() {
        let bytes = archive();
        assert_eq!(bytes, archive());
        let members = stored_members(&bytes).expect("reads");
        assert_eq!(members.len(), 2);
        assert_eq!(&bytes[members["one"].clone()], b"1");
        assert_eq!(bytes[members["two"].clone()], [2; 100]);
        assert!(members.values().all(|place| place.start % 64 == 0));
    }

    #[test]
    fn what_is_cut_short_is_refused_wherever_it_is_cut() {
        let bytes = archive();
        for length in 0..bytes.len() {
            assert!(stored_members(&bytes[..length]).is_err(), "{length}");
        }
    }
}
