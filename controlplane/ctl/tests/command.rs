//! The command itself against a small agent on a real Unix socket: output, JSON and exit status of every word.

mod fake;

use std::path::Path;
use std::process::Output;

use fake::{FakeAgent, Server};
use serde_json::Value;

/// Runs the command; the agent's socket is named unless `socket` is `None`.
async fn dmscctl(socket: Option<&Path>, words: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_dmscctl"));
    command
        .env_remove("DMSC_AGENT")
        .env_remove("DMSC_NODE")
        .args(words);
    if let Some(socket) = socket {
        command.env("DMSC_AGENT", socket);
    }
    command.kill_on_drop(true).output().await.expect("start")
}

async fn text(server: &Server, words: &[&str]) -> String {
    let output = dmscctl(Some(&server.socket()), words).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn json(server: &Server, words: &[&str]) -> Value {
    let words: Vec<&str> = std::iter::once("--json")
        .chain(words.iter().copied())
        .collect();
    serde_json::from_str(&text(server, &words).await).expect("one JSON document")
}

async fn json_lines(server: &Server, words: &[&str]) -> Vec<Value> {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    let text = text(server, &words).await;
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect()
}

#[tokio::test]
async fn show_words() {
    let server = Server::start(FakeAgent::default());
    let node = json(&server, &["show", "node"]).await;
    assert_eq!(node["name"], "sg1");
    assert_eq!(node["boot_nonce"], "ffffffffffffffff");
    assert!(
        text(&server, &["show", "node"])
            .await
            .contains("service gateway")
    );

    let ports = json(&server, &["show", "ports"]).await;
    assert_eq!(ports["ports"][0]["name"], "sr1");
    assert_eq!(ports["ports"][0]["mtu_bytes"], 9000);
    assert!(text(&server, &["show", "ports"]).await.contains("pod1"));

    let workers = json(&server, &["show", "workers"]).await;
    assert_eq!(workers["workers"][0]["core"], Value::Null);
    assert!(
        text(&server, &["show", "workers"])
            .await
            .contains("polling")
    );

    let attachments = json(&server, &["show", "attachments"]).await;
    assert_eq!(attachments["attachments"][0]["owns"][0], "/id/pod1/a");
    let attachments = text(&server, &["show", "attachments"]).await;
    assert!(attachments.contains("10.1.1.2:4000"), "{attachments}");

    let adjacencies = text(&server, &["show", "adjacencies"]).await;
    assert!(adjacencies.contains("02:00:00:00:00:02"), "{adjacencies}");
    let adjacencies = json(&server, &["show", "adjacencies"]).await;
    assert_eq!(adjacencies["adjacencies"][0]["state"], "up");
    // Keys never leave the agent's answer.
    assert!(adjacencies["adjacencies"][0].get("key").is_none());
}

#[tokio::test]
async fn show_tables_prints_what_is_asked_for() {
    let server = Server::start(FakeAgent::default());
    let all = text(&server, &["show", "tables"]).await;
    assert!(all.starts_with("generation 12: 1 prefixes"), "{all}");
    assert!(all.contains("nearest") && all.contains("deny"), "{all}");
    assert!(!all.contains("prefix  "), "{all}");
    let prefixes = json(&server, &["show", "tables", "--prefixes"]).await;
    assert_eq!(prefixes["prefixes"][0]["prefix"], "/shop/b");
    assert!(prefixes.get("groups").is_none());
}

#[tokio::test]
async fn show_counters_of_all_ports_and_one() {
    let server = Server::start(FakeAgent::default());
    let counters = json(&server, &["show", "counters"]).await;
    assert_eq!(counters["ports"][0]["difference"], 0);
    assert_eq!(counters["ports"][0]["drops"]["no-route"], 2);
    let one = text(&server, &["show", "counters", "pod1"]).await;
    assert!(one.contains("pod1") && !one.contains("sr1"), "{one}");

    let output = dmscctl(Some(&server.socket()), &["show", "counters", "eth9"]).await;
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("no port is named eth9"), "{stderr}");
}

