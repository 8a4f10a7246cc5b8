//! The page: over plain sockets, and in a real browser.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use dmsc_proto::v1::Telemetry;
use dmsc_scsc::{Pair, Report, Topology};
use dmsc_wire::NodeId;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::hand::wish;
use crate::scene::{Scene, traffic};

/// Head and body.
async fn get(address: SocketAddr, path: &str, host: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let request = format!("GET {path} HTTP/1.1\r\n{host}\r\n");
    stream.write_all(request.as_bytes()).await.expect("ask");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("read");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    (head.to_owned(), body.to_owned())
}

async fn state(address: SocketAddr) -> Value {
    let (_, body) = get(address, "/state.json", &format!("Host: {address}\r\n")).await;
    serde_json::from_str(&body).expect("JSON")
}

#[tokio::test]
async fn only_this_page_and_only_by_address() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let page = running.page.expect("page");
    let host = format!("Host: {page}\r\n");
    let (head, body) = get(page, "/", &host).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    for header in [
        "content-security-policy: default-src 'none'; style-src 'sha256-",
        "script-src 'sha256-",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    assert!(!head.contains("access-control"), "{head}");
    assert!(body.contains("<title>DMSC scheduling center</title>"));
    // Of a center that knows nothing yet.
    let empty = state(page).await;
    assert_eq!(empty["version"], 1);
    assert_eq!(empty["center"]["name"], "scsc1");
    assert_eq!(empty["nodes"]["shown"], Value::Array(vec![]));
    for (path, host, status) in [
        ("/", "Host: evil.example:9468\r\n", "421"),
        ("/state.json", "Host: evil.example\r\n", "421"),
        ("/state.json", "", "4"),
        ("/other", &host, "404"),
        ("/state.json", "Host: localhost:9468\r\n", "200"),
    ] {
        let (head, _) = get(page, path, host).await;
        let told = head.strip_prefix("HTTP/1.1 ").expect("HTTP");
        assert!(told.starts_with(status), "{path} {host}: {head}");
    }
}

#[tokio::test]
async fn a_thousand_gateways_are_told_in_bounds() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let page = running.page.expect("page");
    for gateway in 1..=1_000 {
        let reports = (1..=100).map(|member| {
            let mut report = Report::default();
            report.answer(
                if gateway == 500 && member == 7 {
                    300_000
                } else {
                    1_000
                },
                None,
            );
            let pair = Pair {
                gateway: NodeId(gateway),
                member: NodeId(member),
                topology: Topology::Metric,
            };
            (pair, report)
        });
        let taken = running
            .center
            .take(NodeId(gateway), reports.collect(), vec![]);
        taken.expect("room");
    }
    while running.center.counts().pairs < 100_000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    let state = state(page).await;
    eprintln!("100,000 pairs: state.json after {:?}", began.elapsed());
    let worst = &state["pairs"]["shown"][0];
    assert_eq!((&worst["from"], &worst["to"]), (&500.into(), &7.into()));
    assert_eq!(worst["delay_level"], 4);
    let shown = state["pairs"]["shown"].as_array().expect("list").len();
    assert_eq!(state["pairs"]["left_out"], 100_000 - shown);
    assert!(state["nodes"]["shown"].as_array().expect("list").len() <= 48);
    assert!(
        state.to_string().len() < 100_000,
        "{}",
        state.to_string().len()
    );
}

/// A name that a browser would run, if it took it for markup.
const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\">";

/// The browser, if there is one.
fn browser() -> Option<&'static str> {
    ["chromium", "chromium-headless-shell"]
        .into_iter()
        .find(|name| {
            let found = std::process::Command::new(name)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            found.is_ok_and(|status| status.success())
        })
}

/// The document after its script ran for so long a time.
async fn document(browser: &str, url: &str) -> String {
    let profile = tempfile::tempdir().expect("folder");
    let mut command = tokio::process::Command::new(browser);
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args(["--virtual-time-budget=3000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .env("HOME", profile.path())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output());
    let output = output.await.expect("in time").expect("started");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_nodes_shares_policies_and_runs_nothing_of_others() {
    let Some(browser) = browser() else {
        eprintln!("skipped: chromium is not installed (apt-get install chromium)");
        return;
    };
    let scene = Scene::new();
    let running = scene.center(1).await;
    let url = format!("http://{}/", running.page.expect("page"));
    let empty = document(browser, &url).await;
    assert!(empty.contains("No gateway is connected"), "{empty}");
    assert!(
        empty.contains("None: plain routes hold everywhere."),
        "{empty}"
    );

    let mut gateway = scene.gateway(&running, 11).await;
    let (policy, _) = gateway.until_policy(90_000).await;
    gateway.acknowledge(&policy, 77).await;
    // Beside it a group with a hostile name, and a reason like it.
    let mut hostile = traffic();
    hostile.name = [&[HOSTILE.len() as u8], HOSTILE.as_bytes()].concat();
    gateway.second += 1;
    let telemetry = Telemetry {
        second: gateway.second,
        prefixes: vec![hostile.clone()],
        ..Telemetry::default()
    };
    gateway.tell(telemetry).await;
    gateway.next().await.expect("acknowledged");
    let mut client = scene.operator(&running, "operate").await;
    let mut wish = wish(&[(1, 3), (2, 1)], 60_000);
    wish.name = hostile.name;
    wish.reason = format!("{HOSTILE}<script>document.title='owned'</script>");
    client.set_policy(wish).await.expect("set");

    let page = document(browser, &url).await;
    for there in [
        "<title>DMSC scheduling center scsc1</title>",
        "data-node=\"11\"",
        "data-node=\"2\"",
        "data-pair=\"11-1\"",
        "/shop at gateway 11",
        "100.0 % to 2 by metric",
        "delay 88.0 ms ≥ 50.0 ms",
        "in force at node 11, generation 77",
        "to 1 by plain routes 100.0 %",
        "to 2 now 100.0 %",
        "to 2 now 25.0 %",
        "live",
        "&lt;img src=",
        "&lt;script&gt;",
    ] {
        assert!(page.contains(there), "{there:?} is missing in\n{page}");
    }
    assert!(
        !page.contains("<img") && !page.contains("<title>owned"),
        "{page}"
    );
    assert_eq!(page.matches("<script").count(), 1, "{page}");
}
