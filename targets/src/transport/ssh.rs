//! The shell of a machine that the system's OpenSSH client reaches.
//!
//! One control connection is opened first, and everything else goes over it: a user who has
//! to type a password does so once, and a command costs no key exchange.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use atb_settings::{Check, visible};
use serde::Deserialize;
use tempfile::TempDir;

use super::kind::{Discovery, TransportKind};
use crate::deployment::Deployment;
use crate::device::Device;
use crate::error::TargetError;
use crate::remote::Remote;
use crate::shell::{Shell, ShellError, quote};

/// A machine that the system's OpenSSH client reaches.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    /// Host name, address, or a `Host` of the user's own configuration.
    pub address: String,
    /// User there, where the user's configuration does not say.
    #[serde(default)]
    pub user: Option<String>,
    /// Port, where the user's configuration does not say.
    #[serde(default)]
    pub port: Option<u16>,
    /// File of the private key, where the user's configuration does not say.
    #[serde(default)]
    pub identity: Option<PathBuf>,
    /// More options, as `ssh -o` takes them.
    #[serde(default)]
    pub options: Vec<String>,
}

impl TransportKind for Ssh {
    fn open(&self, deployment: &Deployment) -> Result<Box<dyn Device>, TargetError> {
        Ok(Box::new(Remote::open(deployment, Client::new(self)?)?))
    }

    fn check(&self, at: &mut Check) {
        // ssh takes what begins with a dash for an option.
        let is_address = !self.address.is_empty()
            && !self.address.starts_with('-')
            && !self.address.contains(char::is_whitespace);
        at.that("address", format!("`{}`", self.address), is_address, "a host name or address");
        at.optional("port", self.port, 1..=65_535);
    }

    fn set_address(&mut self, address: &str) -> bool {
        address.clone_into(&mut self.address);
        true
    }

    fn discover(&self) -> Discovery {
        Discovery::ByAddress
    }

    fn is_remote(&self) -> bool {
        true
    }
}

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
        let mut builder = tempfile::Builder::new();
        builder.prefix("atb-ssh-");
        // Whoever can open the socket is logged in.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let folder = builder.tempdir()?;
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
    fn ensure(&self) -> Result<(), ShellError> {
        let silent = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
        };
        let check = || silent(&mut self.command(&["-O", "check"]));
        if self.socket().exists() && check().is_ok_and(|status| status.success()) {
            return Ok(());
        }
        // Into a file: the connection stays in the background and would keep a pipe open.
        let errors = self.folder.path().join("errors");
        let file = fs_err::File::create(&errors).map_err(ShellError::refused)?;
        let persist = format!("ControlPersist={LINGER_S}");
        let status = self
            .command(&["-f", "-N", "-o", "ControlMaster=yes", "-o", &persist])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file.into_parts().0)
            .status()
            .map_err(ShellError::Program)?;
        if status.success() {
            return Ok(());
        }
        let errors = fs_err::read_to_string(&errors).unwrap_or_default();
        Err(ShellError::Unreachable(match errors.trim() {
            "" => status.to_string(),
            errors => visible(errors),
        }))
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if self.socket().exists() {
            let _ = self.command(&["-O", "exit"]).output();
        }
    }
}

impl Shell for Client {
    fn program(&self) -> &str {
        "ssh"
    }

    fn how_to_install(&self) -> String {
        "install the OpenSSH client (Debian: apt install openssh-client)".to_owned()
    }

    fn command(&self, script: &str) -> Result<Command, ShellError> {
        self.master.ensure()?;
        let mut command = self.master.command(&["-o", "ControlMaster=no"]);
        // The login shell may be of any kind.
        command.arg(format!("exec sh -c {}", quote(script)));
        Ok(command)
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_user_can_reach_the_socket() {
        let options = Vec::new();
        let ssh = Ssh { address: "pi".into(), user: None, port: None, identity: None, options };
        let client = Client::new(&ssh).unwrap_or_else(|error| panic!("{error}"));
        let metadata = std::fs::metadata(client.master.folder.path()).expect("a folder");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
    }
}
