//! The definitions that come with the program, the user's own, and finding one by name.

use std::env;
use std::path::{Path, PathBuf};

use atb_settings::visible;

use crate::error::TargetError;
use crate::target::Target;

/// Every file of `devices/`, by its name; `build.rs` collects them.
const BUILT_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/devices.rs"));

/// The folder of the user's own target files: `autotinybert/targets` in the user's
/// configuration folder.
#[must_use]
pub fn user_folder() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("XDG_CONFIG_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".config")))
        .unwrap_or_else(|| PathBuf::from("."))
        .join("autotinybert/targets")
}

impl Target {
    /// The names of the definitions that come with the program.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The target `name`: a file, one in [`user_folder`], or one that comes with the program.
    /// `NAME@ADDRESS` is that target at another host or, for adb, with another serial number.
    ///
    /// # Errors
    /// [`TargetError`] if there is none, or the file is no target.
    pub fn find(name: &str) -> Result<Self, TargetError> {
        if let Some(target) = Self::named(name)? {
            return Ok(target);
        }
        if let Some((name, address)) = name.split_once('@')
            && !address.is_empty()
            && let Some(target) = Self::named(name)?
            && let Some(target) = target.at(address)
        {
            return target;
        }
        let known: Vec<&str> = Self::built_in_names().collect();
        Err(TargetError::Unknown { name: visible(name), known: known.join(", ") })
    }

    /// The targets of [`user_folder`], in the order of their file names.
    ///
    /// # Errors
    /// [`TargetError`] if the folder or a file cannot be read.
    pub fn of_user() -> Result<Vec<Self>, TargetError> {
        let folder = user_folder();
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let entries = fs_err::read_dir(&folder)?;
        let mut paths: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn named(name: &str) -> Result<Option<Self>, TargetError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text, name).map(Some);
        }
        let own = user_folder().join(format!("{name}.toml"));
        let path = [Path::new(name), &own].into_iter().find(|path| path.is_file());
        path.map(Self::read).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;

    #[test]
    fn the_built_in_targets_parse_and_carry_their_names() {
        for name in Target::built_in_names() {
            let target = Target::find(name).expect(name);
            assert_eq!(target.name, name);
            assert!(!target.description.is_empty(), "{name}");
        }
        let names: Vec<&str> = Target::built_in_names().collect();
        for name in ["local", "simulated-phone", "raspberry-pi-4", "android-phone"] {
            assert!(names.contains(&name), "{name} among {names:?}");
        }
    }

    #[test]
    fn an_address_goes_to_the_transport() {
        let target = Target::find("android-phone@R58N").expect("valid");
        assert_eq!(target.name, "android-phone@R58N");
        let Transport::Adb(adb) = target.transport else { panic!("not adb") };
        assert_eq!(adb.serial.as_deref(), Some("R58N"));
        let Transport::Ssh(ssh) = Target::find("raspberry-pi-4@10.0.0.7").expect("valid").transport
        else {
            panic!("not ssh")
        };
        assert_eq!(ssh.address, "10.0.0.7");
        assert!(Target::find("local@10.0.0.7").is_err());
        for address in ["-oProxyCommand=x", "..\\..", "a/b", "\u{1b}[2J"] {
            let error = Target::find(&format!("raspberry-pi-4@{address}")).expect_err(address);
            assert!(matches!(error, TargetError::Address { .. }), "{error}");
            assert!(!error.to_string().contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn files_are_found_by_path_and_their_paths_count_from_their_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mine.toml");
        let text = "name = \"mine\"\nagent = \"bin/agent\"\n[transport]\nkind = \"local\"\n";
        std::fs::write(&path, text).expect("writes");
        let target = Target::find(&path.display().to_string()).expect("valid");
        assert_eq!(target.agent, Some(folder.path().join("bin/agent")));
        let error = Target::find("phone").expect_err("unknown").to_string();
        assert!(error.starts_with("there is no target `phone`"), "{error}");
    }
}
