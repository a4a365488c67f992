//! The agent behind a real SSH server, on a good day and on bad ones.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use atb_measurements::{Failure, Header, MeasurementFile, Record, Statistics};
use atb_profiler::{Item, Observer, Plan, ProfileError, Silent, profile};
use atb_space::{Sampler, Space};
use atb_targets::{Target, TargetError};
use miette::Diagnostic;

use crate::agents::protocol;
use crate::processes::{kill, wait_until, with_command};
use crate::sshd::{Sshd, is_root};

/// A few small architectures, some of them twice.
pub(crate) fn plan() -> Plan {
    let largest = "1-128-256-12-180".parse().expect("parses");
    let space = Space::paper_kd().within(&largest).expect("a space");
    Plan::new(Sampler::new(&space, 7), 3, 1, &[], 7)
}

/// Everything that the plan asks for is in the file, once.
pub(crate) fn is_complete(file: &Path, plan: &Plan) {
    let file = MeasurementFile::read(file).expect("readable");
    assert_eq!(file.records.len(), plan.items().len());
    assert!(plan.remaining(&file.records).is_empty());
}

/// Runs `fault` once, a moment after the second architecture has begun.
pub(crate) struct Disturbed<F>(pub(crate) Option<F>, pub(crate) usize);

impl<F: FnOnce() + Send + 'static> Observer for Disturbed<F> {
    fn ready(&mut self, _: &Header, _: usize, _: usize) {}

    fn begin(&mut self, _: &Item) {
        self.1 += 1;
        if self.1 == 2
            && let Some(fault) = self.0.take()
        {
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(300));
                fault();
            });
        }
    }

    fn measured(&mut self, _: &Record, _: &Statistics) {}

    fn lost(&mut self, error: &ProfileError) {
        eprintln!("{error}");
    }

    fn gave_up(&mut self, failure: &Failure) {
        panic!("{failure:?}");
    }
}

/// Nothing of ours runs on the device any more.
fn is_quiet(sshd: &Sshd) {
    let folder = sshd.folder.path().join("device/files").display().to_string();
    // The host's own ssh is known by its key.
    let ours = || {
        let mut there = with_command(&folder);
        there.retain(|id| !with_command("known_hosts").contains(id));
        there
    };
    wait_until("the device is quiet", || ours().is_empty());
}

#[test]
fn a_run_logs_in_once_and_pushes_once() {
    let sshd = Sshd::start();
    let file = sshd.folder.path().join("measurements.jsonl");
    let target = sshd.target();
    profile(&target, &protocol(), &plan(), &file, &mut Silent).expect("measures");
    is_complete(&file, &plan());
    assert_eq!(sshd.logins(), 1);
    is_quiet(&sshd);

    let device = target.open().expect("reached");
    let agent = sshd.folder.path().join("device/files/atb-agent");
    let written = || fs::metadata(&agent).expect("there").modified().expect("a time");
    let before = written();
    let local = target.agent.clone().expect("given");
    let there = device.push(&local, "atb-agent").expect("pushed");
    assert_eq!((Path::new(&there), written()), (&*agent, before), "it was pushed again");
    // Damage on the device is noticed by the digest.
    fs::write(&agent, "half of it").expect("writes");
    device.push(&local, "atb-agent").expect("pushed");
    assert_eq!(fs::read(&agent).expect("there"), fs::read(&local).expect("there"));

    let back = sshd.folder.path().join("back");
    device.pull(&there, &back).expect("pulled");
    assert_eq!(fs::read(&back).expect("there"), fs::read(&local).expect("there"));
    let error = device.pull("/no/such/file", &back).expect_err("absent").to_string();
    assert!(error.contains("could not give /no/such/file"), "{error}");
    device.remove("atb-agent").expect("removed");
    assert!(!agent.exists());
    device.clean_up().expect("cleaned");
    assert!(!sshd.folder.path().join("device/files").exists());
    assert_eq!(sshd.logins(), 2);
}

#[test]
fn a_login_shell_may_greet() {
    let greeting = sshd_greeting();
    let sshd = Sshd::with(&greeting);
    let file = sshd.folder.path().join("measurements.jsonl");
    profile(&sshd.target(), &protocol(), &plan(), &file, &mut Silent).expect("measures");
    is_complete(&file, &plan());
}

/// A banner before the login, and a shell that talks on both streams without ending its line.
fn sshd_greeting() -> String {
    "ForceCommand sh -c 'echo \"{Welcome}\"; echo motd >&2; printf \"Last login: \"; eval \
     \"$SSH_ORIGINAL_COMMAND\"'\nBanner /etc/os-release"
        .to_owned()
}

#[test]
fn a_broken_connection_loses_nothing() {
    let sshd = std::sync::Arc::new(Sshd::start());
    let file = sshd.folder.path().join("measurements.jsonl");
    let cutter = std::sync::Arc::clone(&sshd);
    let mut fault = Disturbed(Some(move || cutter.cut()), 0);
    // Whether the run reconnects by itself or is started again, it ends whole.
    if profile(&sshd.target(), &protocol(), &plan(), &file, &mut fault).is_err() {
        profile(&sshd.target(), &protocol(), &plan(), &file, &mut Silent).expect("continues");
    }
    assert!(fault.0.is_none(), "the connection was never cut");
    assert!(sshd.logins() >= 2);
    is_complete(&file, &plan());
    is_quiet(&sshd);
}

