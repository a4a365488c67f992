//! Whatever a program of this machine gives a shell on: a container, a pod, a host behind
//! others, a board behind a bridge of yours.

use std::process::Command;

use atb_settings::Check;
use serde::Deserialize;

use super::kind::{Discovery, TransportKind};
use crate::deployment::Deployment;
use crate::device::Device;
use crate::error::TargetError;
use crate::remote::Remote;
use crate::shell::{Shell, ShellError, quote};

/// A program that runs a command line on the device, with the standard streams of both
/// connected and without a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandTransport {
    /// The program and its arguments up to the device's command line:
    /// `["docker", "exec", "-i", "NAME"]`.
    pub prefix: Vec<String>,
    /// Whether the program joins the words behind the prefix with spaces and has a shell take
    /// them apart again, as `ssh` does.
    #[serde(default)]
    pub joins_words: bool,
}

impl TransportKind for CommandTransport {
    fn open(&self, deployment: &Deployment) -> Result<Box<dyn Device>, TargetError> {
        Ok(Box::new(Remote::open(deployment, self.clone())?))
    }

    fn check(&self, at: &mut Check) {
        let expected = "a program with its arguments, as [\"docker\", \"exec\", \"-i\", \"NAME\"]";
        let is_program = !self.program().is_empty();
        at.that("prefix", format!("{:?}", self.prefix), is_program, expected);
    }

    fn discover(&self) -> Discovery {
        Discovery::Itself
    }

    fn is_remote(&self) -> bool {
        true
    }
}

impl Shell for CommandTransport {
    fn program(&self) -> &str {
        self.prefix.first().map_or("", String::as_str)
    }

    fn how_to_install(&self) -> String {
        "install it, or change `prefix` in the target file".to_owned()
    }

    fn command(&self, script: &str) -> Result<Command, ShellError> {
        let mut command = Command::new(self.program());
        command.args(&self.prefix[1..]);
        match self.joins_words {
            true => command.arg(format!("exec sh -c {}", quote(script))),
            false => command.args(["sh", "-c", script]),
        };
        Ok(command)
    }

    fn remedy(&self, _: &str) -> String {
        format!(
            "does `{} sh -c 'uname -m'` work by hand? It is `prefix` in the target file; a \
             program that passes its words to a shell, as ssh does, needs `joins_words = true`",
            self.prefix.join(" ")
        )
    }

    fn keep_alive(&self) -> Box<dyn Send> {
        Box::new(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use miette::Diagnostic;

    use super::*;
    use crate::{Target, Transport};

    /// A device that is a folder of this machine, reached by `prefix`.
    fn target(folder: &Path, prefix: &[&str], joins_words: bool) -> Target {
        // What stands in for the agent says what it was asked and where it runs.
        let agent = folder.join("agent");
        std::fs::copy("/bin/cat", &agent).expect("copies");
        let text = "name = \"box\"\n[transport]\nkind = \"command\"\nprefix = [\"env\"]\n";
        let mut target = Target::parse(text, "box").expect("valid");
        target.agent = Some(agent);
        target.folder = folder.join("device folder").display().to_string();
        // `cat` takes no `--silence`.
        target.runner = ["sh", "-c", "exec \"$0\""].map(str::to_owned).to_vec();
        let prefix = prefix.iter().map(|word| (*word).to_owned()).collect();
        target.transport = Transport::Command(CommandTransport { prefix, joins_words });
        target
    }

    #[test]
    fn files_go_there_and_back_and_the_agent_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let joining = folder.path().join("joining");
        std::fs::write(&joining, "#!/bin/sh\nexec sh -c \"$*\"\n").expect("writes");
        let permissions = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&joining, permissions).expect("permits");
        let joining = joining.display().to_string();
        for (prefix, joins_words) in [("env", false), (joining.as_str(), true)] {
            let target = target(folder.path(), &[prefix], joins_words);
            let device = target.open().expect("reached");
            let local = folder.path().join("it's a file");
            std::fs::write(&local, b"\0\x01binary\xff\n").expect("writes");
            let there = device.push(&local, "a file").expect("pushed");
            assert_eq!(there, format!("{}/a file", target.folder));
            let back = folder.path().join("back");
            device.pull(&there, &back).expect("pulled");
            assert_eq!(std::fs::read(&back).expect("there"), b"\0\x01binary\xff\n");

            let mut connection = device.connect().expect("started");
            connection.send("hello").expect("listens");
            assert_eq!(connection.receive().expect("answers").as_deref(), Some("hello"));
            assert_eq!(connection.end(), "exit status: 0");
            device.clean_up().expect("cleaned");
            assert!(!Path::new(&target.folder).exists());
        }
    }

    #[test]
    fn a_program_that_gives_no_shell_is_told_from_one_that_is_not_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = target(folder.path(), &["false"], false).open().err().expect("no shell");
        assert!(matches!(error, TargetError::Unreachable { .. }), "{error}");
        let help = error.help().expect("a remedy").to_string();
        assert!(help.contains("does `false sh -c 'uname -m'` work"), "{help}");
        let error = target(folder.path(), &["no-such-program"], false).open().err();
        assert!(matches!(error, Some(TargetError::Program { .. })), "{error:?}");
    }

    #[test]
    fn what_a_device_prints_is_bounded_and_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = ["sh", "-c", "printf '\\033[2Jno such account\\n'; exit 1"];
        let error = target(folder.path(), &script, false).open().err().expect("refused");
        let text = error.to_string();
        assert!(text.contains("\\u{1b}[2Jno such account") && !text.contains('\u{1b}'), "{text}");
        let endless = ["sh", "-c", "exec cat /dev/zero"];
        let error = target(folder.path(), &endless, false).open().err().expect("endless");
        assert!(error.to_string().contains("printed more than"), "{error}");
    }

    #[test]
    fn a_prefix_names_a_program() {
        let text = "name = \"box\"\n[transport]\nkind = \"command\"\nprefix = []\n";
        let error = Target::parse(text, "box").expect_err("empty").to_string();
        assert!(error.contains("`transport.prefix`") && error.contains("a program"), "{error}");
    }
}
