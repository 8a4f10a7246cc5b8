//! Hands the program what only the build knows: the compiler and its flags, which every record of a measurement names.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_default();
    println!("cargo::rustc-env=DMSC_RUSTC={}", version.trim());
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let flags: Vec<&str> = flags.split('\u{1f}').collect();
    println!("cargo::rustc-env=DMSC_RUSTFLAGS={}", flags.join(" "));
    let level = std::env::var("OPT_LEVEL").unwrap_or_default();
    println!("cargo::rustc-env=DMSC_OPT_LEVEL={level}");
    println!("cargo::rerun-if-changed=build.rs");
}
