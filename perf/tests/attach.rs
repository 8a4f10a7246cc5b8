//! `dmsc-perf attach` from start to end: every kind of attachment carries calls and bulk, and nothing stays behind.

use std::path::Path;

mod run;

#[test]
fn every_kind_carries_calls_and_bulk() {
    let dataplane = Path::new(env!("CARGO_BIN_EXE_dmsc-perf")).with_file_name("dmsc-dataplane");
    if !dataplane.is_file() {
        eprintln!(
            "skipped: {} is not built: cargo build -p dmsc-dataplane",
            dataplane.display()
        );
        return;
    }
    let Some(record) = run::record("attach --seconds 1 --rounds 1 --rate 100 --sizes 8900") else {
        return;
    };
    assert_eq!(record["name"], "attach");
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
