use serde_json::{Value, json};

use super::figures::{Row, lists, pretty, rows};
use super::load::{Measurement, understand};
use super::{page, plot, plots};

fn measurement(name: &str, result: Value, rounds: Value) -> Measurement {
    let record = json!({
        "schema": 1, "name": name, "command": format!("dmsc-perf {name} <1>"), "complete": true,
        "machine": {"cpu": "EPYC", "kernel": "6.1", "dpdk": "DPDK 22.11", "cores": [0, 1]},
        "rounds": rounds, "result": result,
    });
    understand(&format!("{name}.json"), record).expect("a record")
}

fn forward(mode: &str, prefixes: u64, mpps: f64) -> Measurement {
    let result = json!({"pmd": "memif", "frame": "192", "mode": mode, "prefixes": prefixes, "mpps": mpps, "peer_mpps": 30.0,
        "ratio": 0.5, "ratio_min": 0.4, "ratio_max": 0.6});
    measurement("forward", result, json!([]))
}

#[test]
fn results_become_rows() {
    let result = json!({
        "ratio": 1.0234, "ratio_min": 1.01, "ratio_max": 1.05, "missing": null, "confirmed": true,
        "latency_us": {"p50": 12.5}, "added": {"median": 5.0, "min": 4.0, "max": 6.5, "rounds": 5},
        "all": [{"pmd": "memif", "pdr_mpps": 2_345_678, "latency": [{"share": 0.5, "us": {"p99": 7}}]}, {"pmd": "vhost", "ndr_mpps": 1}],
    });
    let row = |name: &str, text: &str| Row {
        name: name.into(),
        text: text.into(),
    };
    let mut expected = vec![
        row("ratio", "1.023 (1.01 … 1.05)"),
        row("confirmed", "yes"),
        row("latency_us.p50", "12.5"),
        row("added", "5 (4 … 6.5)"),
    ];
    let mut got = rows(&result);
    // The order of fields is that of the file, or of the alphabet.
    let key = |row: &Row| row.name.clone();
    got.sort_by_key(key);
    expected.sort_by_key(key);
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(got.text, expected.text, "{}", expected.name);
    }
    let lists = lists(&result);
    assert_eq!(lists.len(), 2);
    let (all, latency) = (&lists[0], &lists[1]);
    assert_eq!(all.header, ["pmd", "pdr_mpps", "ndr_mpps"]);
    assert_eq!(all.rows[0], ["memif", "2,345,678"]);
    assert_eq!(all.rows[1], ["vhost", "", "1"]);
    assert_eq!((&*latency.name, latency.rows.len()), ("all.latency", 1));
    assert_eq!(latency.header, ["pmd", "share", "us.p99"]);
    assert_eq!(latency.rows[0], ["memif", "0.5", "7"]);
}

#[test]
fn numbers_are_readable() {
    let texts = [0.0, 0.000_123_456, 1.5, 42.0, 999.96, 1_234_567.8, -3.25].map(pretty);
    assert_eq!(
        texts,
        ["0", "0.0001235", "1.5", "42", "1000", "1,234,568", "−3.25"]
    );
}

#[test]
fn rates_are_drawn_over_prefixes() {
    let all = [
        forward("name", 1_000_000, 14.0),
        forward("name", 1, 20.0),
        forward("gateway", 1_000_000, 26.0),
    ];
    let plot = plots::prefixes(&all).expect("a plot");
    let names: Vec<&str> = plot.series.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["gateway", "name", "testpmd mac"]);
    assert_eq!(plot.series[1].points, [(1.0, 20.0), (1e6, 14.0)]);
    let svg = plot::draw(&plot).expect("drawn");
    assert!(svg.starts_with("<svg") && svg.contains("testpmd mac"));
    assert!(plots::prefixes(&[measurement("fib", json!({}), json!([]))]).is_none());
}

#[test]
fn the_page_stands_alone() {
    let rfc2544 = json!({"all": [{"pmd": "memif", "frame": "128", "mode": "name", "pdr_mpps": 2.0,
        "latency": [{"share": 0.5, "us": {"p99": 20.0}}]}]});
    let rounds = json!([
        {"round": 1, "mode": "name", "ours": {"mpps": 1.0}},
        {"round": 2, "mode": "name", "ours": {"mpps": 2.0}},
    ]);
    let all = [
        forward("name", 1_000, 14.0),
        measurement("rfc2544", rfc2544, json!([])),
        measurement("foreign", json!({"ratio": 1.0}), rounds),
    ];
    let page = page::page(&all).expect("a page");
    assert_eq!(page.matches("<svg").count(), 1 + 2 + 1);
    assert!(page.contains("dmsc-perf foreign &lt;1&gt;") && page.contains("ours.mpps"));
    for from_outside in ["src=", "href=\"http", "@import", "url("] {
        assert!(!page.contains(from_outside), "{from_outside}");
    }
}

#[test]
fn http_has_no_name_and_other_files_are_refused() {
    let http = json!({
        "schema": 1, "command": "./dmsc-perf http --quick", "machine": {}, "rounds": [], "result": {},
        "summary": [{"protocol": "h1", "column": "edge", "curve": [{"rate": 1000, "added_us": {"median": 40.0}}, {"rate": null}]}],
    });
    let http = understand("http.json", http).expect("a record");
    assert_eq!(http.name, "http");
    let drawn = plots::of(&http);
    assert_eq!(drawn[0].series[0].points, [(1_000.0, 40.0)]);
    let error = understand("x.json", json!({}))
        .expect_err("none")
        .to_string();
    assert!(
        error.contains("x.json") && error.contains("--json"),
        "{error}"
    );
    let error = understand("x.json", json!({"schema": 99})).expect_err("later");
    assert!(error.to_string().contains("schema 99"), "{error}");
}
