use serde_json::Value;

use super::*;
use crate::http::load::Seen;

fn setting(rounds: u32) -> Setting {
    Setting {
        command: "dmsc-perf http".into(),
        machine: Machine {
            own: crate::record::Machine::read(),
            peers: Vec::new(),
        },
        plan: Plan {
            seconds: 1.0,
            warm_up: 0.1,
            connections: vec![16],
            rates: vec![1_000],
            cores: vec![0, 1],
        },
        size: 1_024,
        rounds,
        latency_rounds: 0,
        prices: Prices::default(),
    }
}

fn round(number: u32, column: Column, rps: f64, cpu_us: f64, p50_us: f64) -> Round {
    let seen = |rps| Seen {
        rps,
        p50_us,
        p99_us: 2.0 * p50_us,
        ..Seen::default()
    };
    let point = |rate, rps, cpu_us| Point {
        rate,
        reached: true,
        seen: seen(rps),
        cpu_us,
        ..Point::default()
    };
    Round {
        round: number,
        protocol: Protocol::H1,
        column,
        maximum: vec![point(None, rps, cpu_us), point(None, rps / 2.0, 999.0)],
        curve: vec![point(Some(1_000), 1_000.0, 2.0 * cpu_us)],
        memory: Vec::new(),
        throughput_gbps: None,
    }
}

fn json(rounds: Vec<Round>, count: u32) -> Value {
    serde_json::to_value(Report::new(setting(count), rounds, Vec::new(), true)).expect("JSON")
}

#[test]
fn what_is_promised_is_there_and_null_where_not_measured() {
    let value = json(vec![round(1, Column::Direct, 100.0, 20.0, 50.0)], 1);
    assert_eq!(value["schema"], 1);
    for field in ["command", "machine", "rounds", "result"] {
        assert!(!value[field].is_null(), "{field}");
    }
    for field in ["cpu", "kernel", "dpdk", "build"] {
        assert!(value["machine"][field].is_string(), "{field}");
    }
    for ours in ["edge", "library"] {
        let result = value["result"][ours].as_object().expect("an object");
        for field in [
            "cpu_vs_envoy",
            "cpu_vs_haproxy",
            "rps_vs_envoy",
            "p50_vs_envoy",
            "p99_vs_envoy",
            "memory_mb",
        ] {
            assert_eq!(result.get(field), Some(&Value::Null), "{ours}.{field}");
        }
    }
    let nothing = json(Vec::new(), 1);
    assert!(nothing["result"]["edge"]["memory_mb"].is_null());
}

#[test]
fn ratios_are_of_what_is_added_over_direct() {
    let mut rounds = Vec::new();
    for (number, disturbed) in [(1, 1.0), (2, 3.0), (3, 1.0)] {
        rounds.push(round(
            number,
            Column::Direct,
            50_000.0,
            20.0 * disturbed,
            50.0,
        ));
        rounds.push(round(
            number,
            Column::Envoy,
            10_000.0,
            90.0 * disturbed,
            250.0,
        ));
        rounds.push(round(
            number,
            Column::HaproxyHttp,
            20_000.0,
            60.0 * disturbed,
            150.0,
        ));
        rounds.push(round(
            number,
            Column::Edge,
            25_000.0,
            48.0 * disturbed,
            150.0,
        ));
    }
    rounds.last_mut().expect("rounds").memory = vec![
        Memory {
            services: 1,
            near_mb: 90.0,
            far_mb: 80.0,
            huge_mb: 64.0,
        },
        Memory {
            services: 100,
            near_mb: 99.0,
            far_mb: 120.0,
            huge_mb: 64.0,
        },
    ];
    let value = json(rounds, 3);
    let edge = &value["result"]["edge"];
    let near = |field: &str, wanted: f64| {
        let got = edge[field].as_f64().expect(field);
        assert!((got - wanted).abs() < 1e-9, "{field} {got}");
    };
    near("cpu_vs_envoy", 28.0 / 70.0);
    near("cpu_vs_haproxy", 0.7);
    near("rps_vs_envoy", 2.5);
    near("p50_vs_envoy", 0.5);
    near("p99_vs_envoy", 0.5);
    near("memory_mb", 120.0);
    assert!(value["result"]["library"]["cpu_vs_envoy"].is_null());
    let edge = &value["summary"][3];
    assert_eq!(edge["column"], "edge");
    assert_eq!(edge["break_even"]["envoy"], "always");
    assert_eq!(edge["added_cpu_us"]["max"], 84.0);
    assert_eq!(edge["curve"][1]["rate"], Value::Null);
}
