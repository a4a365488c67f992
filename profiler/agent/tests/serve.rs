//! The agent's program over its real standard streams.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atb_graph::{Network, NetworkConfig, RandomWeights};
use atb_measurements::{
    DriftRule, Flag, Protocol, Request, Response, Role, Statistics, Subject, WarmUp,
};
use atb_space::{Architecture, Precision, Workload};

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

/// Sends `lines` to the program and waits for as many answers or its end; the answers, its
/// error output and whether it succeeded.
fn converse(lines: &[String]) -> (Vec<Response>, String, bool) {
    converse_with(&[], lines)
}

fn converse_with(arguments: &[&str], lines: &[String]) -> (Vec<Response>, String, bool) {
    let mut child = agent(arguments);
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all((lines.join("\n") + "\n").as_bytes()).expect("listens");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut responses = Vec::new();
    for _ in lines {
        let mut line = String::new();
        if output.read_line(&mut line).expect("text") == 0 {
            break;
        }
        responses.push(serde_json::from_str(&line).expect("every line is a response"));
    }
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "", "more than was asked for");
    let output = child.wait_with_output().expect("ends");
    (responses, String::from_utf8_lossy(&output.stderr).into_owned(), output.status.success())
}

fn agent(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_atb-agent"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

fn request(request: &Request) -> String {
    serde_json::to_string(request).expect("serialises")
}

fn start() -> String {
    request(&Request::Start { protocol: Box::new(protocol()), onnx_runtime: None })
}

fn measure(subject: Subject) -> String {
    request(&Request::Measure { subject, role: Role::Sample })
}

#[test]
fn measures_architectures_and_model_files() {
    let arch: Architecture = "2-64-[96,128]-[2,4]-[32,48]".parse().expect("parses");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.onnx");
    Network::new(&arch, protocol().workload, &NetworkConfig::encoder(100))
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
        assert!(record.elapsed_ms >= record.inference_ms() && record.inference_ms() > 0.0);
        assert!(record.telemetry.baseline_us.is_some_and(|us| us > 0.0));
    }
}

#[test]
fn networks_of_integers_are_measured_and_run() {
    let arch: Architecture = "2-64-[96,128]-[2,4]-[32,48]".parse().expect("parses");
    let outputs = |precision: Precision| {
        let protocol = Box::new(Protocol { precision, ..protocol() });
        let baseline =
            Request::Measure { subject: Subject::architecture(arch.clone()), role: Role::Baseline };
        let (responses, stderr, success) = converse(&[
            request(&Request::Start { protocol, onnx_runtime: None }),
            measure(Subject::architecture(arch.clone())),
            request(&baseline),
            request(&Request::Run { arch: arch.clone() }),
        ]);
        assert!(success, "{stderr}");
        let [
            Response::Ready { agent, .. },
            Response::Measured { .. },
            Response::Measured { .. },
            Response::Ran { outputs },
        ] = &responses[..]
        else {
            panic!("unexpected: {responses:?}");
        };
        assert!(!agent.kernel.is_empty(), "{agent:?}");
        outputs.clone()
    };
    let (floats, integers) = (outputs(Precision::F32), outputs(Precision::Int8));
    let difference = floats.relative_difference(&integers);
    assert!((1e-4..0.1).contains(&difference), "{difference}");
}

