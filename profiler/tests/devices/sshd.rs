//! A real SSH server on a loopback port, with keys of its own.

use std::fs;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use atb_targets::Target;
use tempfile::TempDir;

use crate::agents;
use crate::processes::{children_of, kill, wait_until};

const PROGRAM: &str = "/usr/sbin/sshd";

/// The server; its folder holds its keys and the device's files.
pub(crate) struct Sshd {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    child: Child,
}

impl Sshd {
    /// A server whose logins do as they are told.
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// A server with more lines in its configuration. `DEVICE` in them stands for the folder
    /// of the device's files.
    pub(crate) fn with(configuration: &str) -> Self {
        assert!(
            Path::new(PROGRAM).is_file(),
            "the tests need an SSH server; on Debian: apt install openssh-server openssh-client"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        for key in ["host", "client"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]);
            assert!(command.status().expect("ssh-keygen starts").success());
        }
        // Root's server wants this folder, which a service manager would have made.
        if is_root() {
            fs::create_dir_all("/run/sshd").expect("creates");
        }
        fs::create_dir(at("device")).expect("creates");
        let port = free_port();
        let host_key = fs::read_to_string(at("host.pub")).expect("a key");
        fs::write(at("known_hosts"), format!("[127.0.0.1]:{port} {host_key}")).expect("writes");
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\n\
             UsePAM no\nStrictModes no\nPidFile none\nPasswordAuthentication no\n\
             PermitRootLogin prohibit-password\nMaxStartups 100\n{}\n",
            at("host"),
            at("client.pub"),
            configuration.replace("DEVICE", &at("device"))
        );
        fs::write(at("sshd_config"), text).expect("writes");
        let log = fs::File::create(at("log")).expect("creates");
        let child = Command::new(PROGRAM)
            .args(["-D", "-e", "-f", &at("sshd_config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd starts");
        wait_until("the SSH server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { folder, port, child }
    }

    /// A device behind the server, on which an emulated Cortex-A53 runs the agent.
    pub(crate) fn target(&self) -> Target {
        self.target_at(self.port)
    }

    /// The device, reached through another port.
    pub(crate) fn target_at(&self, port: u16) -> Target {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let text = format!(
            "name = \"pi\"\nagent = \"{agent}\"\nfolder = \"{folder}\"\n\
             runner = [\"qemu-aarch64\", \"-cpu\", \"cortex-a53\"]\n\
             [transport]\nkind = \"ssh\"\naddress = \"127.0.0.1\"\nport = {port}\n\
             user = \"{user}\"\nidentity = \"{identity}\"\n\
             options = [\"BatchMode=yes\", \"IdentitiesOnly=yes\", \"UserKnownHostsFile={known}\", \
             \"HostKeyAlias=[127.0.0.1]:{own}\"]\n",
            agent = agents::AARCH64.display(),
            folder = at("device/files"),
            user = user(),
            identity = at("client"),
            known = at("known_hosts"),
            own = self.port,
        );
        Target::parse(&text, "pi.toml").expect("valid")
    }

    /// Ends every session without a word, as a broken cable does.
    pub(crate) fn cut(&self) {
        children_of(self.child.id()).into_iter().for_each(kill);
    }

    /// How many logins there were.
    pub(crate) fn logins(&self) -> usize {
        let log = fs::read_to_string(self.folder.path().join("log")).expect("a log");
        log.matches("Accepted publickey").count()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.cut();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn user() -> String {
    output_of("id", &["-un"])
}

pub(crate) fn is_root() -> bool {
    output_of("id", &["-u"]) == "0"
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}
