//! `dmsc-perf attach` from start to end: every kind of attachment carries calls and bulk, and nothing stays behind.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn every_kind_carries_calls_and_bulk() {
    let program = Path::new(env!("CARGO_BIN_EXE_dmsc-perf"));
    let dataplane = program.with_file_name("dmsc-dataplane");
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    if !dataplane.is_file() {
        eprintln!(
            "skipped: {} is not built: cargo build -p dmsc-dataplane",
            dataplane.display()
        );
        return;
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("skipped: two cores are needed");
        return;
    }
    let output = Command::new(program)
        .args(["attach", "--seconds", "1", "--rounds", "1", "--json"])
        .args(["--rate", "100", "--sizes", "8900"])
        .output()
        .expect("started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(record["schema"], 1);
    assert_eq!(record["name"], "attach");
    assert_eq!(record["complete"], true);
    let rounds = record["rounds"].as_array().expect("rounds");
    let kinds: Vec<&str> = rounds.iter().filter_map(|r| r["by"].as_str()).collect();
    assert_eq!(kinds, ["udp", "memif", "virtio", "vhost"]);
    for round in rounds {
        for load in ["low", "high", "bulk"] {
            let done = round[load]["seen"]["done"].as_u64();
            assert!(done.is_some_and(|done| done > 0), "{load}: {round}");
        }
        let low = &round["low"]["seen"];
        assert!(low["p50_us"].as_f64() > Some(1.0), "{round}");
    }
    let figures = record["result"]["figures"].as_array().expect("figures");
    assert_eq!(figures.len(), 4);
}
