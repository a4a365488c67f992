#!/usr/bin/env bash
# Builds CAutotinybert.xcframework: the static library for iPhones, their simulator and Macs.
# Needs Xcode and Rust.
set -euo pipefail
cd "$(dirname "$0")/.."

# The sources of autotinybert, which the library is built from.
source="${AUTOTINYBERT_SOURCE:-@source@}"
targets=(
    aarch64-apple-ios
    aarch64-apple-ios-sim x86_64-apple-ios
    aarch64-apple-darwin x86_64-apple-darwin
)
# The oldest systems that Package.swift names.
export IPHONEOS_DEPLOYMENT_TARGET=15.0 MACOSX_DEPLOYMENT_TARGET=12.0

rustup target add "${targets[@]}"
for target in "${targets[@]}"; do
    cargo rustc --manifest-path "$source/Cargo.toml" -p atb-c --profile app \
        --crate-type staticlib --target "$target"
done

library() { echo "$source/target/$1/app/libautotinybert.a"; }
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
mkdir "$built/simulator" "$built/mac"
lipo -create "$(library aarch64-apple-ios-sim)" "$(library x86_64-apple-ios)" \
    -output "$built/simulator/libautotinybert.a"
lipo -create "$(library aarch64-apple-darwin)" "$(library x86_64-apple-darwin)" \
    -output "$built/mac/libautotinybert.a"

rm -rf CAutotinybert.xcframework
xcodebuild -create-xcframework \
    -library "$(library aarch64-apple-ios)" -headers include \
    -library "$built/simulator/libautotinybert.a" -headers include \
    -library "$built/mac/libautotinybert.a" -headers include \
    -output CAutotinybert.xcframework
