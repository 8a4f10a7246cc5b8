//! The words that a control plane answers, against a small one on a real Unix socket: output, JSON and exit status.

mod fake;

use std::process::Output;

use fake::operator::{CONFIG, FakeOperator, OperatorSocket};
use fake::{FakeAgent, Server};
use serde_json::Value;

async fn dmscctl(words: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_dmscctl"));
    command
        .env_remove("DMSC_AGENT")
        .env_remove("DMSC_NODE")
        .env_remove("DMSC_CREDENTIALS")
        .args(words);
    command.kill_on_drop(true).output().await.expect("start")
}

async fn text(node: &OperatorSocket, words: &[&str]) -> String {
    let socket = node.socket();
    let words: Vec<&str> = [&["--node", &socket], words].concat();
    let output = dmscctl(&words).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn json(node: &OperatorSocket, words: &[&str]) -> Value {
    let words: Vec<&str> = [&["--json"], words].concat();
    serde_json::from_str(&text(node, &words).await).expect("one JSON document")
}

async fn refused(node: &OperatorSocket, words: &[&str]) -> String {
    let socket = node.socket();
    let words: Vec<&str> = [&["--node", &socket], words].concat();
    let output = dmscctl(&words).await;
    assert_eq!(output.status.code(), Some(2), "{words:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in\n{text}");
    }
}

#[tokio::test]
async fn about_says_what_is_behind_and_wrong() {
    let node = OperatorSocket::start(FakeOperator::default());
    let about = text(&node, &["about"]).await;
    contains(
        &about,
        &[
            "service gateway",
            "programmed up to 7",
            "of them 1 in sync",
            "digest ffffffffffffffff",
            "alarm       3 installed",
        ],
    );
    let about = json(&node, &["about"]).await;
    assert_eq!(about["digest"], "ffffffffffffffff");
    assert_eq!(about["your_role"], "admin");
}

#[tokio::test]
async fn the_network() {
    let node = OperatorSocket::start(FakeOperator::default());
    let nodes = json(&node, &["show", "nodes"]).await;
    assert_eq!(nodes["nodes"][0]["metric"], 30);
    assert_eq!(nodes["nodes"][1]["metric"], Value::Null);
    assert_eq!(nodes["nodes"][0]["sequence"], "3.17");
    contains(&text(&node, &["show", "nodes"]).await, &["sg4", "3.17"]);

    let links = json(&node, &["show", "links"]).await;
    assert_eq!(links["links"][0]["own"]["refused_objects"], 2);
    assert!(links["links"][1].get("own").is_none());
    assert_eq!(links["links"][0]["measured_delay_us"], 1_480);
    assert_eq!(links["links"][0]["available_kbps"], 0);
    assert!(links["links"][1].get("loss_ppm").is_none(), "not told");
    let links = text(&node, &["show", "links"]).await;
    contains(&links, &["connecting: no route to host"]);
    contains(&links, &["loss %", "1480", "0.25", "1000.0", " 0.0 "]);

    let lsdb = text(&node, &["show", "lsdb"]).await;
    contains(&lsdb, &["adjacency", "accepted", "ffffffffffffffff"]);
    assert!(!lsdb.contains("link 1 to node 5"));
    let lsdb = text(&node, &["show", "lsdb", "--bodies"]).await;
    contains(&lsdb, &["\n  link 1 to node 5"]);
    let lsdb = json(&node, &["show", "lsdb"]).await;
    assert_eq!(lsdb["objects"][0]["id"], "ffffffffffffffff");

    let routes = json(&node, &["show", "routes"]).await;
    assert_eq!(routes["routes"][0]["next_hops"][1]["peer"], 6);
    assert_eq!(routes["routes"][0]["node_protecting"], Value::Null);
    let routes = text(&node, &["show", "routes"]).await;
    contains(&routes, &["version 8", "delay", "1 (node 5),2 (node 6)"]);
}

