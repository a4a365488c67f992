//! Building the agent for a device with what is installed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::agents::{AGENT, agent_path};
use crate::toolchain::{Tool, how_to_install};

/// cargo's profile for the smallest agent that is as fast as can be.
const SMALL: &str = "agent";

/// What makes the static agent smaller still: a program that aborts at a panic needs no
/// tables to unwind with, one that lies at a fixed place no relocations, and functions that
/// are alike are kept once. rust-lld knows all of it; other linkers may not.
const SMALL_FLAGS: &str = "-Crelocation-model=static -Cforce-unwind-tables=no \
                           -Clink-arg=--icf=all -Clink-arg=--no-eh-frame-hdr";

/// Why the agent could not be built.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BuildError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Cache(#[from] atb_files::CacheError),
    #[error("{} is not inside a checkout of autotinybert", folder.display())]
    #[diagnostic(help("run this in one, or name it with --source"))]
    NoSource { folder: PathBuf },
    #[error("nothing that is installed can build for {triple}: {lacks}")]
    #[diagnostic(help("{help}"))]
    NoTool { triple: String, lacks: String, help: String },
    #[error("`{program}` could not be started: {cause}")]
    Start { program: String, cause: std::io::Error },
    #[error("`{command}` failed ({status}); its messages are above")]
    Failed { command: String, status: String },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// How to build the agent.
#[derive(Clone, Debug)]
pub struct AgentBuild {
    /// The workspace's folder.
    pub source: PathBuf,
    /// What to build for.
    pub triple: String,
    /// Cargo's profile; `agent` makes the smallest program that is as fast as can be.
    pub profile: String,
    /// Folder of cargo's files.
    pub target_folder: PathBuf,
}

impl AgentBuild {
    /// Builds for `triple` from the checkout that `folder` lies in.
    ///
    /// # Errors
    /// [`BuildError::NoSource`] if it lies in none.
    pub fn find(folder: &Path, triple: &str) -> Result<Self, BuildError> {
        let is_source = |folder: &&Path| folder.join("profiler/agent/Cargo.toml").is_file();
        let source = folder
            .ancestors()
            .find(is_source)
            .ok_or_else(|| BuildError::NoSource { folder: folder.to_owned() })?;
        let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        Ok(Self {
            source: source.to_owned(),
            triple: triple.to_owned(),
            profile: SMALL.to_owned(),
            // Apart from the folder of the host's own builds, whose lock cargo holds while
            // it compiles.
            target_folder: target.unwrap_or_else(|| source.join("target")).join("agents"),
        })
    }

    /// The first tool that can build, fastest first.
    ///
    /// # Errors
    /// [`BuildError::NoTool`] saying what each of them lacks.
    pub fn tool(&self) -> Result<Tool, BuildError> {
        let mut lacks = Vec::new();
        for tool in Tool::ALL {
            let missing = tool.missing(&self.triple, &self.source);
            if missing.is_empty() {
                return Ok(tool);
            }
            lacks.push(format!("{tool} lacks {}", missing.join(" and ")));
        }
        let (triple, help) = (self.triple.clone(), how_to_install(&self.triple));
        Err(BuildError::NoTool { triple, lacks: lacks.join("; "), help })
    }

    /// The command that builds with `tool`.
    #[must_use]
    pub fn command(&self, tool: Tool) -> Command {
        let mut command = Command::new(if tool == Tool::Cross { "cross" } else { "cargo" });
        command.current_dir(&self.source);
        let is_glibc = self.triple.contains("-gnu");
        // With its C library inside it runs on systems older than this one.
        let is_static = tool == Tool::Cargo && self.triple.starts_with("armv7") && is_glibc;
        command.arg(match tool {
            Tool::Zigbuild => "zigbuild",
            _ if is_static => "rustc",
            _ => "build",
        });
        command.args(["--profile", &self.profile, "--package", AGENT]);
        command.arg("--target").arg(match tool {
            // The C library of Debian 10 and of every Raspberry Pi OS since.
            Tool::Zigbuild if is_glibc => format!("{}.2.28", self.triple),
            _ => self.triple.clone(),
        });
        command.arg("--target-dir").arg(&self.target_folder);
        let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", in_capitals(&self.triple));
        if tool == Tool::Cargo && self.profile == SMALL && self.triple.contains("-musl") {
            command.env(&flags, SMALL_FLAGS);
        }
        if is_static {
            command.env(&flags, "-Ctarget-feature=+crt-static");
            // The usual GNU linker loses the Thumb bit of the C library's indirect functions in
            // a program of this size, which then dies in its first memcpy.
            command.args(["--bin", AGENT, "--", "-Clink-arg=-fuse-ld=gold"]);
        }
        command
    }