#[test]
fn what_cannot_be_measured_is_answered_and_the_agent_goes_on() {
    let (responses, _, success) = converse(&[
        start(),
        measure(Subject::Model("no/such/model.onnx".to_owned())),
        measure(Subject::architecture("1-32-64-2-32".parse().expect("parses"))),
    ]);
    assert!(success);
    let [_, Response::Failed { subject, message, .. }, Response::Measured { .. }] = &responses[..]
    else {
        panic!("unexpected: {responses:?}");
    };
    assert_eq!(subject, "no/such/model.onnx");
    assert!(message.contains("failed to open file `no/such/model.onnx`"), "{message}");
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

#[test]
fn an_inspection_needs_no_protocol() {
    let (responses, _, success) = converse(&[request(&Request::Inspect)]);
    let [Response::Inspected { device, agent }] = &responses[..] else {
        panic!("unexpected: {responses:?}");
    };
    assert!(success);
    assert_eq!(device.isa, std::env::consts::ARCH);
    assert!(!device.clusters.is_empty() && !device.simulated);
    assert!(!agent.version.is_empty() && !agent.extensions.is_empty());
}

#[test]
fn an_architecture_runs_to_its_outputs() {
    let arch: Architecture = "1-32-64-2-32".parse().expect("parses");
    let run = request(&Request::Run { arch });
    let (responses, _, _) = converse(&[start(), run.clone(), run]);
    let [_, Response::Ran { outputs }, Response::Ran { outputs: again }] = &responses[..] else {
        panic!("unexpected: {responses:?}");
    };
    let states = outputs.get("last_hidden_state").expect("hidden states");
    assert_eq!((states.values.len(), &states.shape[..]), (16 * 32, &[1, 16, 32][..]));
    assert_eq!(outputs.get("pooler_output").expect("a pooler").values.len(), 32);
    assert!(states.values.iter().all(|value| value.is_finite()));
    assert_eq!(outputs, again);
}

#[test]
fn a_simulated_device_says_so_everywhere() {
    let arch: Architecture = "1-32-64-2-32".parse().expect("parses");
    let lines = [start(), measure(Subject::architecture(arch))];
    let (responses, _, success) = converse_with(&["--simulate", "{}"], &lines);
    let [Response::Ready { device, .. }, Response::Measured { record }] = &responses[..] else {
        panic!("unexpected: {responses:?}");
    };
    assert!(success && device.simulated);
    assert!(record.flags.contains(&Flag::Simulated));
    assert!(record.model_memory_kib() > Some(0));
}

#[test]
fn a_simulated_device_takes_a_model_file_for_the_architecture_that_it_names() {
    let arch: Architecture = "2-64-[96,128]-[2,4]-[32,48]".parse().expect("parses");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, workload| {
        let file = folder.path().join(name);
        Network::new(&arch, workload, &NetworkConfig::encoder(100))
            .write(&RandomWeights::new(1), &file)
            .expect("writes");
        file.display().to_string()
    };
    let file = write("model.onnx", protocol().workload);
    let longer = write("longer.onnx", Workload { batch: 1, sequence: 17 });
    let foreign = folder.path().join("foreign.onnx").display().to_string();
    std::fs::write(&foreign, []).expect("writes");
    let subjects = [
        Subject::architecture(arch.clone()),
        Subject::Model(file.clone()),
        Subject::Model(longer),
        Subject::Model(foreign.clone()),
        Subject::Model("no/such/model.onnx".to_owned()),
        Subject::OnnxRuntime(file),
    ];
    let lines: Vec<String> = [start()].into_iter().chain(subjects.map(measure)).collect();
    let quiet = "{\"noise\":0.0,\"outliers\":0.0}";
    let (responses, _, success) = converse_with(&["--simulate", quiet], &lines);
    assert!(success);
    let [
        Response::Ready { .. },
        Response::Measured { record: built },
        Response::Measured { record: loaded },
        refused @ ..,
    ] = &responses[..]
    else {
        panic!("unexpected: {responses:?}");
    };
    assert!(loaded.flags.contains(&Flag::Simulated));
    // On a device without noise all that differs is rounding: the clock has gone on.
    let ratio = |record| Statistics::of(record).expect("valid").ratio;
    assert!((ratio(loaded) / ratio(built) - 1.0).abs() < 1e-9);
    let messages: Vec<(&str, Option<&str>)> = refused
        .iter()
        .map(|response| match response {
            Response::Failed { message, hint, .. } => (message.as_str(), hint.as_deref()),
            other => panic!("unexpected: {other:?}"),
        })
        .collect();
    let [(shape, _), (nameless, remedy), (absent, _), (engine, _)] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert!(shape.contains("takes 1 sequences of 17 tokens"), "{shape}");
    assert!(
        nameless.starts_with(&format!("{foreign} does not say its architecture")),
        "{nameless}"
    );
    assert!(remedy.is_some_and(|hint| hint.contains("export it with `atb export`")), "{remedy:?}");
    assert!(absent.starts_with("failed to open file `no/such/model.onnx`"), "{absent}");
    assert!(engine.contains("cannot run in another engine on a simulated device"), "{engine}");
}

#[test]
fn a_model_that_does_not_fit_ends_the_simulated_agent() {
    let lines = [start(), measure(Subject::architecture(Architecture::bert_base()))];
    let (responses, stderr, success) =
        converse_with(&["--simulate", "{\"memory_mib\":64}"], &lines);
    assert_eq!(responses.len(), 1);
    assert!(!success && stderr.contains("out of memory: 12-768-3072-12-768"), "{stderr}");
}

#[test]
fn a_core_that_is_not_there_is_a_clear_refusal() {
    let protocol = Protocol { cores: vec![1000], ..protocol() };
    let start = request(&Request::Start { protocol: Box::new(protocol), onnx_runtime: None });
    let (responses, _, _) = converse(&[start]);
    let [Response::Failed { message, .. }] = &responses[..] else {
        panic!("unexpected: {responses:?}");
    };
    assert!(message.starts_with("core 1000 is not available"), "{message}");
}

/// A host that vanishes while a long measurement is on its way.
fn vanish(arguments: &[&str], measured: Architecture) {
    let mut child = agent(arguments);
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    writeln!(input, "{}", start()).expect("listens");
    output.read_line(&mut String::new()).expect("answers");
    writeln!(input, "{}", measure(Subject::architecture(measured))).expect("listens");
    drop(input);
    let begin = Instant::now();
    while child.try_wait().expect("known").is_none() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the agent goes on without its host");
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "", "the measurement was finished first");
}

