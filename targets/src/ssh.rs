//! The shell of a machine that the system's OpenSSH client reaches.
//!
//! One control connection is opened first, and everything else goes over it: a user who has
//! to type a password does so once, and a command costs no key exchange.

use std::fs::{self, File};
use std::io::{self, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use crate::connection::skip_to_marker;
use crate::remote::{Shell, Trouble, marked, quote, words};
use crate::{Ssh, TargetError};

/// How long the control connection outlives the last command that used it, in seconds. It is
/// closed when atb is done; this is for an atb that was killed.
const LINGER_S: u32 = 20;
/// How long to wait for a machine to answer, in seconds.
const CONNECT_TIMEOUT_S: u32 = 10;
/// How often to ask whether a machine is still there, in seconds; three unanswered questions
/// end the connection.
const ALIVE_INTERVAL_S: u32 = 5;

/// The SSH client with its control connection.
pub(crate) struct Client {
    master: Arc<Master>,
}

/// The control connection.
struct Master {
    ssh: Ssh,
    /// Holds its socket; private to this user.
    folder: TempDir,
}

impl Client {
    pub(crate) fn new(ssh: &Ssh) -> Result<Self, TargetError> {
        let folder = tempfile::Builder::new()
            .prefix("atb-ssh-")
            .tempdir()
            .map_err(TargetError::io(std::env::temp_dir()))?;
        Ok(Self { master: Arc::new(Master { ssh: ssh.clone(), folder }) })
    }
}

impl Master {
    fn socket(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    /// An ssh command up to and including the destination.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command.args(arguments).arg("-T").arg("-S").arg(self.socket());
        let mut option = |text: &str| {
            command.arg("-o").arg(text);
        };
        option("LogLevel=ERROR");
        option("ClearAllForwardings=yes");
        option("EscapeChar=none");
        option(&format!("ConnectTimeout={CONNECT_TIMEOUT_S}"));
        option(&format!("ServerAliveInterval={ALIVE_INTERVAL_S}"));
        option("ServerAliveCountMax=3");
        // Where nobody can answer, a question is an error and not an endless wait.
        if !io::stdin().is_terminal() {
            option("BatchMode=yes");
        }
        for text in &self.ssh.options {
            option(text);
        }
        if let Some(port) = self.ssh.port {
            command.arg("-p").arg(port.to_string());
        }
        if let Some(user) = &self.ssh.user {
            command.args(["-l", user]);
        }
        if let Some(identity) = &self.ssh.identity {
            command.arg("-i").arg(identity);
        }
        command.arg("--").arg(&self.ssh.address);
        command
    }

    /// Opens the control connection if it is not there.
    fn ensure(&self) -> Result<(), Trouble> {
        let silent = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
        };
        let check = || silent(&mut self.command(&["-O", "check"]));
        if self.socket().exists() && check().is_ok_and(|status| status.success()) {
            return Ok(());
        }
        // Into a file: the connection stays in the background and would keep a pipe open.
        let errors = self.folder.path().join("errors");
        let file = File::create(&errors).map_err(refused)?;
        let persist = format!("ControlPersist={LINGER_S}");
        let status = self
            .command(&["-f", "-N", "-o", "ControlMaster=yes", "-o", &persist])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .status()
            .map_err(Trouble::Program)?;
        if status.success() {
            return Ok(());
        }
        let errors = fs::read_to_string(&errors).unwrap_or_default();
        Err(Trouble::Unreachable(match errors.trim() {
            "" => status.to_string(),
            errors => errors.to_owned(),
        }))
    }
}

fn refused(error: io::Error) -> Trouble {
    Trouble::Refused(error.to_string())
}

impl Drop for Master {
    fn drop(&mut self) {
        if self.socket().exists() {
            let _ = self.command(&["-O", "exit"]).output();
        }
    }
}

impl Shell for Client {
    const PROGRAM: (&'static str, &'static str) =
        ("ssh", "install the OpenSSH client (Debian: apt install openssh-client)");

    fn command(&self, script: &str) -> Result<Command, Trouble> {
        self.master.ensure()?;
        let mut command = self.master.command(&["-o", "ControlMaster=no"]);
        // The login shell may be of any kind.
        command.arg(format!("exec sh -c {}", quote(script)));
        Ok(command)
    }

    fn upload(&self, local: &Path, path: &str) -> Result<(), Trouble> {
        let file = File::open(local).map_err(refused)?;
        let mut command = self.command(&format!("cat >{}", quote(path)))?;
        let output = command.stdin(file).output().map_err(Trouble::Program)?;
        output.status.success().then_some(()).ok_or_else(|| Trouble::Refused(words(&output)))
    }

    fn download(&self, path: &str, local: &Path) -> Result<(), Trouble> {
        let mut file = File::create(local).map_err(refused)?;
        let mut command = self.command(&marked(&format!("cat <{}", quote(path))))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Trouble::Program)?;
        if let Some(stdout) = child.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            skip_to_marker(&mut stdout).map_err(refused)?;
            io::copy(&mut stdout, &mut file).map_err(refused)?;
        }
        let output = child.wait_with_output().map_err(refused)?;
        output.status.success().then_some(()).ok_or_else(|| Trouble::Refused(words(&output)))
    }

    fn remedy(&self, cause: &str) -> String {
        let ssh = &self.master.ssh;
        let user = ssh.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
        let port = ssh.port.map_or_else(String::new, |port| format!("-p {port} "));
        let by_hand = format!("ssh {port}{user}{}", ssh.address);
        if cause.contains("Permission denied") {
            format!("let `{by_hand}` in without a password first, for example with ssh-copy-id")
        } else if cause.contains("Host key verification failed") {
            format!("run `{by_hand}` once by hand and compare the machine's key")
        } else {
            format!(
                "is it switched on, and does `{by_hand}` work? The address is set in the target \
                 file"
            )
        }
    }

    fn keep_alive(&self) -> Box<dyn Send> {
        Box::new(Arc::clone(&self.master))
    }
}