#[tokio::test]
async fn show_runtime_is_a_difference() {
    let server = Server::start(FakeAgent::default());
    let runtime = json(&server, &["show", "runtime", "--interval", "1ms"]).await;
    let worker = &runtime["workers"][0];
    assert_eq!(worker["packets_per_second"], 1000.0);
    assert_eq!(worker["mean_burst"], 4.0);
    assert_eq!(worker["busy_ratio"], 0.3);
    assert_eq!(worker["cycles_per_packet"], 300.0);
    let lines = json_lines(
        &server,
        &["show", "runtime", "--interval", "1ms", "--count", "3"],
    )
    .await;
    assert_eq!(lines.len(), 3);
}

#[tokio::test]
async fn show_traffic_is_a_difference() {
    let server = Server::start(FakeAgent::default());
    let traffic = json(&server, &["show", "traffic", "--interval", "1ms"]).await;
    let prefix = &traffic["prefixes"][0];
    assert_eq!(prefix["prefix"], "/shop/b");
    assert_eq!(prefix["packets_per_second"], 1000.0);
    assert_eq!(prefix["p99_us"], 328.0);
    assert_eq!(prefix["members"][1]["bytes"], 225_000);
    let hops = &prefix["next_hops"];
    assert_eq!(hops[0]["adjacency"], serde_json::Value::Null);
    assert_eq!(
        (&hops[2]["adjacency"], &hops[2]["peer"]),
        (&4.into(), &6.into())
    );
    assert_eq!(hops[2]["bytes"], 75_000);
    let table = text(&server, &["show", "traffic", "--interval", "1ms"]).await;
    assert!(
        table.contains("/shop/b") && table.contains("150000"),
        "{table}"
    );
    let left = ["a pod here", "3 (node 5)", "4 (node 6)"];
    assert!(left.iter().all(|hop| table.contains(hop)), "{table}");
}

#[tokio::test]
async fn ping_and_trace() {
    let server = Server::start(FakeAgent::default());
    let ping = text(&server, &["ping", "/shop/b", "--count", "3"]).await;
    assert!(
        ping.contains("seq=2 rtt=3.000 ms") && ping.contains("3 sent, 3 answered"),
        "{ping}"
    );
    assert!(
        ping.ends_with("rtt min/avg/max = 1.000/2.000/3.000 ms\n"),
        "{ping}"
    );
    let lines = json_lines(&server, &["ping", "/shop/b", "-c", "2"]).await;
    assert_eq!(lines[0]["round_trip_ns"], 1_000_000);
    assert_eq!(lines[2]["kind"], "summary");

    let probe = text(&server, &["probe", "/shop/b", "--count", "3"]).await;
    assert!(
        probe.contains("seq=0 rtt=0.500 ms, residence 0.500 ms, healthy, load 12.5 %")
            && probe.contains("delay variation min/median/95 %/max = 1.000/"),
        "{probe}"
    );
    let lines = json_lines(&server, &["probe", "/shop/b", "-c", "2", "--pin", "4"]).await;
    assert_eq!(lines[1]["round_trip_ns"], 1_500_000);
    assert_eq!(lines[2]["delay_variation"]["max_ns"], 1_000_000);
    assert_eq!(lines[2]["load_permille"], 125);

    let lost = dmscctl(Some(&server.socket()), &["ping", "/shop/x", "-c", "1"]).await;
    assert_eq!(lost.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&lost.stdout).contains("no route"));

    let trace = text(&server, &["trace", "/shop/b"]).await;
    assert!(
        trace.contains("made here") && trace.contains("back"),
        "{trace}"
    );
    let trace = json(&server, &["trace", "/shop/b"]).await;
    assert_eq!(trace["way_there"][1]["node"], 4);
    assert_eq!(trace["way_back"][1]["out_port"], Value::Null);
    assert_eq!(trace["residence_ns"], 8_000);
}

