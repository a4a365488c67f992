//! Where a bundle is.

use std::path::Path;

use atb_app::{Bundle, Bytes, ModelError};
use jni_sys::{jbyteArray, jint, jlong};

use crate::environment::Environment;
use crate::failure::{Failure, Kind};

/// A path, bytes, or a part of an open file: the first of these that is there.
pub(crate) struct Source {
    pub(crate) path: jbyteArray,
    pub(crate) bytes: jbyteArray,
    pub(crate) descriptor: jint,
    pub(crate) offset: jlong,
    /// Negative for all that follow.
    pub(crate) length: jlong,
}

impl Source {
    /// Opens the bundle.
    pub(crate) fn open(&self, environment: Environment) -> Result<Bundle, Failure> {
        let opened = if !self.path.is_null() {
            Bundle::open(Path::new(&environment.text("path", self.path)?))
        } else if !self.bytes.is_null() {
            Bundle::from_bytes("bundle", Bytes::new(environment.bytes("bytes", self.bytes)?))
        } else {
            return self.in_file();
        };
        Ok(opened.map_err(ModelError::from)?)
    }

    #[cfg(unix)]
    fn in_file(&self) -> Result<Bundle, Failure> {
        use std::fs::File;
        use std::mem::ManuallyDrop;
        use std::os::fd::FromRawFd;

        let refused = |what: &str| Failure::new(Kind::Argument, format!("{what} is negative"));
        if self.descriptor < 0 {
            return Err(refused("the file descriptor"));
        }
        let offset = u64::try_from(self.offset).map_err(|_| refused("the offset"))?;
        let length = u64::try_from(self.length).ok();
        // SAFETY: the file is the caller's and stays so: it is never dropped, that is, closed. A
        // number that is no open file's gives errors.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(self.descriptor) });
        Ok(Bundle::from_file("bundle", &file, offset, length).map_err(ModelError::from)?)
    }

    #[cfg(not(unix))]
    fn in_file(&self) -> Result<Bundle, Failure> {
        Err(Failure::new(Kind::Argument, "this system has no file descriptors"))
    }
}
