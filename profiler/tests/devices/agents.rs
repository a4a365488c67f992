//! The agents for the emulated devices, built once for all tests.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use atb_measurements::Protocol;
use atb_space::Workload;
use atb_targets::{AgentBuild, Target, Tool};

pub(crate) static AARCH64: LazyLock<PathBuf> =
    LazyLock::new(|| build("aarch64-unknown-linux-musl"));
pub(crate) static ARMV7: LazyLock<PathBuf> =
    LazyLock::new(|| build("armv7-unknown-linux-gnueabihf"));

/// Builds the agent by the way that needs no network; what is lacking is a failure.
fn build(triple: &str) -> PathBuf {
    let target_folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("agents");
    let build = AgentBuild::find(Path::new(env!("CARGO_MANIFEST_DIR")), triple)
        // With the same kernels, in a tenth of the time that the `agent` profile takes.
        .map(|build| AgentBuild { target_folder, profile: "dev".to_owned(), ..build })
        .expect("the source is there");
    let missing = Tool::Cargo.missing(&build.triple, &build.source);
    assert!(
        missing.is_empty(),
        "the tests build the agent for {triple} and lack {}; on Debian: apt install \
         gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf \
         libc6-dev-armhf-cross && rustup target add {triple}",
        missing.join(" and ")
    );
    build.build(Tool::Cargo).expect("the agent builds")
}

/// The built-in target `name` with the freshly built agent.
pub(crate) fn target(name: &str) -> Target {
    let target = Target::find(name).expect("built in");
    let agent = if name.ends_with("a7") { &*ARMV7 } else { &*AARCH64 };
    Target { agent: Some(agent.clone()), ..target }
}

/// A protocol that an emulated processor goes through in a moment.
pub(crate) fn protocol() -> Protocol {
    Protocol {
        workload: Workload { batch: 1, sequence: 16 },
        reference: "1-64-128-4-64".parse().expect("parses"),
        min_pairs: 4,
        max_pairs: 6,
        max_seconds: 0.5,
        vocabulary: 100,
        ..Protocol::default()
    }
}
