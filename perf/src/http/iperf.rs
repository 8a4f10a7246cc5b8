//! Bytes per second of one TCP connection, by iperf3: a program that knows nothing of all this.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use dmsc_lab::process::{Process, Share, Spec};
use dmsc_lab::{net, wait};

use super::haproxy::IPERF;

/// Gbit/s that arrive from a client in `client` that connects to `target`. The server is started in `server`; none: it runs.
///
/// # Errors
/// When iperf3 is not there or fails.
pub fn measure(
    client: &str,
    server: Option<&str>,
    target: SocketAddr,
    seconds: f64,
    logs: &Path,
) -> anyhow::Result<f64> {
    let start = |name: &str, namespace: &str, words: &str, piped: bool| {
        let spec = Spec {
            name: name.into(),
            namespace: namespace.into(),
            command: words.split(' ').map(String::from).collect(),
            share: Share::Plain,
            survives: false,
        };
        Process::start(spec, logs, piped)
    };
    let mut listener = match server {
        Some(server) => Some((
            start(
                "iperf3-server",
                server,
                &format!("iperf3 -s -p {IPERF}"),
                false,
            )?,
            server,
        )),
        None => None,
    };
    if let Some((process, server)) = &mut listener {
        wait::until("iperf3 to listen", Duration::from_secs(5), || {
            process.check()?;
            let table = net::run_in(server, "cat", &["/proc/net/tcp6", "/proc/net/tcp"])?;
            Ok(listens(&table, IPERF).then_some(()))
        })?;
    }
    let words = format!(
        "iperf3 -J -c {} -p {} -t {}",
        target.ip(),
        target.port(),
        seconds.ceil()
    );
    let limit = Duration::from_secs_f64(seconds + 20.0);
    let text = start("iperf3-client", client, &words, true)?.collect(limit)?;
    received(&text)
}

/// Whether a table of the kernel has a listening socket on `port`.
fn listens(table: &str, port: u16) -> bool {
    let local = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|f| f.ends_with(&local)) && fields.nth(1) == Some("0A")
    })
}

/// Gbit/s in what iperf3 writes.
fn received(text: &str) -> anyhow::Result<f64> {
    let value: serde_json::Value = serde_json::from_str(text).context("iperf3 wrote no JSON")?;
    if let Some(error) = value["error"].as_str() {
        bail!("iperf3: {error}");
    }
    value["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .map(|bits| bits / 1e9)
        .context("iperf3 tells no rate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_iperf3_writes() {
        let good = r#"{"end":{"sum_received":{"bits_per_second":2.5e9}}}"#;
        assert!((received(good).expect("good") - 2.5).abs() < 1e-9);
        let error = received(r#"{"error":"unable to connect"}"#).expect_err("said");
        assert!(error.to_string().contains("unable to connect"));
        assert!(received("").is_err());
    }

    #[test]
    fn finds_a_listener() {
        let table = "  sl  local_address rem_address   st\n   0: 00000000:1451 00000000:0000 0A 0\n   1: 0100007F:1452 00000000:0000 01 0\n";
        assert!(listens(table, 5_201));
        assert!(!listens(table, 5_202));
    }
}
