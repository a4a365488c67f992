//! Real transports and real agents: aarch64 and armv7 programs under emulation, a real SSH
//! server on a loopback port, the real `adb` program.
//!
//! What these tests need is part of a development machine; on Debian:
//!
//! ```sh
//! apt install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
//!     gcc-arm-linux-gnueabihf libc6-dev-armhf-cross openssh-server openssh-client adb
//! rustup target add aarch64-unknown-linux-musl armv7-unknown-linux-gnueabihf
//! ```

mod adb;
mod adbd;
mod agents;
mod emulated;
mod processes;
mod ssh;
mod sshd;
