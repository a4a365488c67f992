//! Agents that die and connections that break in the middle of a profile.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use atb_measurements::{
    Failure, Header, MeasurementFile, Protocol, Record, Request, Response, Role, Statistics,
    Subject,
};
use atb_profiler::{Item, Link, Observer, Plan, ProfileError, profile_over};
use atb_targets::{Connection, TargetError};

/// What happens instead of an answer.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// Nothing: it is answered.
    Answered,
    /// The agent dies.
    Death,
    /// The connection breaks.
    Break,
    /// It is answered with something else.
    Lie(&'static str),
}

/// A device that measures at once.
#[derive(Default)]
struct Device {
    /// What happens to the next measurements; after these all are answered.
    fates: VecDeque<Fate>,
    /// A model that always ends the agent.
    deadly: Option<Subject>,
    /// How often connecting fails before it works.
    unreachable: usize,
    /// Connections made.
    connections: usize,
    /// Measurements asked for.
    asked: Vec<Subject>,
}

type Shared = Arc<Mutex<Device>>;

fn locked(device: &Shared) -> MutexGuard<'_, Device> {
    device.lock().expect("no test thread has failed")
}

struct Wire {
    device: Shared,
    answer: Option<io::Result<Option<String>>>,
}

impl Connection for Wire {
    fn send(&mut self, line: &str) -> io::Result<()> {
        let mut device = locked(&self.device);
        let response = match serde_json::from_str(line).expect("a request") {
            Request::Start { .. } => {
                Response::Ready { device: Box::default(), agent: Box::default() }
            }
            Request::Measure { subject, role } => {
                device.asked.push(subject.clone());
                let fate = device.fates.pop_front().unwrap_or(Fate::Answered);
                if fate == Fate::Break {
                    self.answer = Some(Err(io::ErrorKind::ConnectionReset.into()));
                    return Ok(());
                }
                if let Fate::Lie(answer) = fate {
                    self.answer = Some(Ok(Some(answer.to_owned())));
                    return Ok(());
                }
                if fate == Fate::Death || device.deadly.as_ref() == Some(&subject) {
                    self.answer = Some(Ok(None));
                    return Ok(());
                }
                let (samples_us, reference_us) = (vec![2000.0; 5], vec![1000.0; 5]);
                let record = Record { samples_us, reference_us, ..Record::new(subject, role) };
                Response::Measured { record: Box::new(record) }
            }
            other => panic!("unexpected: {other:?}"),
        };
        self.answer = Some(Ok(Some(serde_json::to_string(&response).expect("serialises"))));
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Option<String>> {
        self.answer.take().unwrap_or(Ok(None))
    }

    fn end(&mut self) -> String {
        "signal: 9".to_owned()
    }
}

fn link(device: &Shared) -> Link<'_> {
    let connect = || {
        let mut known = locked(device);
        if known.unreachable > 0 {
            known.unreachable -= 1;
            let cause = io::ErrorKind::NotFound.into();
            return Err(TargetError::Start { program: "agent".into(), cause });
        }
        known.connections += 1;
        let wire = Wire { device: Arc::clone(device), answer: None };
        Ok(Box::new(wire) as Box<dyn Connection>)
    };
    Link {
        target: "pi".to_owned(),
        connect: Box::new(connect),
        attempts: 3,
        pause: Duration::ZERO,
        onnx_runtime: None,
    }
}

/// Notes what it sees.
#[derive(Default)]
struct Notes {
    lost: Vec<String>,
    gave_up: Vec<String>,
    measured: usize,
}

impl Observer for Notes {
    fn ready(&mut self, _: &Header, _: usize, _: usize) {}
    fn begin(&mut self, _: &Item) {}
    fn measured(&mut self, _: &Record, _: &Statistics) {
        self.measured += 1;
    }
    fn lost(&mut self, error: &ProfileError) {
        self.lost.push(error.to_string());
    }
    fn gave_up(&mut self, failure: &Failure) {
        self.gave_up.push(format!("{}: {}", failure.subject, failure.failure));
    }
}

