//! The library from Kotlin's side: the project of `atb embed`, whose Kotlin is compiled without a
//! warning, and whose library is run on this computer's Java.

#[path = "../../tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use atb_embed::Language;

/// The folder of the Kotlin compiler, where it is not the one that `.ci/run` installs.
const KOTLIN_HOME: &str = "ATB_KOTLIN_HOME";

/// Gradle's scripts, which are compiled as functions.
const SCRIPTS: [&str; 4] = [
    "settings.gradle.kts",
    "build.gradle.kts",
    "library/build.gradle.kts",
    "sample/build.gradle.kts",
];

fn kotlin_home() -> PathBuf {
    let installed = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::home_dir().expect("a home").join(".cache");
        cache.unwrap_or_else(home).join("autotinybert/kotlin/node_modules/kotlin-compiler")
    };
    let home = std::env::var_os(KOTLIN_HOME).map_or_else(installed, PathBuf::from);
    let found = home.join("lib/kotlin-compiler.jar").is_file();
    assert!(found, "no Kotlin compiler in {}; `.ci/run` says how to get it", home.display());
    home
}

/// The folder that cargo put the shared library into.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    let folder = test.parent().expect("a folder");
    let has = |folder: &&Path| folder.join("libautotinybert_jni.so").is_file();
    let folders = [Some(folder), folder.parent()];
    folders.into_iter().flatten().find(has).expect("the shared library").to_owned()
}

/// Every Kotlin file below a folder.
fn kotlin_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(kotlin_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "kt") {
            files.push(path);
        }
    }
    files
}

#[test]
fn the_kotlin_project_compiles_without_a_warning_and_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = common::bundle(folder.path(), "classifier", 3);
    let project = folder.path().join("project");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    atb_embed::write(Language::Kotlin, &bundle, &here.join("../.."), &project).expect("writes");

    // What is not of this computer's Java is compiled against what the tests declare.
    let mut further = kotlin_files(&here.join("tests"));
    further.push(project.join("library/src/main/kotlin/autotinybert/Assets.kt"));
    further.push(project.join("sample/src/main/kotlin/demo/MainActivity.kt"));
    for (number, script) in SCRIPTS.iter().enumerate() {
        let text = std::fs::read_to_string(project.join(script)).expect("reads");
        assert!(!text.contains("@source@"), "{text}");
        let path = folder.path().join(format!("script{number}.kt"));
        let wrapped =
            format!("package script{number}\nimport stubs.*\nfun script() {{\n{text}\n}}\n");
        std::fs::write(&path, wrapped).expect("writes");
        further.push(path);
    }
    let further: Vec<String> = further.iter().map(|path| path.display().to_string()).collect();
    let home = kotlin_home();
    let built = Command::new("make")
        .arg(format!("KOTLIN_HOME={}", home.display()))
        .arg(format!("LIB={}", library().display()))
        .arg(format!("EXTRA={}", further.join(" ")))
        .arg("KOTLINC_FLAGS=-Werror -J-XX:TieredStopAtLevel=1")
        .current_dir(&project)
        .output()
        .expect("make");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let asset = Language::Kotlin.bundle();
    let sentence = "The battery lasts two days.";
    let ran = Command::new("./demo").args([asset, sentence]).current_dir(&project).output();
    let ran = ran.expect("runs");
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let model = atb_app::Model::open(&bundle).expect("opens");
    let labels = model.classify(&[sentence]).expect("runs").remove(0);
    let expected: Vec<String> = std::iter::once(sentence.to_owned())
        .chain(labels.iter().map(|label| format!("  {} {:.4}", label.name, label.probability)))
        .collect();
    assert_eq!(text(&ran.stdout).lines().collect::<Vec<_>>(), expected);

    let ran = Command::new("./demo").args(["Makefile", "text"]).current_dir(&project).output();
    let ran = ran.expect("runs");
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(1), 0));
    let errors = text(&ran.stderr);
    assert!(errors.starts_with("error: Makefile is no bundle in one file"), "{errors}");
    assert!(errors.contains("\nhint: "), "{errors}");

    // With every call of the interface checked by the virtual machine: threads, cancellation, errors, hostile bundles, places in texts, and the measurement.
    let [answers, tags] = ["answers", "tags"].map(|name| folder.path().join(name));
    std::fs::create_dir(&answers).expect("a folder");
    std::fs::create_dir(&tags).expect("a folder");
    let answers = common::bundle(&answers, "qa_outputs", 2);
    let tags = common::bundle_with(&tags, "classifier", 3, &["token-classification"]);
    let ran = Command::new("java")
        .arg("-Xcheck:jni")
        .arg(format!("-Djava.library.path={}", library().display()))
        .arg("-cp")
        .arg(format!("demo.jar:{}/lib/kotlinx-coroutines-core-jvm.jar", home.display()))
        .arg("checks.ChecksKt")
        .args([&bundle, &answers, &tags])
        .current_dir(&project)
        .output()
        .expect("java");
    assert!(ran.status.success(), "{}{}", text(&ran.stdout), text(&ran.stderr));
    assert_eq!(text(&ran.stdout), "all checks passed\n");
}

#[test]
fn the_android_project_has_its_layout() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = common::bundle(folder.path(), "", 0);
    let project = folder.path().join("project");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    atb_embed::write(Language::Kotlin, &bundle, &source, &project).expect("writes");
    let read = |path: &str| std::fs::read_to_string(project.join(path)).expect("reads");
    let asset = std::fs::read(project.join("library/src/main/assets/bundle.atb")).expect("reads");
    assert_eq!(asset, std::fs::read(&bundle).expect("reads"));
    // The activity of the manifest is one of the sources, and every ABI is Android's name of it.
    let manifest = read("sample/src/main/AndroidManifest.xml");
    assert!(manifest.contains("android:name=\"demo.MainActivity\""), "{manifest}");
    let activity = read("sample/src/main/kotlin/demo/MainActivity.kt");
    assert!(activity.contains("package demo\n") && activity.contains("class MainActivity :"));
    let library = read("library/build.gradle.kts");
    for abi in ["arm64-v8a", "armeabi-v7a", "x86_64"] {
        assert!(library.contains(&format!("\"--target\", \"{abi}\"")), "{library}");
    }
    // The rules keep what the shared library finds by name.
    let rules = read("library/consumer-rules.pro");
    assert!(rules.contains("-keep class autotinybert.Native {"), "{rules}");
    let native = read("library/src/main/kotlin/autotinybert/Native.kt");
    assert!(native.contains("fun failure(kind: Int, message: ByteArray, help: ByteArray?)"));
}