    /// Builds with `tool`, whose messages go to standard error, and returns the agent's path
    /// among cargo's files.
    ///
    /// # Errors
    /// [`BuildError`] if it cannot be started or fails.
    pub fn build(&self, tool: Tool) -> Result<PathBuf, BuildError> {
        let mut command = self.command(tool);
        let words: Vec<_> = [command.get_program()]
            .into_iter()
            .chain(command.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let status = command
            .stdin(Stdio::null())
            .status()
            .map_err(|cause| BuildError::Start { program: words[0].clone(), cause })?;
        if !status.success() {
            let (command, status) = (words.join(" "), status.to_string());
            return Err(BuildError::Failed { command, status });
        }
        let profile = if self.profile == "dev" { "debug" } else { &self.profile };
        Ok(self.target_folder.join(&self.triple).join(profile).join(AGENT))
    }

    /// Puts the built agent where the transports look for it.
    ///
    /// # Errors
    /// [`BuildError::Io`] if it cannot be written.
    pub fn install(&self, built: &Path) -> Result<PathBuf, BuildError> {
        let path = agent_path(&self.triple)?;
        let bytes = fs_err::read(built)?;
        fs_err::create_dir_all(atb_files::folder_of(&path))?;
        atb_files::write_program(&path, &bytes)?;
        Ok(path)
    }
}

/// The triple as cargo writes it in the names of environment variables.
fn in_capitals(triple: &str) -> String {
    triple.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use miette::Diagnostic;

    use super::*;
    use crate::toolchain::compiler;

    fn build(triple: &str) -> AgentBuild {
        AgentBuild::find(Path::new(env!("CARGO_MANIFEST_DIR")), triple).expect("in a checkout")
    }

    #[test]
    fn the_source_is_found_from_any_folder_in_it() {
        let found = build("aarch64-unknown-linux-musl");
        assert!(found.source.join("targets/src/agent_build.rs").is_file());
        let error = AgentBuild::find(Path::new("/"), "x").expect_err("nowhere").to_string();
        assert!(error.contains("not inside a checkout"), "{error}");
    }

    #[test]
    fn what_every_tool_lacks_is_said() {
        let error = build("sparc64-unknown-moon").tool().expect_err("no such thing");
        let help = error.help().expect("a remedy").to_string();
        assert_eq!(
            help,
            "pip install ziglang cargo-zigbuild && rustup target add sparc64-unknown-moon"
        );
        let error = error.to_string();
        assert!(error.contains("cargo lacks a known C compiler for it"), "{error}");
        assert!(error.contains("cargo zigbuild lacks") && error.contains("cross lacks"), "{error}");
    }

    #[test]
    fn commands_are_what_a_person_would_type() {
        let words = |triple: &str, tool| {
            let command = AgentBuild { target_folder: "t".into(), ..build(triple) }.command(tool);
            let words: Vec<_> = [command.get_program()]
                .into_iter()
                .chain(command.get_args())
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            words.join(" ")
        };
        assert_eq!(
            words("aarch64-unknown-linux-musl", Tool::Cross),
            "cross build --profile agent --package atb-agent --target \
             aarch64-unknown-linux-musl --target-dir t"
        );
        assert_eq!(
            words("armv7-unknown-linux-gnueabihf", Tool::Zigbuild),
            "cargo zigbuild --profile agent --package atb-agent --target \
             armv7-unknown-linux-gnueabihf.2.28 --target-dir t"
        );
        assert_eq!(
            words("armv7-unknown-linux-gnueabihf", Tool::Cargo),
            "cargo rustc --profile agent --package atb-agent --target \
             armv7-unknown-linux-gnueabihf --target-dir t --bin atb-agent -- \
             -Clink-arg=-fuse-ld=gold"
        );
    }

    #[test]
    fn only_what_rust_lld_links_gets_its_flags() {
        let flags = |triple: &str, tool| {
            let command = build(triple).command(tool);
            let set = |(name, value): (&OsStr, Option<&OsStr>)| {
                let name = name.to_str()?;
                name.ends_with("_RUSTFLAGS").then(|| value?.to_str().map(str::to_owned))?
            };
            command.get_envs().find_map(set)
        };
        let small = flags("aarch64-unknown-linux-musl", Tool::Cargo).expect("flags");
        assert!(small.contains("--icf=all"), "{small}");
        assert_eq!(flags("aarch64-unknown-linux-musl", Tool::Zigbuild), None);
        assert_eq!(
            flags("armv7-unknown-linux-gnueabihf", Tool::Cargo).as_deref(),
            Some("-Ctarget-feature=+crt-static")
        );
    }

    #[test]
    fn the_configuration_names_a_compiler_for_every_known_triple() {
        let source = build("x").source;
        let read = |name: &str| {
            let text = fs_err::read_to_string(source.join(name)).expect(name);
            text.parse::<toml::Table>().expect(name)
        };
        let cargo = read(".cargo/config.toml");
        let cross = read("Cross.toml");
        let mut known = 0;
        for (triple, settings) in cargo["target"].as_table().expect("a table") {
            let (program, _) = compiler(triple).expect(triple);
            let variable = format!("CC_{}", triple.replace('-', "_"));
            let named = cargo["env"].get(&variable).or(settings.get("linker"));
            assert_eq!(named.and_then(toml::Value::as_str), Some(program), "{triple}");
            known += 1;
        }
        assert_eq!(known, 6);
        for (triple, settings) in cross["target"].as_table().expect("a table") {
            assert!(compiler(triple).is_some(), "{triple}");
            assert_eq!(settings["runner"].as_str(), Some("qemu-user"), "{triple}");
        }
    }
}
