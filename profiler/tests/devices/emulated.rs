//! The agent on emulated processors: it picks the kernels of that processor, and computes
//! what this machine computes.

use atb_measurements::{AgentContext, Protocol, Request, Response};
use atb_targets::{Connection, Target};

use crate::agents::{protocol, target};

/// The architectures that are compared: odd sizes, layers that differ, deep and flat.
const ARCHITECTURES: [&str; 3] = ["1-64-128-4-64", "3-68-[96,128,132]-4-36", "2-128-512-2-128"];

fn requests(protocol: Protocol) -> Vec<String> {
    let start = Request::Start { protocol: Box::new(protocol), onnx_runtime: None };
    let runs =
        ARCHITECTURES.map(|arch| Request::Run { arch: arch.parse().expect("parses") }).into_iter();
    [start]
        .into_iter()
        .chain(runs)
        .map(|request| serde_json::to_string(&request).expect("serialises"))
        .collect()
}

/// What the agent is, and the outputs of every architecture.
fn outputs(answers: &[String]) -> (AgentContext, Vec<Vec<f32>>) {
    let mut context = None;
    let mut all = Vec::new();
    for line in answers {
        match serde_json::from_str(line).expect("a response") {
            Response::Ready { agent, .. } => context = Some(*agent),
            Response::Ran { outputs } => {
                all.push(outputs.0.into_iter().flat_map(|output| output.values).collect());
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    (context.expect("ready"), all)
}

fn here() -> Vec<Vec<f32>> {
    let mut machine = atb_agent::RealMachine::new();
    let mut answers = Vec::new();
    let input = requests(protocol()).join("\n");
    atb_agent::serve(input.as_bytes(), &mut answers, &mut machine).expect("serves");
    let text = String::from_utf8(answers).expect("text");
    outputs(&text.lines().map(str::to_owned).collect::<Vec<_>>()).1
}

pub(crate) fn ask(connection: &mut dyn Connection, request: &str) -> String {
    connection.send(request).expect("listens");
    match connection.receive().expect("readable") {
        Some(line) => line,
        None => panic!("the agent ended: {}", connection.end()),
    }
}

/// Checks the kernels on `target` and its outputs against this machine's.
fn check(target: &Target, kind: Option<&str>, kernel: &str) {
    let mut connection = target.connect().expect("the emulator starts");
    let answers: Vec<String> =
        requests(protocol()).iter().map(|request| ask(&mut *connection, request)).collect();
    assert_eq!(connection.end(), "exit status: 0");
    let (agent, there) = outputs(&answers);
    assert_eq!(agent.cpu_kind.as_deref(), kind);
    assert!(agent.kernel.ends_with(kernel), "{} on {}", agent.kernel, target.name);
    let here = here();
    assert_eq!(there.len(), ARCHITECTURES.len());
    for ((there, here), arch) in there.iter().zip(&here).zip(ARCHITECTURES) {
        assert_eq!(there.len(), here.len());
        let difference = there.iter().zip(here).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
        assert!(difference <= 1e-5, "{arch} on {}: {difference}", target.name);
        // Outputs that are all alike would agree anyhow.
        let spread = here.iter().fold(0.0_f32, |most, value| most.max((value - here[0]).abs()));
        assert!(spread > 0.1, "{arch}: {spread}");
    }
}

#[test]
fn a_cortex_a53_has_kernels_of_its_own() {
    check(&target("emulated-cortex-a53"), Some("CortexA53"), "_a53");
}

#[test]
fn a_cortex_a72_takes_the_generic_kernels() {
    check(&target("emulated-cortex-a72"), Some("CortexA72"), "_gen");
}

#[test]
fn a_cortex_a76_takes_the_generic_kernels() {
    check(&target("emulated-cortex-a76"), Some("Generic"), "_gen");
}

#[test]
fn a_32_bit_cortex_a7_has_kernels_of_its_own() {
    check(&target("emulated-cortex-a7"), None, "_cortexa7");
}

#[test]
fn the_environment_of_the_target_reaches_the_runtime() {
    let mut target = target("emulated-cortex-a53");
    target.environment.insert("TRACT_CPU_AARCH64_KIND".to_owned(), "a72".to_owned());
    check(&target, Some("CortexA72"), "_gen");
}
