//! Small projects that build and use a bundle, to begin an app with.
//!
//! [`write()`] puts one together for a [`Language`]: the bundle in one file, a program that asks it
//! whatever it gives, and what builds both. The texts are the files in `templates/`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use atb_bundle::{Bundle, BundleError};
use atb_files::Staging;
use fs_err as fs;

/// What stands for the folder of autotinybert's sources in a template.
const SOURCE: &str = "@source@";

/// A Kotlin source of the library.
macro_rules! library_source {
    ($name:literal, $path:literal) => {
        (
            concat!("library/src/main/kotlin/autotinybert/", $name),
            include_str!(concat!("../../app/kotlin/kotlin/", $path)),
        )
    };
}

/// The language of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// A Cargo package.
    Rust,
    /// A program that make or CMake builds.
    C,
    /// An Android library with an app that shows it, built by Gradle, or by make for this
    /// computer's Java.
    Kotlin,
    /// A Swift package.
    Swift,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 4] = [Self::Rust, Self::C, Self::Kotlin, Self::Swift];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Kotlin => "kotlin",
            Self::Swift => "swift",
        }
    }

    /// Where the bundle is in a project.
    #[must_use]
    pub fn bundle(self) -> &'static str {
        match self {
            Self::Rust | Self::C => "bundle.atb",
            Self::Kotlin => "library/src/main/assets/bundle.atb",
            Self::Swift => "Sources/Demo/bundle.atb",
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
            Self::Kotlin => &[
                ("settings.gradle.kts", include_str!("../templates/kotlin/settings.gradle.kts")),
                ("build.gradle.kts", include_str!("../templates/kotlin/build.gradle.kts")),
                ("gradle.properties", include_str!("../templates/kotlin/gradle.properties")),
                (
                    "library/build.gradle.kts",
                    include_str!("../templates/kotlin/library.gradle.kts"),
                ),
                (
                    "library/consumer-rules.pro",
                    include_str!("../templates/kotlin/consumer-rules.pro"),
                ),
                (
                    "library/src/main/AndroidManifest.xml",
                    include_str!("../templates/kotlin/library-manifest.xml"),
                ),
                library_source!("Native.kt", "autotinybert/Native.kt"),
                library_source!("Exceptions.kt", "autotinybert/Exceptions.kt"),
                library_source!("Bundle.kt", "autotinybert/Bundle.kt"),
                library_source!("Model.kt", "autotinybert/Model.kt"),
                library_source!("Measurement.kt", "autotinybert/Measurement.kt"),
                library_source!("Assets.kt", "android/Assets.kt"),
                ("sample/build.gradle.kts", include_str!("../templates/kotlin/sample.gradle.kts")),
                (
                    "sample/src/main/AndroidManifest.xml",
                    include_str!("../templates/kotlin/sample-manifest.xml"),
                ),
                (
                    "sample/src/main/kotlin/demo/MainActivity.kt",
                    include_str!("../templates/kotlin/MainActivity.kt"),
                ),
                (
                    "sample/src/main/kotlin/demo/Answers.kt",
                    include_str!("../templates/kotlin/Answers.kt"),
                ),
                ("jvm/Demo.kt", include_str!("../templates/kotlin/Demo.kt")),
                ("Makefile", include_str!("../templates/kotlin/Makefile")),
                ("README.md", include_str!("../templates/kotlin/README.md")),
            ],
            Self::Swift => &[
                ("Package.swift", include_str!("../templates/swift/Package.swift")),
                ("include/autotinybert.h", include_str!("../../app/c/include/autotinybert.h")),
                ("include/module.modulemap", include_str!("../templates/swift/module.modulemap")),
                ("scripts/xcframework.sh", include_str!("../templates/swift/xcframework.sh")),
                (
                    "Sources/Autotinybert/Failure.swift",
                    include_str!("../../app/swift/Failure.swift"),
                ),
                ("Sources/Autotinybert/Model.swift", include_str!("../../app/swift/Model.swift")),
                (
                    "Sources/Autotinybert/Measurement.swift",
                    include_str!("../../app/swift/Measurement.swift"),
                ),
                (
                    "Sources/Autotinybert/Autotinybert.docc/Autotinybert.md",
                    include_str!("../../app/swift/Autotinybert.docc/Autotinybert.md"),
                ),
                ("Sources/Demo/main.swift", include_str!("../templates/swift/main.swift")),
                ("README.md", include_str!("../templates/swift/README.md")),
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
        fs::write(&path, template.replace(SOURCE, &source))?;
        #[cfg(unix)]
        if template.starts_with("#!") {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    let file = staging.path().join(language.bundle());
    fs::create_dir_all(atb_files::folder_of(&file))?;
    if bundle.is_dir() {
        atb_bundle::pack(bundle, &file)?;
    } else {
        fs::copy(bundle, &file)?;
    }
    Ok(staging.publish(out)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names of the C library in a text.
    fn names(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("atb_") || word.starts_with("ATB_")).collect()
    }

    #[test]
    fn swift_calls_only_what_the_header_declares() {
        let header = names(include_str!("../../app/c/include/autotinybert.h"));
        let files = Language::Swift.files().iter();
        let sources = files.filter(|(path, _)| path.ends_with(".swift"));
        let called: BTreeSet<&str> = sources.flat_map(|(_, text)| names(text)).collect();
        assert!(called.len() > 20, "{called:?}");
        let unknown: Vec<_> = called.difference(&header).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn every_project_has_its_files_and_names_them_once() {
        for language in Language::ALL {
            assert_eq!(language.name().parse(), Ok(language));
            let paths: BTreeSet<&str> = language.files().iter().map(|(path, _)| *path).collect();
            assert_eq!(paths.len(), language.files().len());
            assert!(paths.contains("README.md") && !paths.contains(language.bundle()));
        }
    }
}