#[test]
fn the_agent_ends_with_its_host_in_the_middle_of_a_measurement() {
    // A thousand real seconds for each simulated one.
    vanish(&["--simulate", "{\"pace\":1000.0}"], Architecture::bert_base());
}

#[test]
fn a_silent_host_counts_as_gone() {
    let mut child = agent(&["--silence", "1"]);
    // Its input stays open, as that of a connection does whose cable was pulled.
    let input = child.stdin.take();
    let output = child.wait_with_output().expect("ends");
    drop(input);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "the host was silent for 1 s\n");
}

#[test]
fn an_empty_line_is_answered_in_the_middle_of_a_measurement() {
    // A thousand real seconds for each simulated one: the measurement takes hours.
    let mut child = agent(&["--simulate", "{\"pace\":1000.0}", "--silence", "1"]);
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    writeln!(input, "{}", start()).expect("listens");
    // For longer than it bears silence.
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(200));
        writeln!(input).expect("listens");
        let mut line = String::new();
        output.read_line(&mut line).expect("answers");
        assert_eq!(line, "\n");
    }
    drop(input);
    assert!(child.wait().expect("ends").success());
}

#[cfg(target_os = "linux")]
#[test]
fn the_largest_architecture_of_the_papers_spaces_fits_into_500_megabytes() {
    let protocol = Protocol {
        workload: Workload::default(),
        min_pairs: 1,
        max_pairs: 1,
        settle_runs: 0,
        warm_up: WarmUp { max_runs: 1, ..WarmUp::default() },
        drift: DriftRule { max_redos: 0, ..DriftRule::default() },
        ..Protocol::default()
    };
    let start = request(&Request::Start { protocol: Box::new(protocol), onnx_runtime: None });
    let largest = Subject::architecture("8-768-3072-12-768".parse().expect("parses"));
    let (responses, _, _) = converse(&[start, measure(largest)]);
    let [_, Response::Measured { record }] = &responses[..] else {
        panic!("unexpected: {responses:?}");
    };
    let peak_kib = record.peak_memory_kib.expect("Linux tells");
    // Its 60 million weights are there, and not much else.
    assert!((230_000..500_000_000 / 1024).contains(&peak_kib), "{peak_kib} KiB");
}
