//! One bad input, and how it is tried.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixtures::{fixture, link};

/// A device that notes in the folder `asked` that it was asked for anything.
pub(crate) const ASKED: &str = "name = \"asked\"\n[transport]\nkind = \"command\"\n\
                                prefix = [\"sh\", \"-c\", \"touch asked; exit 1\"]\n";

/// Longer than any of them takes; one that hangs is killed then.
const PATIENCE: Duration = Duration::from_secs(60);

/// What stands in a case's folder.
enum Content {
    Bytes(Vec<u8>),
    /// A link to what all cases share.
    Shared,
    /// A pipe that nothing is ever written to.
    Pipe,
    Folder,
}

/// A bad input: a command line and the files that it meets.
pub(crate) struct Case {
    /// What is bad about it.
    about: String,
    arguments: Vec<String>,
    files: Vec<(String, Content)>,
}

impl Case {
    /// `atb` with these arguments, separated by spaces.
    pub(crate) fn new(about: impl Into<String>, arguments: &str) -> Self {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        Self::with(about, &words)
    }

    /// As [`Case::new`], with arguments that hold spaces.
    pub(crate) fn with(about: impl Into<String>, arguments: &[&str]) -> Self {
        let files = vec![("asked.toml".to_owned(), Content::Bytes(ASKED.into()))];
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { about: about.into(), arguments, files }
    }

    /// With other words about what is bad.
    pub(crate) fn about(self, about: impl Into<String>) -> Self {
        Self { about: about.into(), ..self }
    }

    /// With a file, in place of a former one of the name.
    pub(crate) fn file(self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.having(name, Content::Bytes(bytes.into()))
    }

    /// With what all cases share under this name, `superplm` for example.
    pub(crate) fn shared(self, name: &str) -> Self {
        self.having(name, Content::Shared)
    }

    pub(crate) fn pipe(self, name: &str) -> Self {
        self.having(name, Content::Pipe)
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.having(name, Content::Folder)
    }

    fn having(mut self, name: &str, content: Content) -> Self {
        self.files.retain(|(known, _)| known != name);
        self.files.push((name.to_owned(), content));
        self
    }

    fn prepare(&self, folder: &Path) {
        for (name, content) in &self.files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("creates");
            // Not through a link to what all share.
            let _ = std::fs::remove_file(&path);
            match content {
                Content::Bytes(bytes) => std::fs::write(&path, bytes).expect("writes"),
                Content::Shared => link(&fixture(name), &path),
                Content::Folder => std::fs::create_dir(&path).expect("creates"),
                Content::Pipe => {
                    let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
                    assert!(made.success());
                }
            }
        }
    }

    /// What it says; or what is wrong with how it ended.
    fn tried(&self) -> Result<String, String> {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().canonicalize().expect("there");
        self.prepare(&folder);
        let before = listing(&folder);
        let (stdout, stderr) =
            (root.path().with_extension("out"), root.path().with_extension("err"));
        let create = |path: &Path| std::fs::File::create(path).expect("creates");
        let mut child = Command::new(env!("CARGO_BIN_EXE_atb"))
            .args(&self.arguments)
            .current_dir(&folder)
            .env("ATB_CACHE", fixture("cache"))
            .env("HOME", fixture("home"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(create(&stdout))
            .stderr(create(&stderr))
            .spawn()
            .expect("atb starts");
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            if begin.elapsed() > PATIENCE {
                child.kill().expect("kills");
                child.wait().expect("ends");
                return Err("it hangs".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let read = |path: &Path| {
            let text = String::from_utf8_lossy(&std::fs::read(path).expect("reads")).into_owned();
            std::fs::remove_file(path).expect("removes");
            text
        };
        let (stdout, stderr) = (read(&stdout), read(&stderr));
        if let Some(signal) = status.signal() {
            return Err(format!("signal {signal}:\n{stderr}"));
        }
        if status.code() != Some(1) {
            return Err(format!("status {:?}:\n{stderr}\n{stdout}", status.code()));
        }
        if !stdout.is_empty() {
            return Err(format!("it prints:\n{stdout}"));
        }
        let after = listing(&folder);
        let left: Vec<_> = after.difference(&before).collect();
        if !left.is_empty() {
            return Err(format!("it leaves {left:?}:\n{stderr}"));
        }
        let lost: Vec<_> = before.difference(&after).collect();
        if !lost.is_empty() {
            return Err(format!("it removes {lost:?}:\n{stderr}"));
        }
        let Some(begin) = stderr.find("error: ") else {
            return Err(format!("it has no message:\n{stderr}"));
        };
        let message = stderr[begin..].trim_end();
        if message.chars().any(|c| c.is_control() && c != '\n') {
            return Err(format!("it prints control characters:\n{message:?}"));
        }
        if message.len() > 3000 {
            return Err(format!("it prints {} bytes", message.len()));
        }
        let message = message.replace(&folder.display().to_string(), "FOLDER");
        Ok(message.replace(&fixture("").display().to_string(), "SHARED/"))
    }
}

fn listing(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("lists") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                folders.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}

/// Tries the cases and gives what they said. What runs at the same time are the tests of the
/// program.
///
/// # Panics
/// If one did not end as it should.
pub(crate) fn messages(cases: &[Case]) -> String {
    let (mut text, mut wrong) = (String::new(), Vec::new());
    for case in cases {
        match case.tried() {
            // Writing to a String does not fail.
            Ok(message) => drop(writeln!(text, "# {}\n{message}\n", case.about)),
            Err(problem) => {
                let arguments = case.arguments.join(" ");
                wrong.push(format!("# {} (atb {arguments})\n{problem}\n", case.about));
            }
        }
    }
    let (count, all) = (wrong.len(), cases.len());
    assert!(wrong.is_empty(), "{count} of {all} cases:\n{}", wrong.join("\n"));
    text
}
