//! What each fuzz target does with its bytes.
//!
//! A body takes the bytes for a file or for lines of another process, reads them with the very
//! functions that `atb` reads them with, and does with what was read what a command would do. It
//! must not panic, whatever the bytes are; where a body checks more, its comment says what.
//! Beside libFuzzer, an ordinary test runs the kept inputs of `fuzz/corpus` through them.

mod data;
mod models;
mod records;
mod scratch;
mod settings;
mod wire;

/// A body by its name.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its program and of its folder of kept inputs.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($module:ident::$name:ident,)*) => {
        $(pub use $module::$name;)*

        /// All targets.
        pub const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), run: $module::$name },)*];
    };
}

targets! {
    records::measurements,
    records::predictor,
    records::search,
    records::reports,
    settings::configurations,
    settings::devices,
    wire::requests,
    wire::answers,
    models::config,
    models::safetensors,
    models::pickle,
    models::onnx,
    data::shards,
    data::text,
    data::tasks,
}

/// What separates the parts of an input that stands for several files; it is never part of UTF-8.
pub const SEPARATOR: u8 = 0xff;

/// Keeps a fuzzer from taking the engine's panics, which a session makes errors of, for its own.
/// To be called once, when the fuzzer has set its hook.
pub fn pass_guarded_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !atb_runtime::is_guarded() {
            hook(panic);
        }
    }));
}
