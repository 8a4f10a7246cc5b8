//! `dmsc-pod serve`: answers every request with the instance's text, a zero byte, and the first bytes of the request.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use dmsc_pod::session::Refused;
use dmsc_pod::{Health, Pod};
use dmsc_wire::NameBuf;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{Global, name};

/// Bytes of the request that come back.
const ECHO: usize = 64;
/// Refused and waiting names that are told one by one.
const TOLD: usize = 5;

#[derive(Debug, Args)]
#[command(after_help = "\
Answers: the instance's text, a zero byte, then up to 64 bytes of the request. Ends with SIGTERM, withdrawn, status 0.
SIGUSR1: says of itself that it is overloaded; SIGUSR2: that it is well again.
Examples:
  dmsc-pod --gateway 10.1.1.1 --identity pod1/a serve --name /shop/a
  dmsc-pod --gateway 10.1.1.1 --identity pod1/n serve --names-file names.txt --instance pod1
  dmsc-pod --gateway 10.1.1.1 --identity pod1/s serve --name /shop/a --delay-ms 200 --capacity 2")]
pub struct Serve {
    /// A name to answer under, with all names below it
    #[arg(long = "name", value_name = "NAME", value_parser = name, required_unless_present = "names_file")]
    names: Vec<NameBuf>,
    /// Names to answer under, one per line in text form
    #[arg(long, value_name = "FILE")]
    names_file: Option<PathBuf>,
    /// Lines of --names-file are raw: split at '.' and '/', empty pieces ignored
    #[arg(long, requires = "names_file")]
    split: bool,
    /// What the instance calls itself in its answers [default: the identity]
    #[arg(long, value_name = "TEXT")]
    instance: Option<String>,
    /// Wait before answering
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay_ms: u64,
    /// Calls that may be under way; more are dropped. Probes are told how many of them are, and "overloaded" when all are
    #[arg(long, value_name = "N", default_value_t = 4_096, value_parser = capacity)]
    capacity: usize,
}

impl Serve {
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        // Before "serving" is printed: whoever reads it may send a signal at once.
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let (mut overloaded, mut serving) = (
            signal(SignalKind::user_defined1())?,
            signal(SignalKind::user_defined2())?,
        );
        let mut config = global.config()?;
        config.prefixes = self.names.clone();
        config.requests_in_hand = self.capacity;
        if let Some(file) = &self.names_file {
            config.prefixes.extend(read_names(file, self.split)?);
        }
        config.prefixes.sort_unstable();
        config.prefixes.dedup();
        anyhow::ensure!(
            !config.prefixes.is_empty(),
            "no names to serve: the file has none"
        );
        let identity = config.identity.clone();
        let instance = self.instance.clone().unwrap_or_else(|| identity.clone());
        anyhow::ensure!(
            !instance.contains('\0'),
            "--instance: must not contain a zero byte"
        );

        let delay = Duration::from_millis(self.delay_ms);
        let pod = Pod::connect_and_serve(config, move |request| {
            let mut payload = instance.clone().into_bytes();
            payload.push(0);
            payload.extend(&request.payload[..request.payload.len().min(ECHO)]);
            async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                payload
            }
        })
        .await?;
        let registered = pod.registered();
        tell("refused", &registered.refused);
        tell("waiting", &registered.waiting);
        if registered.serves.is_empty() {
            super::leave(pod).await;
            anyhow::bail!("the gateway refused all names");
        }
        let ready = json!({
            "serving": registered.serves.len(),
            "refused": registered.refused.len(),
            "waiting": registered.waiting.len(),
            "identity": identity,
            "attachment": registered.attachment.0,
            "gateway": registered.gateway.0,
            "source_name": registered.source_name.to_string(),
            "max_packet": registered.max_packet,
        });
        if global.json {
            println!("{ready}");
        } else {
            println!(
                "serving {} names as {identity} attachment {} at gateway {}",
                registered.serves.len(),
                registered.attachment,
                registered.gateway
            );
        }
        loop {
            let health = tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = overloaded.recv() => Health::Overloaded,
                _ = serving.recv() => Health::Serving,
            };
            match pod.set_health(health).await {
                Ok(()) => tracing::info!(?health, "told the gateway"),
                Err(error) => tracing::warn!(?health, %error, "the gateway was not told"),
            }
        }
        let counts = pod.counts();
        tracing::info!(?counts, "ending");
        super::leave(pod).await;
        Ok(ExitCode::SUCCESS)
    }
}

fn capacity(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "write a number of calls, 1 or more".into())
}

fn tell(what: &str, list: &[Refused]) {
    for one in list.iter().take(TOLD) {
        eprintln!("dmsc-pod: {} {what}: {}", one.name, one.reason);
    }
    if list.len() > TOLD {
        eprintln!("dmsc-pod: and {} more {what}", list.len() - TOLD);
    }
}

/// Names of a file, in order; mistakes are told with their line.
fn read_names(file: &Path, split: bool) -> anyhow::Result<Vec<NameBuf>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("--names-file {}", file.display()))?;
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let at = || format!("{}:{}: {line:?}", file.display(), index + 1);
        if split {
            let pieces: Vec<&str> = line
                .split(['.', '/'])
                .filter(|piece| !piece.is_empty())
                .collect();
            if !pieces.is_empty() {
                names.push(NameBuf::from_components(pieces).with_context(at)?);
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            names.push(NameBuf::parse(line).with_context(at)?);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("names");
        std::fs::write(&file, "google.ads/v1.Svc\n\n..a//b.\n").unwrap();
        let texts: Vec<String> = read_names(&file, true)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(texts, ["/google/ads/v1/Svc", "/a/b"]);
        let error = format!("{:#}", read_names(&file, false).unwrap_err());
        assert!(
            error.contains("names:1: \"google.ads/v1.Svc\": name text, byte 0"),
            "{error}"
        );
    }
}