#[tokio::test]
async fn names_and_their_rights() {
    let node = OperatorSocket::start(FakeOperator::default());
    let words = ["show", "prefixes", "--under", "/shop", "--limit", "1"];
    let prefixes = text(&node, &words).await;
    contains(&prefixes, &["/shop/a", "stale", "1 of 2 prefixes"]);
    // Both pages, also beyond a limit that the first does not reach.
    for words in [
        &["show", "prefixes"][..],
        &["show", "prefixes", "--limit", "9"],
    ] {
        let prefixes = json(&node, words).await;
        assert_eq!(prefixes["prefixes"][0]["members"][0]["identity"], "pod1/a");
        assert_eq!(prefixes["prefixes"][1]["prefix"], "/shop/b");
    }

    let pods = text(&node, &["show", "pods"]).await;
    contains(
        &pods,
        &[
            "vhost",
            "[fd00::2]:4000",
            "and 1 more",
            "no authority answers",
        ],
    );
    let pods = json(&node, &["show", "pods"]).await;
    assert_eq!(pods["pods"][0]["kind"], "vhost");
    assert_eq!(pods["pods"][0]["serves"][3], "/shop/d");

    let rights = text(&node, &["show", "authorisations"]).await;
    contains(&rights, &["5 s ago", "expired", "key was lost", "in 60 s"]);
    contains(&rights, &["root", "node 5", "stolen", "keys abab"]);
    assert!(!rights.contains("more"), "{rights}");
    let rights = json(&node, &["show", "authorisations"]).await;
    assert_eq!(
        rights["authorisations"][0]["serial"],
        "18446744073709551615"
    );
    assert_eq!(rights["revocations"][0]["name"], Value::Null);
    assert_eq!(rights["revocations"][1]["node"], 5);
    assert_eq!(rights["revocations"][2]["key_sha256"][0], "ab".repeat(32));
}

#[tokio::test]
async fn convergence_and_audit() {
    let node = OperatorSocket::start(FakeOperator::default());
    let stages = text(&node, &["show", "convergence"]).await;
    contains(&stages, &["routed to programmed", "1.500", "2.500"]);
    let stages = json(&node, &["show", "convergence"]).await;
    assert_eq!(stages["stages"][0]["p99_us"], 2_000);
    let audit = text(&node, &["show", "audit"]).await;
    contains(&audit, &["2023-11-14 22:13:20.000", "uid 0 (root)"]);
    let audit = json(&node, &["show", "audit"]).await;
    assert_eq!(audit["records"][0]["outcome"], "ok");
}

#[tokio::test]
async fn configurations_as_a_whole() {
    let node = OperatorSocket::start(FakeOperator::default());
    let same = node.file("[node]\nid = 1\n");
    assert!(
        text(&node, &["config", "check", &same])
            .await
            .ends_with(": ok\n")
    );
    contains(
        &text(&node, &["config", "diff", &same]).await,
        &["no change"],
    );
    let other = node.file("metric = 20\n");
    let line = "adjacency[1].metric: 10 -> 20\n";
    assert_eq!(text(&node, &["config", "diff", &other]).await, line);
    let applied = text(&node, &["config", "apply", &other]).await;
    assert_eq!(applied, format!("{line}applied; generation 13\n"));
    let applied = json(&node, &["config", "apply", &other]).await;
    assert_eq!(
        (&applied["changed"], &applied["generation"]),
        (&true.into(), &13.into())
    );
    assert_eq!(text(&node, &["config", "dump"]).await, CONFIG);
    assert_eq!(json(&node, &["config", "dump"]).await["text"], CONFIG);

    let wrong = node.file("mistake\n");
    let stderr = refused(&node, &["config", "apply", &wrong]).await;
    contains(
        &stderr,
        &[
            "file.toml was refused, nothing was changed:\n  line 3:",
            "\n  line 9:",
        ],
    );
    let stderr = refused(&node, &["config", "check", "/nonexistent/x.toml"]).await;
    contains(&stderr, &["cannot read /nonexistent/x.toml"]);
}