const IDS: [&str; 4] = ["1-64-128-2-64", "2-64-128-2-64", "3-64-128-2-64", "4-64-128-2-64"];

fn subject(id: &str) -> Subject {
    Subject::architecture(id.parse().expect(id))
}

/// Four samples, then a second measurement of the second one.
fn plan() -> Plan {
    let sample = |id: &&str| Item { subject: subject(id), role: Role::Sample };
    let retest = Item { subject: subject(IDS[1]), role: Role::Retest };
    Plan::of(IDS.iter().map(sample).chain([retest]).collect())
}

fn run(device: &Shared, path: &Path) -> (Result<MeasurementFile, ProfileError>, Notes) {
    let mut notes = Notes::default();
    let result = profile_over(&link(device), &Protocol::default(), &plan(), path, &mut notes);
    (result, notes)
}

fn items(file: &MeasurementFile) -> Vec<Item> {
    let item = |r: &Record| Item { subject: r.subject.clone(), role: r.role };
    file.records.iter().map(item).collect()
}

fn shared(device: Device) -> Shared {
    Arc::new(Mutex::new(device))
}

#[test]
fn a_connection_that_breaks_in_the_middle_of_an_architecture_is_made_again() {
    use Fate::{Answered, Break, Death};
    let folder = tempfile::tempdir().expect("a folder");
    let fates = [Answered, Break, Answered, Death, Answered];
    let device = shared(Device { fates: fates.into(), ..Device::default() });
    let (file, notes) = run(&device, &folder.path().join("m.jsonl"));
    let file = file.expect("measured");
    assert_eq!(items(&file), plan().items());
    assert!(file.failures.is_empty());
    assert_eq!(locked(&device).connections, 3);
    assert_eq!(notes.lost.len(), 2);
    assert!(notes.lost[0].contains("while it was to measure 2-64-128-2-64"), "{}", notes.lost[0]);
    assert_eq!(notes.measured, 5);
}

#[test]
fn what_kills_the_agent_twice_is_recorded_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.jsonl");
    let device = shared(Device { deadly: Some(subject(IDS[1])), ..Device::default() });
    let (file, notes) = run(&device, &path);
    let file = file.expect("the rest is measured");
    let others: Vec<Item> =
        plan().items().iter().filter(|item| item.subject != subject(IDS[1])).cloned().collect();
    assert_eq!(items(&file), others);
    assert_eq!(file.failures.len(), 1);
    // Its second measurement is not tried either.
    let text = "2-64-128-2-64: the agent ended each of 2 times, the last time with signal: 9";
    assert_eq!(notes.gave_up, [text, text]);
    let asked = locked(&device).asked.iter().filter(|s| **s == subject(IDS[1])).count();
    assert_eq!(asked, 2);
    // Nor is it when the same profile is run again: nothing is missing, no agent is started.
    let connections = locked(&device).connections;
    let (again, _) = run(&device, &path);
    assert_eq!(again.expect("reads").failures, file.failures);
    assert_eq!(locked(&device).connections, connections);
}

#[test]
fn a_device_that_stays_away_ends_the_run_and_what_was_measured_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.jsonl");
    let device = shared(Device {
        fates: [Fate::Answered, Fate::Answered, Fate::Break].into(),
        ..Device::default()
    });
    // It goes away for good at the third measurement.
    let (error, notes) = {
        let mut notes = Notes::default();
        let mut link = link(&device);
        let connect = link.connect;
        let gone = Arc::clone(&device);
        link.connect = Box::new(move || {
            if locked(&gone).connections > 0 {
                locked(&gone).unreachable = 1;
            }
            connect()
        });
        let protocol = Protocol::default();
        let error = profile_over(&link, &protocol, &plan(), &path, &mut notes);
        (error.expect_err("unreachable"), notes)
    };
    assert!(matches!(error, ProfileError::Target(_)), "{error}");
    assert_eq!(notes.lost.len(), 1 + 3, "{:?}", notes.lost);
    let kept = MeasurementFile::read(&path).expect("reads");
    assert_eq!(items(&kept), plan().items()[..2]);
    // It is back, and slow to come: the run continues where it was.
    let device = shared(Device { unreachable: 0, ..Device::default() });
    let (file, notes) = run(&device, &path);
    assert_eq!(items(&file.expect("measured")), plan().items());
    assert_eq!(notes.measured, 3);
}

