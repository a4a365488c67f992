//! The header is the one that cbindgen makes of the sources.

use std::path::Path;

/// Writes the header instead of comparing it.
const UPDATE: &str = "ATB_UPDATE_HEADER";

#[test]
fn the_header_is_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join("include/autotinybert.h");
    let config =
        cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("a configuration");
    let sources = ["status", "cancellation", "model", "calls", "measure"];
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = sources.into_iter().fold(builder, |builder, source| {
        builder.with_src(folder.join("src").join(source).with_extension("rs"))
    });
    let mut made = Vec::new();
    builder.generate().expect("generates").write(&mut made);
    let made = without_safety(&String::from_utf8(made).expect("text"));
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &made).expect("writes");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == made, "{} is not current; run this test with {UPDATE}=1", path.display());
}

/// The header without the headings that only Rust asks for: the sentences stay.
fn without_safety(header: &str) -> String {
    header.replace(" * # Safety\n", "")
}
