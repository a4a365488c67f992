//! The kept inputs of every fuzz target, through the bodies that the fuzzer runs.

use std::fs;
use std::path::Path;

use atb_fuzz_bodies::TARGETS;

#[test]
fn no_kept_input_panics() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for target in TARGETS {
        let folder = corpora.join(target.name);
        let mut kept: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        kept.sort();
        assert!(!kept.is_empty(), "{} has no kept inputs", target.name);
        for path in kept {
            let data = fs::read(&path).expect("reads");
            if std::panic::catch_unwind(|| (target.run)(&data)).is_err() {
                panic!("{} panics at {}", target.name, path.display());
            }
        }
    }
}
