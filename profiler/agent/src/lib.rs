//! The program that runs on the device and measures architectures.
