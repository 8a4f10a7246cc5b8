//! The command over the model gateway: serve, call, ping, bench, calls.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use crate::gateway::Gateway;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn command(gateway: &Gateway, identity: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmsc-pod"));
    command
        .env("DMSC_GATEWAY", gateway.registrar().to_string())
        .args(["--identity", identity, "--json"]);
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A server, ended by SIGTERM.
struct Server(Child);

impl Server {
    async fn start(gateway: &Gateway, name: &str) -> Self {
        let mut command = command(gateway, "pod1/a");
        command
            .args(["serve", "--instance", "b1", "--name", name])
            .stdout(Stdio::piped());
        tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().unwrap())
                .read_line(&mut line)
                .unwrap();
            assert!(line.contains("\"serving\":1"), "{line}");
            Self(child)
        })
        .await
        .unwrap()
    }

    async fn end(mut self) {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        tokio::task::spawn_blocking(move || assert!(self.0.wait().unwrap().success()))
            .await
            .unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_pings_and_benches_are_answered_by_serve() {
    let gateway = Gateway::start().await;
    let server = Server::start(&gateway, "/shop/b").await;
    let folder = tempfile::tempdir().unwrap();

    let mut call = command(&gateway, "pod1/c");
    call.args(["call", "/shop/b/x", "--data", "hello"]);
    let answer = json(&output(call).await);
    assert_eq!(
        (
            &answer["instance"],
            &answer["gateway"],
            &answer["attachment"]
        ),
        (&"b1".into(), &1.into(), &1.into())
    );
    assert_eq!(answer["bytes"], 8, "instance, zero, echo");

    let mut ping = command(&gateway, "pod1/c");
    ping.args(["ping", "/shop/b", "--record"]);
    assert_eq!(
        json(&output(ping).await)["hops"].as_array().unwrap().len(),
        2
    );

    let records = folder.path().join("records");
    let mut bench = command(&gateway, "pod1/c");
    bench
        .args([
            "bench",
            "/shop/b",
            "/shop/b/y",
            "--rate",
            "500",
            "--duration",
            "0.4",
            "--records",
        ])
        .arg(&records);
    let output_of_bench = output(bench).await;
    let report = json(&output_of_bench);
    assert_eq!(
        (&report["sent"], &report["answered"], &report["lost"]),
        (&200.into(), &200.into(), &0.into())
    );
    assert_eq!(report["by_responder"].as_array().unwrap().len(), 2);
    assert!(String::from_utf8_lossy(&output_of_bench.stderr).starts_with("started "));
    let text = std::fs::read_to_string(&records).unwrap();
    assert_eq!(text.lines().count(), 200);
    let fields: Vec<&str> = text.lines().next().unwrap().split(' ').collect();
    assert_eq!((fields.len(), fields[3], fields[6]), (7, "ok", "b1"));
    assert_eq!(
        fields[1].parse::<u64>().unwrap(),
        report["start_ns"].as_u64().unwrap()
    );

    let (names, outcomes) = (folder.path().join("names"), folder.path().join("outcomes"));
    std::fs::write(&names, "/shop/b/1\texpected\n/shop/none\n/shop/b\n").unwrap();
    let mut calls = command(&gateway, "pod1/c");
    calls
        .arg("calls")
        .arg(&names)
        .args(["--rate", "100", "--out"])
        .arg(&outcomes);
    let report = json(&output(calls).await);
    assert_eq!(
        (
            &report["sent"],
            &report["answered"],
            &report["errors"]["no-route"]
        ),
        (&3.into(), &2.into(), &1.into())
    );
    let text = std::fs::read_to_string(&outcomes).unwrap();
    assert_eq!(
        text,
        "/shop/b/1\tok\tb1\t1\t1\n/shop/none\terror:no-route\t-\t0\t0\n/shop/b\tok\tb1\t1\t1\n"
    );

    server.end().await;
    assert_eq!(gateway.attached(), 0, "everybody withdrew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_signal_ends_a_bench_and_the_result_is_printed() {
    let gateway = Gateway::start().await;
    let mut bench = command(&gateway, "pod1/c");
    bench
        .args(["bench", "/shop/none", "--rate", "200", "--duration", "3600"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let report = tokio::task::spawn_blocking(move || {
        let mut child = bench.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.starts_with("started "), "{line}");
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        let mut text = String::new();
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert!(child.wait().unwrap().success());
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    })
    .await
    .unwrap();
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["sent"].as_u64(), report["failed"].as_u64());
    assert_eq!(gateway.attached(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn mistakes_are_told_with_what_to_do() {
    let gateway = Gateway::start().await;
    let mut refused = command(&gateway, "pod1/a");
    refused.args(["serve", "--name", "/other/x"]);
    let told = output(refused).await;
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(1));
    assert!(text.contains("/other/x refused: not yours"), "{text}");

    let mut nowhere = Command::new(env!("CARGO_BIN_EXE_dmsc-pod"));
    nowhere
        .env_remove("DMSC_GATEWAY")
        .env_remove("DMSC_IDENTITY")
        .args(["call", "/x"]);
    let text = String::from_utf8_lossy(&output(nowhere).await.stderr).into_owned();
    assert!(
        text.contains("--gateway and --identity are needed"),
        "{text}"
    );

    let mut bad = command(&gateway, "pod1/a");
    bad.args(["call", "/shop//a"]);
    let text = String::from_utf8_lossy(&output(bad).await.stderr).into_owned();
    assert!(text.contains("byte 6"), "{text}");
}
