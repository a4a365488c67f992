//! Small projects that build and use a bundle, to begin an app with.
//!
//! [`write()`] puts one together for a [`Language`]: the bundle in one file, a program that asks it
//! whatever it gives, and what builds both. The texts are the files in `templates/`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use atb_bundle::{Bundle, BundleError};
use atb_files::Staging;
use fs_err as fs;

/// The bundle in a project.
const BUNDLE: &str = "bundle.atb";

/// What stands for the folder of autotinybert's sources in a template.
const SOURCE: &str = "@source@";

/// The language of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// A Cargo package.
    Rust,
    /// A program that make or CMake builds.
    C,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::Rust, Self::C];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
        }
    }

    /// Paths and templates of the project's files.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rust => &[
                ("Cargo.toml", include_str!("../templates/rust/Cargo.toml.in")),
                ("src/main.rs", include_str!("../templates/rust/main.rs")),
                ("README.md", include_str!("../templates/rust/README.md")),
            ],
            Self::C => &[
                ("CMakeLists.txt", include_str!("../templates/c/CMakeLists.txt")),
                ("Makefile", include_str!("../templates/c/Makefile")),
                ("main.c", include_str!("../templates/c/main.c")),
                ("include/autotinybert.h", include_str!("../../app/c/include/autotinybert.h")),
                ("lib/pkgconfig/autotinybert.pc", include_str!("../templates/c/autotinybert.pc")),
                ("README.md", include_str!("../templates/c/README.md")),
            ],
        }
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|language| language.name() == text);
        found.ok_or_else(|| format!("the languages are {names}"))
    }
}

/// Why no project was written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EmbedError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Bundle(#[from] BundleError),
    #[error("{} is no checkout of autotinybert", folder.display())]
    #[diagnostic(help("name the folder of the source code with `--source`"))]
    NoSource { folder: PathBuf },
    #[error("{} exists already", path.display())]
    #[diagnostic(help("choose another folder; what you changed in a project is never replaced"))]
    Occupied { path: PathBuf },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Writes the project for `language` that uses `bundle`, a folder or one file, into the new
/// folder `out`. It is built from the checkout of autotinybert in `source`.
///
/// # Errors
/// [`EmbedError`]; the folder is then not there.
pub fn write(
    language: Language,
    bundle: &Path,
    source: &Path,
    out: &Path,
) -> Result<(), EmbedError> {
    if !source.join("app/Cargo.toml").is_file() {
        return Err(EmbedError::NoSource { folder: source.to_owned() });
    }
    if out.exists() {
        return Err(EmbedError::Occupied { path: out.to_owned() });
    }
    Bundle::open(bundle)?.check_digests()?;
    let source = fs::canonicalize(source)?.display().to_string();
    let staging = Staging::beside(out)?;
    for (name, template) in language.files() {
        let path = staging.path().join(name);
        fs::create_dir_all(atb_files::folder_of(&path))?;
        fs::write(path, template.replace(SOURCE, &source))?;
    }
    let file = staging.path().join(BUNDLE);
    if bundle.is_dir() {
        atb_bundle::pack(bundle, &file)?;
    } else {
        fs::copy(bundle, &file)?;
    }
    Ok(staging.publish(out)?)
}
