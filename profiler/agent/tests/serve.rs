//! The agent's program over its real standard streams.

use std::io::Write;
use std::process::{Command, Stdio};

use atb_graph::{Network, RandomWeights, Vocabulary};
use atb_measurements::{Protocol, Request, Response, Role, Statistics, Subject};
use atb_space::{Architecture, Workload};

fn protocol() -> Protocol {
    Protocol {
        workload: Workload { batch: 1, sequence: 16 },
        reference: "1-64-128-4-64".parse().expect("parses"),
        min_pairs: 4,
        max_pairs: 6,
        max_seconds: 0.2,
        vocabulary: 100,
        ..Protocol::default()
    }
}

/// Sends `lines` to the program; its answers, its error output and whether it succeeded.
fn converse(lines: &[String]) -> (Vec<Response>, String, bool) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_atb-agent"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let input = lines.join("\n") + "\n";
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("listens");
    let output = child.wait_with_output().expect("ends");
    let responses = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is a response"))
        .collect();
    (responses, String::from_utf8_lossy(&output.stderr).into_owned(), output.status.success())
}

fn request(request: &Request) -> String {
    serde_json::to_string(request).expect("serialises")
}

fn start() -> String {
    request(&Request::Start { protocol: Box::new(protocol()) })
}

fn measure(subject: Subject) -> String {
    request(&Request::Measure { subject, role: Role::Sample })
}

#[test]
fn measures_architectures_and_model_files() {
    let arch: Architecture = "2-64-[96,128]-[2,4]-[32,48]".parse().expect("parses");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.onnx");
    Network::new(&arch, protocol().workload, Vocabulary::small(100))
        .write(&RandomWeights::new(1), &file)
        .expect("writes");
    let path = file.display().to_string();
    let (responses, _, success) =
        converse(&[start(), measure(Subject::architecture(arch)), measure(Subject::Model(path))]);
    assert!(success);
    let [
        Response::Ready { device, agent },
        Response::Measured { record: one },
        Response::Measured { record: two },
    ] = &responses[..]
    else {
        panic!("unexpected: {responses:?}");
    };
    assert_eq!(device.isa, std::env::consts::ARCH);
    assert!(!agent.kernel.is_empty() && agent.tile.0 > 1, "{agent:?}");
    for record in [one, two] {
        assert!((4..=6).contains(&record.samples_us.len()));
        assert!(Statistics::of(record).expect("valid").ratio > 0.0);
        assert!(record.build_ms > 0.0 && !record.warm_up_us.is_empty());
    }
}

#[test]
fn what_cannot_be_measured_is_answered_and_the_agent_goes_on() {
    let (responses, _, success) = converse(&[
        start(),
        measure(Subject::Model("no/such/model.onnx".to_owned())),
        measure(Subject::architecture("1-32-64-2-32".parse().expect("parses"))),
    ]);
    assert!(success);
    let [_, Response::Failed { subject, message }, Response::Measured { .. }] = &responses[..]
    else {
        panic!("unexpected: {responses:?}");
    };
    assert_eq!(subject, "no/such/model.onnx");
    assert!(message.contains("no/such/model.onnx could not be loaded"), "{message}");
}

#[test]
fn what_is_no_request_ends_the_agent_with_a_message() {
    let (responses, stderr, success) = converse(&["hello".to_owned()]);
    assert!(responses.is_empty() && !success);
    assert!(stderr.contains("line 1 of the input is not a request"), "{stderr}");
    let early = measure(Subject::architecture("1-32-64-2-32".parse().expect("parses")));
    let (responses, stderr, success) = converse(&[early]);
    assert!(responses.is_empty() && !success);
    assert!(stderr.contains("before `start` gave the protocol"), "{stderr}");
}