#[test]
fn a_device_that_comes_back_late_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = shared(Device { fates: [Fate::Break].into(), ..Device::default() });
    let mut notes = Notes::default();
    let mut link = link(&device);
    let connect = link.connect;
    let slow = Arc::clone(&device);
    let attempts = Mutex::new(0);
    link.connect = Box::new(move || {
        let mut attempts = attempts.lock().expect("no test thread has failed");
        *attempts += 1;
        // Away for the second and the third attempt.
        if (2..=3).contains(&*attempts) {
            locked(&slow).unreachable = 1;
        }
        connect()
    });
    let path = folder.path().join("m.jsonl");
    let file = profile_over(&link, &Protocol::default(), &plan(), &path, &mut notes);
    assert_eq!(items(&file.expect("measured")), plan().items());
    assert_eq!(notes.lost.len(), 3, "{:?}", notes.lost);
}

#[test]
fn what_a_device_makes_up_is_not_kept() {
    let lies = [
        r#"{"response":"measured","record":{"subject":{"architecture":"9-64-128-2-64"},"role":"sample","samples_us":[2.0,2.0],"reference_us":[1.0,1.0]}}"#,
        r#"{"response":"measured","record":{"subject":{"architecture":"1-64-128-2-64"},"role":"retest","samples_us":[2.0],"reference_us":[1.0]}}"#,
        r#"{"response":"measured","record":{"subject":{"architecture":"1-64-128-2-64"},"role":"sample","samples_us":[2.0,2.0],"reference_us":[1.0]}}"#,
        r#"{"response":"measured","record":{"subject":{"architecture":"1-64-128-2-64"},"role":"sample","samples_us":[],"reference_us":[]}}"#,
        r#"{"response":"measured","record":{"subject":{"architecture":"1-64-128-2-64"},"role":"sample","samples_us":[-2.0],"reference_us":[1.0]}}"#,
        r#"{"response":"measured","record":{"subject":{"architecture":"1-64-128-2-64"},"role":"sample","samples_us":[1e308],"reference_us":[1e-308]}}"#,
        r#"{"response":"measured","record":{"subject":{"architecture":"1-64-128-2-64"},"role":"sample","samples_us":[1e999],"reference_us":[1.0]}}"#,
        r#"{"response":"measured","record":{}}"#,
        r#"{"response":"failed","subject":"\u001b[2J","message":"\u001b]0;mine\u0007","hint":"\u202e"}"#,
        "{\"response\":\"failed\",\"subject\":\"x\",\"message\":\"\u{202e}\"}",
        r#"{"response":"ready"}"#,
        "[[[[[[[[",
        "",
        "\u{1b}[2J",
    ];
    for lie in lies {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.jsonl");
        let device = shared(Device { fates: [Fate::Lie(lie)].into(), ..Device::default() });
        let error = run(&device, &path).0.expect_err(lie);
        let steers = |c: char| c.is_control() || c == '\u{202e}';
        assert!(!error.to_string().contains(steers), "{lie}: {error:?}");
        let kept = MeasurementFile::read(&path).expect("readable");
        assert!(kept.records.is_empty() && kept.failures.is_empty(), "{lie}");
        // An honest one goes on where it was.
        let device = shared(Device::default());
        let file = run(&device, &path).0.expect("measured");
        assert_eq!(items(&file), plan().items());
    }
}