#[test]
fn a_killed_agent_loses_nothing() {
    let sshd = Sshd::start();
    let file = sshd.folder.path().join("measurements.jsonl");
    let agent = sshd.folder.path().join("device/files/atb-agent").display().to_string();
    let fault = move || {
        let emulated = format!("qemu-aarch64 -cpu cortex-a53 {agent}");
        with_command(&emulated).into_iter().for_each(kill);
    };
    let mut fault = Disturbed(Some(fault), 0);
    if profile(&sshd.target(), &protocol(), &plan(), &file, &mut fault).is_err() {
        profile(&sshd.target(), &protocol(), &plan(), &file, &mut Silent).expect("continues");
    }
    assert!(fault.0.is_none(), "the agent was never killed");
    is_complete(&file, &plan());
}

#[test]
fn nothing_runs_on_once_the_host_is_gone() {
    let sshd = Sshd::start();
    let mut connection = sshd.target().connect().expect("reached");
    let inspect = serde_json::to_string(&atb_measurements::Request::Inspect).expect("serialises");
    crate::emulated::ask(&mut *connection, &inspect);
    let agent = sshd.folder.path().join("device/files/atb-agent").display().to_string();
    let running = || with_command(&format!("cortex-a53 {agent}"));
    assert!(!running().is_empty());
    // The host's programs die without a word to anyone.
    with_command(&format!("-i {}", sshd.folder.path().join("client").display()))
        .into_iter()
        .for_each(kill);
    is_quiet(&sshd);
}

#[test]
fn a_full_device_is_told_from_a_broken_one() {
    // Every session sees a file system of 100 KiB where the agent is to go.
    let unshare = if is_root() { "unshare -m" } else { "unshare -rm" };
    let sshd = Sshd::with(&format!(
        "ForceCommand {unshare} sh -c 'mount -t tmpfs -o size=100k none DEVICE && mkdir \
         DEVICE/files && eval \"$SSH_ORIGINAL_COMMAND\"'"
    ));
    let error = with_help(&sshd.target().connect().err().expect("no room"));
    assert!(error.contains("could not take atb-agent"), "{error}");
    assert!(error.contains("No space left on device"), "{error}");
    assert!(error.contains("free some space"), "{error}");
}

#[test]
fn a_slow_link_is_only_slow() {
    let sshd = Sshd::start();
    // The agent comes over the fast way; what follows is a few kilobytes.
    sshd.target().connect().expect("reached").end();
    let slow = slowed(sshd.port);
    let file = sshd.folder.path().join("measurements.jsonl");
    profile(&sshd.target_at(slow), &protocol(), &plan(), &file, &mut Silent).expect("measures");
    is_complete(&file, &plan());
}

/// The error's text and what to do.
pub(crate) fn with_help(error: &TargetError) -> String {
    let help = error.help().map(|help| help.to_string());
    format!("{error}; {}", help.unwrap_or_default())
}

/// A port that leads to `port`, 20 kB a second and a tenth of a second of delay each way.
fn slowed(port: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let slow = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
            let back = (server.try_clone().expect("clones"), stream.try_clone().expect("clones"));
            thread::spawn(move || trickle(stream, server));
            thread::spawn(move || trickle(back.0, back.1));
        }
    });
    slow
}

fn trickle(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let mut chunk = [0; 2000];
    loop {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            return to.shutdown(Shutdown::Write);
        }
        thread::sleep(Duration::from_millis(100));
        to.write_all(&chunk[..length])?;
    }
}

#[test]
fn what_keeps_a_user_out_is_said_with_a_remedy() {
    let sshd = Sshd::start();
    let error = |change: &dyn Fn(&mut atb_targets::Ssh)| {
        let mut target = sshd.target();
        let atb_targets::Transport::Ssh(ssh) = &mut target.transport else { panic!("not ssh") };
        change(ssh);
        with_help(&target.open().err().expect("kept out"))
    };
    let key = sshd.folder.path().join("host");
    let message = error(&|ssh| ssh.identity = Some(key.clone()));
    assert!(message.contains("Permission denied"), "{message}");
    assert!(message.contains("ssh-copy-id"), "{message}");
    let message = error(&|ssh| {
        ssh.options.retain(|option| !option.starts_with("HostKeyAlias"));
        ssh.options.push("HostKeyAlias=stranger".to_owned());
    });
    assert!(message.contains("Host key verification failed"), "{message}");
    assert!(message.contains("once by hand"), "{message}");
    let message = error(&|ssh| ssh.port = Some(crate::sshd::free_port()));
    assert!(message.contains("Connection refused"), "{message}");
    assert!(message.contains("is it switched on"), "{message}");
}

#[test]
fn an_agent_for_another_machine_never_starts() {
    let sshd = Sshd::start();
    let target = Target { runner: Vec::new(), ..sshd.target() };
    let error = target.connect().err().expect("the wrong machine");
    assert!(matches!(error, TargetError::Machine { .. }), "{error}");
    assert!(!sshd.folder.path().join("device/files/atb-agent").exists());
}