#[tokio::test]
async fn explain_says_what_would_happen() {
    let server = Server::start(FakeAgent::default());
    let explained = text(&server, &["explain", "/shop/b/x", "--flow", "0x10"]).await;
    assert!(explained.contains("to gateway 4"), "{explained}");
    assert!(explained.contains("flow label 16"), "{explained}");
    let output = dmscctl(Some(&server.socket()), &["--json", "explain", "/nobody"]).await;
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["verdict"], "no-route");
}

#[tokio::test]
async fn capture_as_lines_and_as_a_file() {
    let server = Server::start(FakeAgent::default());
    let lines = text(&server, &["capture", "sr1", "--count", "2"]).await;
    assert_eq!(lines.lines().count(), 2);
    assert!(
        lines.contains("DMSC request") && lines.contains("/shop/b"),
        "{lines}"
    );
    let lines = json_lines(&server, &["capture", "sr1"]).await;
    assert_eq!(lines.len(), 10);
    assert_eq!(lines[1]["direction"], "out");
    assert_eq!(lines[0]["dmsc"]["destination_name"], "/shop/b");

    let file = server.directory().join("sr1.pcapng");
    let path = file.to_str().expect("UTF-8");
    text(&server, &["capture", "sr1", "-w", path]).await;
    let bytes = std::fs::read(&file).expect("written");
    assert_eq!(bytes[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    tshark_reads(path).await;

    // A wrong port leaves an earlier capture as it was.
    let wrong = dmscctl(Some(&server.socket()), &["capture", "eth9", "-w", path]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(std::fs::read(&file).expect("kept"), bytes);

    let piped = dmscctl(
        Some(&server.socket()),
        &["capture", "sr1", "-w", "-", "-c", "1"],
    )
    .await;
    assert_eq!(piped.stdout[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
}

/// A program that is not ours agrees on times, interface and direction; skipped where it is not installed.
async fn tshark_reads(path: &str) {
    let fields = [
        "-T",
        "fields",
        "-e",
        "frame.time_epoch",
        "-e",
        "frame.interface_name",
        "-e",
        "frame.packet_flags_direction",
        "-c",
        "2",
    ];
    let output = tokio::process::Command::new("tshark")
        .args(["-r", path])
        .args(fields)
        .output()
        .await;
    let Ok(output) = output else {
        eprintln!("skipped: tshark is not installed (apt-get install tshark)");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0][0], "1700000000.000000001");
    assert_eq!(lines[1][1], "sr1");
    assert!(
        lines[0][2].ends_with('1') && lines[1][2].ends_with('2'),
        "{text}"
    );
}

#[tokio::test]
async fn packets_and_events() {
    let server = Server::start(FakeAgent::default());
    let packets = text(&server, &["trace", "add", "2", "--port", "pod1"]).await;
    assert!(
        packets.contains("packet 2, received on pod1") && packets.contains("resolve"),
        "{packets}"
    );
    let packets = json_lines(&server, &["trace", "add", "2"]).await;
    assert_eq!(packets[1]["steps"][0]["at_ns"], 500);
    let events = text(&server, &["watch"]).await;
    assert!(events.contains("adjacency 1 to node 5 on sr1: up"));
    let events = json_lines(&server, &["watch"]).await;
    assert_eq!(events[1]["generation"], 13);
}

#[tokio::test]
async fn failures_name_what_to_do() {
    let nobody = dmscctl(Some(Path::new("/nonexistent/sg1.sock")), &["show", "ports"]).await;
    assert_eq!(nobody.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&nobody.stderr);
    assert!(stderr.contains("/nonexistent/sg1.sock"), "{stderr}");
    assert!(stderr.contains("No such file"), "{stderr}");

    let server = Server::start(FakeAgent {
        only_version: 9,
        ..FakeAgent::default()
    });
    let newer = dmscctl(Some(&server.socket()), &["show", "ports"]).await;
    assert_eq!(newer.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&newer.stderr);
    assert!(
        stderr.contains("this dataplane speaks version 9"),
        "{stderr}"
    );

    let usage = dmscctl(None, &["ping", "/a//b"]).await;
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("/a//b\n"));
}