#[tokio::test]
async fn a_dataplanes_configuration_goes_to_its_agent() {
    let agent = Server::start(FakeAgent::default());
    let socket = agent.socket().display().to_string();
    let file = agent.directory().join("x.toml");
    std::fs::write(&file, "budget_pps = 30000\n").expect("write");
    let file = file.display().to_string();
    let output = dmscctl(&["--agent", &socket, "config", "apply", &file]).await;
    let stdout = String::from_utf8_lossy(&output.stdout);
    contains(&stdout, &["port[2].budget_pps: 20000 -> 30000"]);
    let output = dmscctl(&["--agent", &socket, "config", "dump"]).await;
    contains(&String::from_utf8_lossy(&output.stdout), &["[node]"]);

    let neither = dmscctl(&["config", "apply", &file]).await;
    assert_eq!(neither.status.code(), Some(2));
    contains(
        &String::from_utf8_lossy(&neither.stderr),
        &["whose configuration?"],
    );
}

#[tokio::test]
async fn drains_come_to_an_end_or_say_why_not() {
    let node = OperatorSocket::start(FakeOperator::default());
    let stages = text(&node, &["drain", "--timeout", "2s"]).await;
    contains(&stages, &["withdrawing 3 prefixes", "drained     nothing"]);
    let stages = text(&node, &["--json", "drain", "--timeout", "2s"]).await;
    let last: Value =
        serde_json::from_str(stages.lines().last().expect("a line")).expect("a JSON line");
    assert_eq!(last["done"], true);
    contains(&text(&node, &["undrain"]).await, &["in service"]);

    let node = OperatorSocket::start(FakeOperator {
        stuck: true,
        ..FakeOperator::default()
    });
    let stderr = refused(&node, &["drain", "--timeout", "2s"]).await;
    contains(&stderr, &["not drained: node 5"]);
}

#[tokio::test]
async fn revocations_say_what_they_mean() {
    let node = OperatorSocket::start(FakeOperator::default());
    let words = ["revoke", "/shop/a", "--identity", "pod1/a", "--reason", "x"];
    contains(&text(&node, &words).await, &["serial 18446744073709551615"]);
    {
        let revoked = node.operator.revoked.lock().expect("unpoisoned");
        assert_eq!(revoked[0].name, b"\x04shop\x01a");
        assert_eq!(
            (revoked[0].gateway, revoked[0].identity.as_str()),
            (0, "pod1/a")
        );
    }
    let node = OperatorSocket::start(FakeOperator {
        only_view: true,
        ..FakeOperator::default()
    });
    let stderr = refused(&node, &words).await;
    contains(&stderr, &["not permitted", "role operate, yours is view"]);
}

#[tokio::test]
async fn what_the_root_took_back_is_given() {
    let node = OperatorSocket::start(FakeOperator::default());
    let signed = node.file("signed");
    let given = text(&node, &["give", &signed]).await;
    contains(&given, &["taken; it voids node 3"]);
    let given = json(&node, &["give", &signed]).await;
    assert_eq!(given["known"], false);
    let stderr = refused(&node, &["give", &node.file("forged")]).await;
    contains(&stderr, &["not believed: bad signature"]);
}

#[tokio::test]
async fn nobody_there() {
    let output = dmscctl(&["--node", "/nonexistent/a.sock", "about"]).await;
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    contains(&stderr, &["/nonexistent/a.sock", "No such file"]);
    let output = dmscctl(&["--node", "https://127.0.0.1:1", "about"]).await;
    contains(
        &String::from_utf8_lossy(&output.stderr),
        &["--credentials FOLDER"],
    );
    let words = [
        "--node",
        "https://127.0.0.1:1",
        "--credentials",
        "/nonexistent",
        "about",
    ];
    let output = dmscctl(&words).await;
    contains(
        &String::from_utf8_lossy(&output.stderr),
        &["cannot read /nonexistent/root.pem"],
    );
}
