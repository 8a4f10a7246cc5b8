use serde_json::{Value, json};

use super::figures::{Row, lists, pretty, rows};
use super::load::{Measurement, understand};
use super::plots::Drawn;
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
    assert_eq!(drawn.plots[0].series[0].points, [(1_000.0, 40.0)]);
    assert!(drawn.left_out.is_empty());
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

fn titles(drawn: &Drawn) -> Vec<&str> {
    drawn.plots.iter().map(|plot| &*plot.title).collect()
}

/// Names and values of the series of a plot.
fn series<'a>(drawn: &'a Drawn, title: &str) -> Vec<(&'a str, Vec<f64>)> {
    let plot = drawn.plots.iter().find(|plot| plot.title == title);
    let plot = plot.unwrap_or_else(|| panic!("no plot {title}: {:?}", titles(drawn)));
    let values = |points: &[(f64, f64)]| points.iter().map(|point| point.1).collect();
    let series = plot.series.iter();
    series.map(|s| (&*s.name, values(&s.points))).collect()
}

#[test]
fn tables_of_fib_are_the_series_of_one_plot() {
    let sample = |table: &str, rate: f64| json!({"table": table, "lookups": 100, "found": 100, "cpu_ns": 7, "lookups_per_s": rate});
    let rounds = json!([
        {"samples": [sample("ours", 3.0), sample("rte_hash", 2.0)]},
        {"samples": [sample("ours", 5.0), sample("rte_hash", 4.0)]},
    ]);
    let result =
        json!({"ratio": 1.3, "tables": [{"table": "ours", "lookups_per_s": 4.0, "found": 1.0}]});
    let drawn = plots::of(&measurement("fib", result, rounds));
    assert_eq!(
        titles(&drawn),
        [
            "samples.found",
            "samples.lookups_per_s",
            "samples.cpu_ns",
            "samples.lookups"
        ]
    );
    assert_eq!(
        series(&drawn, "samples.lookups_per_s"),
        [("ours", vec![3.0, 5.0]), ("rte_hash", vec![2.0, 4.0])]
    );
}

#[test]
fn bare_numbers_are_named_by_the_result() {
    let rounds = json!([{"mpps": [10.0, 19.0]}, {"mpps": [11.0, 21.0]}]);
    let result = json!({"mode": "mac", "workers": [1, 2], "mpps": [10.5, 20.0]});
    let drawn = plots::of(&measurement("scale", result, rounds.clone()));
    let expected = [
        ("workers 1", vec![10.0, 11.0]),
        ("workers 2", vec![19.0, 21.0]),
    ];
    assert_eq!(series(&drawn, "mpps"), expected);
    let drawn = plots::of(&measurement("scale", json!({}), rounds));
    assert_eq!(series(&drawn, "mpps")[1], ("1", vec![19.0, 21.0]));
}

#[test]
fn rates_of_idle_are_told_apart_by_text_and_number() {
    let at = |idle: &str, rate: u64, p99: f64| json!({"idle": idle, "packets_per_s": rate, "cpu_percent": 1.0, "threads": {"worker": 0.5}, "latency_us": {"p99": p99}});
    let rounds = json!([{
        "af_packet": [at("block", 1_000, 50.0), at("poll", 1_000, 20.0), at("block", 10_000, 40.0)],
        "memif": {"cpu_percent": 2.0, "first_packet_us": {"p99": 300.0}},
    }]);
    let result = json!({"cpu_percent": 1.0, "memif_cpu_percent": 2.0, "latency_us": {"p99": 50.0}});
    let drawn = plots::of(&measurement("idle", result, rounds));
    assert_eq!(
        series(&drawn, "af_packet.latency_us.p99"),
        [
            ("block, packets_per_s 1,000", vec![50.0]),
            ("poll, packets_per_s 1,000", vec![20.0]),
            ("block, packets_per_s 10,000", vec![40.0]),
        ]
    );
    // What the result calls by its full name, then what ends like a figure of the result, then the rest.
    assert_eq!(
        titles(&drawn),
        [
            "memif.cpu_percent",
            "af_packet.cpu_percent",
            "af_packet.latency_us.p99",
            "memif.first_packet_us.p99",
            "af_packet.threads.worker"
        ]
    );
}

fn gaps(p999: f64) -> Value {
    json!({"seconds": 3.0, "pps": 1e6, "busy_rounds": 1.0, "gap_us": {"p50": 0.0, "p99": 1.0, "p999": p999, "max": 9.0, "windows": 300}})
}

#[test]
fn figures_of_the_result_come_first_and_what_is_left_out_is_named() {
    let gap = json!({"p50": 0.0, "p99": 1.0, "p999": 2.0, "max": 9.0, "windows": 300});
    let visible = json!({"p50": 1.0, "p99": 2.0, "max": 3.0});
    let rounds = json!([{
        "load_s": 1.5, "prepared_s": 0.2, "generations": 100, "quiet": gaps(30.0), "loading": gaps(60.0),
        "visible_ms": visible, "memory_kib": [100, 200], "table_bytes": 800,
    }]);
    let result = json!({
        "load_s": 1.5, "gap_us": gap, "quiet_gap_us": gap, "loading_gap_us": gap, "visible_ms": visible, "mpps": 1.0,
    });
    let load = measurement("load", result, rounds);
    let drawn = plots::of(&load);
    assert_eq!(
        series(&drawn, "loading.gap_us.p999"),
        [("", vec![60.0])],
        "one kind of round needs no name"
    );
    assert_eq!(drawn.plots.len(), 16);
    let titles = titles(&drawn);
    for expected in [
        "load_s",
        "quiet.gap_us.max",
        "loading.gap_us.p50",
        "visible_ms.p99",
    ] {
        assert!(titles[..14].contains(&expected), "{expected}: {titles:?}");
    }
    assert_eq!(titles[14..], ["generations", "loading.busy_rounds"]);
    assert_eq!(
        drawn.left_out,
        [
            "loading.pps",
            "loading.seconds",
            "memory_kib",
            "prepared_s",
            "quiet.busy_rounds",
            "quiet.pps",
            "quiet.seconds",
            "table_bytes"
        ]
    );
    let page = page::page(&[load]).expect("a page");
    assert_eq!(page.matches("<svg").count(), 16);
    assert!(page.contains("without a plot: loading.pps, loading.seconds, memory_kib,"));
}

#[test]
fn churn_has_both_quiet_phases_of_every_round() {
    let round = |before: f64, between: f64, after: f64| json!({"quiet": [gaps(before), gaps(after)], "churning": gaps(between)});
    let rounds = json!([round(10.0, 50.0, 11.0), round(11.0, 60.0, 12.0)]);
    let drawn = plots::of(&measurement("churn", json!({}), rounds));
    assert_eq!(
        series(&drawn, "quiet.gap_us.p999"),
        [("0", vec![10.0, 11.0]), ("1", vec![11.0, 12.0])]
    );
    assert_eq!(
        series(&drawn, "churning.gap_us.p999")[0].1,
        vec![50.0, 60.0]
    );
}

#[test]
fn a_plot_of_too_many_lines_is_left_out() {
    let rounds = json!([{"kind": "delay", "calls": 5, "each_s": vec![1.0; 15]}]);
    let drawn = plots::of(&measurement("schedule", json!({}), rounds));
    assert_eq!(titles(&drawn), ["calls"]);
    assert_eq!(series(&drawn, "calls"), [("delay", vec![5.0])]);
    assert_eq!(drawn.left_out, ["each_s (15 lines)"]);
}
