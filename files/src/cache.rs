//! Where files are kept that can be had again.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no cache folder.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CacheError {
    #[error(transparent)]
    #[diagnostic(help("set ATB_CACHE to a folder that you can write to"))]
    Io(#[from] io::Error),
    #[error("there is no folder for the cache: ATB_CACHE, XDG_CACHE_HOME and HOME are all unset")]
    #[diagnostic(help("set ATB_CACHE to a folder of yours"))]
    Unset,
    #[error("the cache folder {} belongs to another user (user id {owner})", path.display())]
    #[diagnostic(help("set ATB_CACHE to a folder of yours"))]
    OtherOwner { path: PathBuf, owner: u32 },
    #[error("other users can write to the cache folder {} (mode {mode:03o})", path.display())]
    #[diagnostic(help(
        "empty it if you do not trust what is in it, then `chmod 700 {}`; or set ATB_CACHE to a \
         private folder", path.display()
    ))]
    Writable { path: PathBuf, mode: u32 },
}

/// The folder where files are kept that can be had again: `ATB_CACHE`, or `autotinybert` in
/// the user's cache folder. It is created, for the user alone, if it is not there.
///
/// # Errors
/// [`CacheError`] if no variable says where, or if another user could put files there that
/// this user would then run.
pub fn cache_folder() -> Result<PathBuf, CacheError> {
    let folder = place(|name| env::var_os(name))?;
    if !folder.exists() {
        create_private(&folder)?;
    }
    check_private(&folder)?;
    Ok(folder)
}

fn place(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, CacheError> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("ATB_CACHE") {
        return Ok(folder);
    }
    // A relative one is to be ignored, says the XDG Base Directory Specification.
    let base = set("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
    let base = base.or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(base.ok_or(CacheError::Unset)?.join("autotinybert"))
}

fn create_private(folder: &Path) -> io::Result<()> {
    fs_err::create_dir_all(crate::folder_of(folder))?;
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has such permissions"))]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let created = builder.create(folder).map_err(|source| {
        let text = format!("failed to create folder `{}`: {source}", folder.display());
        io::Error::new(source.kind(), text)
    });
    match created {
        // Another process was quicker; whose it is will be checked.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

#[cfg(unix)]
fn check_private(folder: &Path) -> Result<(), CacheError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs_err::metadata(folder)?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o777);
    let path = folder.to_owned();
    // What root provides can be relied on: it could replace this program as well.
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(CacheError::OtherOwner { path, owner });
    }
    if mode & 0o022 != 0 {
        return Err(CacheError::Writable { path, mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> Result<(), CacheError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_where_and_nothing_else_does() {
        let place = |variables: &[(&str, &str)]| {
            place(|name| {
                let value = variables.iter().find(|(variable, _)| *variable == name);
                value.map(|(_, value)| value.into())
            })
            .map_err(|error| error.to_string())
        };
        assert_eq!(place(&[("ATB_CACHE", "mine"), ("HOME", "/home/a")]), Ok("mine".into()));
        let shared = "/home/a/.cache/autotinybert".into();
        assert_eq!(place(&[("ATB_CACHE", ""), ("HOME", "/home/a")]), Ok(shared));
        let relative = [("XDG_CACHE_HOME", "cache"), ("HOME", "/home/a")];
        assert_eq!(place(&relative), Ok("/home/a/.cache/autotinybert".into()));
        let error = place(&[]).expect_err("nowhere");
        assert!(error.contains("ATB_CACHE, XDG_CACHE_HOME and HOME are all unset"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn the_cache_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("deep/cache");
        create_private(&cache).expect("creates");
        create_private(&cache).expect("is there");
        check_private(&cache).expect("private");
        let mode = fs_err::metadata(&cache).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs_err::set_permissions(&cache, std::fs::Permissions::from_mode(0o775)).expect("permits");
        let error = check_private(&cache).expect_err("others can write").to_string();
        assert!(error.starts_with("other users can write to the cache folder"), "{error}");
        assert!(error.ends_with("(mode 775)"), "{error}");
    }
}
