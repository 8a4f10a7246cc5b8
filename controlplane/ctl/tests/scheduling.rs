//! Words about scheduling, against a small control plane and a small dataplane on real Unix sockets.

mod fake;

use std::process::Output;

use fake::operator::{FakeOperator, OperatorSocket};
use fake::{FakeAgent, Server};
use serde_json::Value;

async fn dmscctl(words: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_dmscctl"));
    command
        .env_remove("DMSC_AGENT")
        .env_remove("DMSC_NODE")
        .args(words);
    command.kill_on_drop(true).output().await.expect("start")
}

/// Standard output and error, with the exit status.
async fn said(words: &[&str]) -> (String, String, Option<i32>) {
    let output = dmscctl(words).await;
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code(),
    )
}

async fn text(node: &OperatorSocket, words: &[&str]) -> String {
    let socket = node.socket();
    let words: Vec<&str> = [&["--node", &socket], words].concat();
    let (out, err, status) = said(&words).await;
    assert_eq!(status, Some(0), "{words:?}: {err}");
    out
}

async fn json(node: &OperatorSocket, words: &[&str]) -> Value {
    let words: Vec<&str> = [&["--json"], words].concat();
    serde_json::from_str(&text(node, &words).await).expect("one JSON document")
}

fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in\n{text}");
    }
}

#[tokio::test]
async fn quality_policies_and_decisions() {
    let node = OperatorSocket::start(FakeOperator::default());
    let quality = text(&node, &["show", "quality"]).await;
    contains(
        &quality,
        &[
            "1.500",
            "port 3 of node 4",
            "9.5",
            "25.5",
            "draining",
            "100.00",
        ],
    );
    let quality = json(&node, &["show", "quality", "--to", "3"]).await;
    assert_eq!(quality["total"], 1);
    assert_eq!(quality["pairs"][0]["delay_p50_us"], Value::Null);
    assert_eq!(quality["pairs"][0]["loss_percent"], 100.0);

    let policies = text(&node, &["show", "policies"]).await;
    contains(
        &policies,
        &[
            "75 % to 2, 25 % to 3, nothing to 4",
            "8.2",
            "applied",
            "in force at 1, generation 12; refused by 2: older",
            "delay 60.0 ms ≥ 20.0 ms",
        ],
    );
    let policies = json(&node, &["show", "policies"]).await;
    assert_eq!(policies["policies"][0]["epoch"], "18446744073709551615");
    assert_eq!(policies["policies"][1]["outcomes"][1]["refused"], "older");

    let decisions = text(&node, &["show", "decisions"]).await;
    contains(
        &decisions,
        &["2023-11-14 22:13:20.000  /shop/b at gateway 1"],
    );
}

#[tokio::test]
async fn policies_by_hand() {
    let node = OperatorSocket::start(FakeOperator::default());
    let words = [
        "policy",
        "set",
        "/shop/b",
        "--gateway",
        "1",
        "--share",
        "2=3",
        "3=1",
        "--exclude",
        "4",
        "--ttl",
        "1m",
        "--reason",
        "canary",
    ];
    let set = text(&node, &words).await;
    contains(
        &set,
        &[
            "for /shop/b at gateway 1: 75 % to 2, 25 % to 3, nothing to 4, for 60.0 s",
            "sent;",
        ],
    );
    let set = json(&node, &words).await;
    assert_eq!(set["policy"]["shares"][0]["weight"], 3);
    let unset = text(&node, &["policy", "unset", "/shop/b"]).await;
    contains(&unset, &["at gateway 1,2;"]);

    let socket = node.socket();
    let refused = async |words: &[&str]| {
        let words: Vec<&str> = [&["--node", &socket], words].concat();
        let (_, err, status) = said(&words).await;
        assert_eq!(status, Some(2), "{words:?}");
        err
    };
    let change = |at: usize, to: &'static str| {
        let mut words = words;
        words[at] = to;
        words
    };
    contains(&refused(&change(4, "9")).await, &["these do: 1"]);
    contains(&refused(&change(6, "2=0")).await, &["--exclude 2"]);
    contains(&refused(&change(11, "2h")).await, &["'h' is not known"]);
    contains(&refused(&change(11, "90m")).await, &["2s to 60m"]);
    drop(node);
    let node = OperatorSocket::start(FakeOperator {
        only_view: true,
        ..FakeOperator::default()
    });
    let socket = node.socket();
    let words: Vec<&str> = [&["--node", &socket], &words[..]].concat();
    let (_, err, _) = said(&words).await;
    contains(&err, &["not permitted", "operate"]);
}

#[tokio::test]
async fn explain_tells_the_policy_too_and_does_with_one_of_both() {
    let agent = Server::start(FakeAgent::default());
    let socket = agent.socket().display().to_string();
    let beside = agent.directory().join("sg1.operator.sock");
    // The dataplane alone.
    let (out, err, status) = said(&["--agent", &socket, "explain", "/shop/b/x"]).await;
    assert_eq!(status, Some(0), "{err}");
    contains(
        &out,
        &["to gateway 4", "policy      not known: no operator socket"],
    );

    // Both: the control plane's socket is found beside the agent's, or the other way round.
    let node = OperatorSocket::start_at(FakeOperator::default(), &beside);
    let control = node.socket();
    for named in [["--agent", &socket], ["--node", &control]] {
        let (out, err, status) = said(&[named[0], named[1], "explain", "/shop/b/x"]).await;
        assert_eq!(status, Some(0), "{err}");
        contains(
            &out,
            &[
                "to gateway 4",
                "policy      5 of replica 2, for /shop/b: 75 % to 2",
                "applied",
                "because: /shop/b at gateway 1: to 3 delay",
            ],
        );
    }
    let words = ["--json", "--agent", &socket, "explain", "/shop/b/x"];
    let (out, _, _) = said(&words).await;
    let whole: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(whole["verdict"], "forward");
    assert_eq!(whole["policy"]["shares"][0]["percent"], 75.0);
    let (out, _, status) = said(&["--agent", &socket, "explain", "/nobody"]).await;
    assert_eq!(status, Some(1));
    contains(&out, &["policy      none: plain routes hold"]);

    // The control plane alone.
    drop(agent);
    let alone = OperatorSocket::start(FakeOperator::default());
    let control = alone.socket();
    let words = ["--node", &control, "explain", "/shop/b/x"];
    let (out, err, status) = said(&words).await;
    assert_eq!(status, Some(2));
    contains(
        &out,
        &["is not known; what the control plane says", "policy      5"],
    );
    contains(&err, &["no agent socket"]);
    let (out, _, _) = said(&[&["--json"], &words[..]].concat()).await;
    let half: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(half["policy"]["id"], "5");
}

#[tokio::test]
async fn explain_does_not_mix_two_nodes() {
    let agent = Server::start(FakeAgent::default());
    let other = OperatorSocket::start(FakeOperator {
        node: Some(2),
        ..FakeOperator::default()
    });
    let (socket, control) = (agent.socket().display().to_string(), other.socket());
    let words = ["--agent", &socket, "--node", &control, "explain", "/shop/b"];
    let (out, _, _) = said(&words).await;
    contains(&out, &["is of node 2, the dataplane of node 1"]);
}
