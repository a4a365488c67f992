//! What all cases share: a small model, measurements and a predictor.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The architecture of the folder `superplm`.
pub(crate) const WHOLE: &str = "2-48-64-12-48";

/// A space whose largest is [`WHOLE`].
pub(crate) const SPACE: &str = "name = \"small\"\nlayers = { min = 1, max = 2 }\n\
                                hidden = { min = 36, max = 48, step = 12 }\n\
                                intermediate = { min = 32, max = 64, step = 16 }\n\
                                heads = 12\nqkv = { min = 36, max = 48, step = 12 }\n";

struct Shared {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().canonicalize().expect("there");
    std::fs::write(path.join("space.toml"), SPACE).expect("writes");
    for name in ["cache", "home"] {
        std::fs::create_dir(path.join(name)).expect("creates");
    }
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(path.join("cache"), private).expect("permits");
    std::fs::write(path.join("text.txt"), "A text.\nAnother one.\n\nA document.\n".repeat(20))
        .expect("writes");
    let atb = |arguments: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_atb"))
            .args(arguments.split_whitespace())
            .current_dir(&path)
            .output()
            .expect("atb starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    atb(&format!("extract --superplm auto --arch {WHOLE} --out superplm"));
    atb(&format!(
        "profile --target simulated-phone --space space.toml --samples 12 --retests 3 \
         --baseline {WHOLE} --sequence 16"
    ));
    atb("fit measurements.jsonl --space space.toml");
    atb("export superplm --sequence 16 --out bundle");
    Shared { _folder: folder, path }
});

/// Where something lies that all cases share.
pub(crate) fn fixture(name: &str) -> PathBuf {
    SHARED.path.join(name)
}

/// The text of a shared file.
pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).expect("reads")
}

/// Makes `to` a link to `from`: of a folder a folder of links, so that what is written to it does
/// not reach the others.
pub(crate) fn link(from: &Path, to: &Path) {
    if !from.is_dir() {
        return std::os::unix::fs::symlink(from, to).expect("links");
    }
    std::fs::create_dir_all(to).expect("creates");
    for entry in std::fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        link(&entry.path(), &to.join(entry.file_name()));
    }
}
