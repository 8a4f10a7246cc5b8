//! One run of `dmsc-perf`, and what it recorded.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What `dmsc-perf ARGUMENTS --json` recorded; `None`, said aloud, where it cannot run.
pub fn record(arguments: &str) -> Option<Value> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: DPDK and network namespaces need root");
        return None;
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("skipped: two cores are needed");
        return None;
    }
    let output = Command::new(Path::new(env!("CARGO_BIN_EXE_dmsc-perf")))
        .args(arguments.split_whitespace())
        .arg("--json")
        .output()
        .expect("started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(record["schema"], 1);
    assert_eq!(record["complete"], true);
    Some(record)
}
