//! What the documentation tells people to type: every command of `atb` is one that there is, and the
//! blocks that are marked as `sh run` are run, those of a file after each other in an empty folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The documents, and their text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("README.md"), root().join("benches/README.md")];
    for entry in fs::read_dir(root().join("docs")).expect("docs") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("reads");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// The commands of `atb` in a document's code: lines that begin with it, with those that they
/// continue on.
fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut continues = false;
    let mut is_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code && line.starts_with("```sh");
            continue;
        }
        let line = match (is_code, line.strip_prefix("    ")) {
            (true, _) => line.trim(),
            (false, Some(code)) => code.trim(),
            (false, None) => "",
        };
        let (line, more) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match commands.last_mut() {
            Some(command) if continues => command.push_str(line),
            _ if line.starts_with("atb ") => commands.push(line.to_owned()),
            _ => continue,
        }
        continues = more;
    }
    commands
}

/// A shell in `folder` that knows `atb`.
fn shell(folder: &Path, script: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_atb"));
    let path = std::env::var("PATH").unwrap_or_default();
    let folder_of_atb = program.parent().unwrap_or(Path::new("/"));
    let mut command = Command::new("bash");
    command
        .args(["-e", "-c", script])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", folder_of_atb.display()));
    command
}

#[test]
fn every_command_in_the_documentation_is_one_that_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    // What some of them print is kept in a run's folder.
    fs::create_dir(folder.path().join("atb-run")).expect("a folder");
    let mut count = 0;
    for (path, text) in documents() {
        let commands = commands(&text);
        count += commands.len();
        // Help comes last: what stands before it has been read by then, and nothing is done.
        let script = "atb() { command atb \"$@\" --help > /dev/null || echo \"atb $*\" >&2; }\n"
            .to_owned()
            + &commands.join("\n");
        let output = shell(folder.path(), &script).output().expect("bash");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}:\n{said}", path.display());
    }
    assert!(count > 60, "only {count} commands were found");
}

#[test]
fn the_tutorials_can_be_followed() {
    for (path, text) in documents() {
        let mut script = String::new();
        for block in text.split("```sh run\n").skip(1) {
            script.push_str(block.split("```").next().unwrap_or_default());
        }
        if script.is_empty() {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let output = shell(folder.path(), &script).output().expect("bash");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{said}", path.display());
    }
}
