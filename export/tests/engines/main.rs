//! Bundles as apps open them, in candle, tract, ONNX Runtime and rten, and before the `onnx` package's checker.

mod apps;
mod bundles;
mod checker;
mod common;
mod heads;
mod rten_engine;
