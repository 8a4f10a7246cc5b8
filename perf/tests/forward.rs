//! `dmsc-perf forward` from start to end, on null ports: every round is recorded, and processes are started anew as often as it was told.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn processes_are_started_anew_after_as_many_rounds_as_told() {
    let program = Path::new(env!("CARGO_BIN_EXE_dmsc-perf"));
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: DPDK needs root here");
        return;
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("skipped: two cores are needed");
        return;
    }
    let output = Command::new(program)
        .args([
            "forward", "--pmd", "null", "--mode", "mac", "--peer", "none",
        ])
        .args(["--prefixes", "1000", "--draws", "1024"])
        .args(["--ms", "100", "--rounds", "5", "--restart-every", "2"])
        .arg("--json")
        .output()
        .expect("started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(record["complete"], true);
    let rounds = record["rounds"].as_array().expect("rounds");
    let numbers: Vec<u64> = rounds.iter().filter_map(|r| r["round"].as_u64()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    // How long a process took to load its tables: the same in all of its rounds, and to the nanosecond that of no other.
    let mut loads: Vec<f64> = rounds.iter().filter_map(|r| r["load_s"].as_f64()).collect();
    assert_eq!(loads.len(), 5);
    loads.dedup();
    assert_eq!(loads.len(), 3, "{rounds:?}");
}
