//! A stream of calls from a pod, open loop, and what became of each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::lab::{Client, Lab};
use crate::process::Share;
use crate::routes;
use crate::wait;

/// Calls/s of a stream, unless told otherwise.
pub const RATE: u32 = 1_000;

/// What to call, from where.
#[derive(Debug, Clone)]
pub struct StreamSpec<'a> {
    /// Pod of the caller.
    pub pod: &'a str,
    /// Its identity.
    pub identity: &'a str,
    /// The name it calls.
    pub name: &'a str,
    /// Calls/s.
    pub rate: u32,
    /// For how long.
    pub seconds: f64,
    /// Gateway that it insists on.
    pub pin: Option<u32>,
    /// Bytes of payload, if not the default.
    pub size: Option<usize>,
    /// Traffic class.
    pub class: u8,
}

impl<'a> StreamSpec<'a> {
    /// 1,000 calls/s from `pod` to `name`.
    #[must_use]
    pub fn new(pod: &'a str, identity: &'a str, name: &'a str, seconds: f64) -> Self {
        Self {
            pod,
            identity,
            name,
            rate: RATE,
            seconds,
            pin: None,
            size: None,
            class: 0,
        }
    }

    /// Insists on the instances at `gateway`.
    #[must_use]
    pub fn pinned(self, gateway: u32) -> Self {
        Self {
            pin: Some(gateway),
            ..self
        }
    }
}

/// What to call over HTTP, from where.
#[derive(Debug, Clone)]
pub struct HttpSpec<'a> {
    /// Pod of the caller.
    pub pod: &'a str,
    /// Host of the service.
    pub host: &'a str,
    /// Calls/s.
    pub rate: u32,
    /// For how long at most.
    pub seconds: f64,
    /// POST instead of GET.
    pub post: bool,
    /// Pods that may answer.
    pub owners: &'a [&'a str],
}

/// A call over HTTP or gRPC that takes longer than this, in seconds, has no answer; edges of a lab give up after 7 s and say so.
pub const PATIENCE: u32 = 8;

/// A stream that runs.
#[derive(Debug)]
pub struct Stream {
    process: Client,
    records: PathBuf,
    seconds: f64,
    owners: Vec<String>,
    /// When the first call was due, ns of the monotonic clock.
    pub started_ns: u64,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it was due, ns of the monotonic clock.
    pub due_ns: u64,
    /// From then to its answer, ns.
    pub latency_ns: u64,
    /// "ok", "lost", or "error:" and a code.
    pub outcome: String,
    /// Gateway of the answer.
    pub gateway: u32,
    /// Who answered.
    pub instance: String,
}

/// What became of a stream.
#[derive(Debug)]
pub struct Outcome {
    /// All calls, in order of their due times.
    pub calls: Vec<Call>,
    owners: Vec<String>,
    summary: Summary,
}

/// What the generator says of itself.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Summary {
    /// Packets that were no answer to any call.
    stray: u64,
    /// The most that a call was sent after it was due, us.
    send_late_max_us: f64,
}

impl Stream {
    /// Starts a stream and returns once its first call is due.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(lab: &mut Lab, spec: &StreamSpec<'_>) -> anyhow::Result<Self> {
        let owners = routes::services(&lab.plan)
            .filter(|(_, s)| s.names.iter().any(|n| n.to_string() == spec.name))
            .map(|(_, s)| s.identity.clone())
            .collect();
        let pod = lab.plan.pod(spec.pod)?;
        let rate = spec.rate.to_string();
        let seconds = spec.seconds.to_string();
        let pin = spec.pin.map(|g| g.to_string());
        let size = spec.size.map(|s| s.to_string());
        let class = spec.class.to_string();
        let records = lab.path().join(format!("records-{}", wait::monotonic_ns()));
        let path = records.display().to_string();
        let mut args = vec![
            "--json",
            "bench",
            spec.name,
            "--rate",
            &rate,
            "--duration",
            &seconds,
            "--records",
            &path,
            "--flows",
            "sequential",
            "--timeout",
            "1000",
            "--class",
            &class,
        ];
        if let Some(pin) = &pin {
            args.extend(["--pin", pin]);
        }
        if let Some(size) = &size {
            args.extend(["--size", size]);
        }
        let command = lab.pod_command(pod, spec.identity, &args)?;
        let process = lab.start_in_pod(pod, "bench", command, Share::Plain)?;
        Self::started(process, records, spec.seconds, owners)
    }

    /// Starts a stream of HTTP requests and returns once its first call is due.
    ///
    /// # Errors
    /// When it does not start.
    pub fn http(lab: &mut Lab, spec: &HttpSpec<'_>) -> anyhow::Result<Self> {
        let pod = lab.plan.pod(spec.pod)?;
        let records = lab.path().join(format!("records-{}", wait::monotonic_ns()));
        let own = std::env::current_exe()?.display().to_string();
        let mut command = [
            own.as_str(),
            "http-check",
            &format!("{}:80", spec.host),
            "--rate",
            &spec.rate.to_string(),
            "--seconds",
            &spec.seconds.to_string(),
            "--timeout",
            &format!("{PATIENCE}s"),
            "--records",
            &records.display().to_string(),
        ]
        .map(String::from)
        .to_vec();
        if spec.post {
            command.push("--post".into());
        }
        let process = lab.start_in_pod(pod, "http", command, Share::Plain)?;
        let owners = spec.owners.iter().map(ToString::to_string).collect();
        Self::started(process, records, spec.seconds, owners)
    }

    /// Waits until the generator says when its first call is due.
    ///
    /// # Errors
    /// When it does not start.
    pub fn started(
        mut process: Client,
        records: PathBuf,
        seconds: f64,
        owners: Vec<String>,
    ) -> anyhow::Result<Self> {
        let log = process.log().to_path_buf();
        let mut ended = None;
        let started_ns = wait::until("a stream to start", Duration::from_secs(15), || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let started = text
                .lines()
                .find_map(|line| line.strip_prefix("started "))
                .and_then(|ns| ns.trim().parse().ok());
            if started.is_none()
                && let Err(error) = process.check()
            {
                ended = Some(error);
                return Ok(Some(0));
            }
            Ok(started)
        })?;
        if let Some(error) = ended {
            return Err(error);
        }
        Ok(Self {
            process,
            records,
            seconds,
            owners,
            started_ns,
        })
    }

    /// Starts a stream and waits until it is over.
    ///
    /// # Errors
    /// When it does not run.
    pub fn run(lab: &mut Lab, spec: &StreamSpec<'_>) -> anyhow::Result<Outcome> {
        Self::start(lab, spec)?.finish()
    }

    /// Waits until `seconds` after the start.
    ///
    /// # Errors
    /// When interrupted.
    pub fn at(&self, seconds: f64) -> anyhow::Result<()> {
        wait::pause_until(self.started_ns + (seconds * 1e9) as u64)
    }

    /// Ends the stream early: no more calls, and those that are out have their time-out.
    ///
    /// # Errors
    /// When it failed, or its records are not understood.
    pub fn stop(mut self) -> anyhow::Result<Outcome> {
        if !self.process.alive() {
            bail!("the calls ended before what they were to measure");
        }
        self.process.signal(nix::sys::signal::Signal::SIGTERM);
        self.finish()
    }

    /// Waits until the stream is over.
    ///
    /// # Errors
    /// When it failed, or its records are not understood.
    pub fn finish(mut self) -> anyhow::Result<Outcome> {
        let summary = self
            .process
            .finish(Duration::from_secs_f64(self.seconds + 10.0))?;
        let text = std::fs::read_to_string(&self.records)
            .with_context(|| format!("no records in {}", self.records.display()))?;
        let _ = std::fs::remove_file(&self.records);
        let mut calls = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            calls.push(
                record(line).with_context(|| format!("a record is not understood: {line:?}"))?,
            );
        }
        calls.sort_by_key(|call| call.due_ns);
        if calls.is_empty() {
            bail!(
                "a stream made no call; see {}",
                self.process.log().display()
            );
        }
        Ok(Outcome {
            calls,
            owners: self.owners,
            summary: serde_json::from_str(summary.trim()).context("a stream gave no summary")?,
        })
    }
}

/// `index due_ns latency_ns outcome gateway attachment instance`
fn record(line: &str) -> Option<Call> {
    let mut fields = line.split_whitespace().skip(1);
    let mut next = || fields.next();
    let due_ns = next()?.parse().ok()?;
    let latency_ns = next()?.parse().unwrap_or(0);
    let outcome = next()?.to_string();
    let gateway = next().and_then(|g| g.parse().ok()).unwrap_or(0);
    let instance = next().and_then(|_| next()).unwrap_or("-").to_string();
    Some(Call {
        due_ns,
        latency_ns,
        outcome,
        gateway,
        instance,
    })
}

impl Outcome {
    /// Calls from the lines of a records file.
    #[cfg(test)]
    pub fn from_records(text: &str, owners: &[&str]) -> Option<Self> {
        Some(Self {
            calls: text.lines().map(record).collect::<Option<_>>()?,
            owners: owners.iter().map(ToString::to_string).collect(),
            summary: Summary::default(),
        })
    }

    /// Calls without an answer within their time-out, errors included.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.calls.iter().filter(|c| c.outcome != "ok").count()
    }

    /// Only the calls due from `from_ns` to `until_ns`.
    #[must_use]
    pub fn due_between(&self, from_ns: u64, until_ns: u64) -> Self {
        let within = |call: &&Call| (from_ns..until_ns).contains(&call.due_ns);
        Self {
            calls: self.calls.iter().filter(within).cloned().collect(),
            owners: self.owners.clone(),
            summary: Summary::default(),
        }
    }

    /// Calls whose outcome begins with `kind`.
    #[must_use]
    pub fn ended(&self, kind: &str) -> usize {
        let all = self.calls.iter();
        all.filter(|c| c.outcome.starts_with(kind)).count()
    }

    /// Calls due from `from_ns` on that were lost.
    #[must_use]
    pub fn lost_from(&self, from_ns: u64) -> usize {
        self.calls
            .iter()
            .filter(|c| c.outcome != "ok" && c.due_ns >= from_ns)
            .count()
    }

    /// Calls answered by somebody who does not own the name.
    #[must_use]
    pub fn wrong(&self) -> usize {
        self.calls
            .iter()
            .filter(|c| c.outcome == "ok" && !self.owners.contains(&c.instance))
            .count()
    }

    /// From `fault_ns` to the last lost call that was due before `until_ns`, ms; 0 if none was.
    #[must_use]
    pub fn recovery_ms(&self, fault_ns: u64, until_ns: u64) -> f64 {
        self.calls
            .iter()
            .filter(|c| c.outcome != "ok" && c.due_ns < until_ns)
            .map(|c| c.due_ns.saturating_sub(fault_ns) as f64 / 1e6)
            .fold(0.0, f64::max)
    }

    /// Answers by instance.
    #[must_use]
    pub fn by_instance(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for call in self.calls.iter().filter(|c| c.outcome == "ok") {
            *counts.entry(call.instance.as_str()).or_default() += 1;
        }
        counts
    }

    /// The answers' latency at `percent`, ms.
    #[must_use]
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        self.percentile_of(percent, |_| true)
    }

    /// The latency at `percent` of the answers to calls that `chosen` takes, ms.
    #[must_use]
    pub fn percentile_of(&self, percent: f64, chosen: impl Fn(&Call) -> bool) -> f64 {
        let mut all: Vec<u64> = self
            .calls
            .iter()
            .filter(|c| c.outcome == "ok" && chosen(c))
            .map(|c| c.latency_ns)
            .collect();
        all.sort_unstable();
        let last = all.len().saturating_sub(1);
        let place = (percent / 100.0 * all.len() as f64).ceil() as usize;
        all.get(place.saturating_sub(1).min(last))
            .map_or(f64::NAN, |ns| *ns as f64 / 1e6)
    }

    /// What the lost calls ended with, and when they were due after the start, for messages.
    #[must_use]
    pub fn losses(&self) -> String {
        let mut kinds: BTreeMap<&str, (usize, f64, f64)> = BTreeMap::new();
        let start = self.calls.first().map_or(0, |c| c.due_ns);
        for call in self.calls.iter().filter(|c| c.outcome != "ok") {
            let at = call.due_ns.saturating_sub(start) as f64 / 1e9;
            let (count, _, last) = kinds.entry(call.outcome.as_str()).or_insert((0, at, at));
            *count += 1;
            *last = at;
        }
        let texts: Vec<String> = kinds
            .iter()
            .map(|(kind, (count, first, last))| {
                format!("{count} {kind} due {first:.3} to {last:.3} s")
            })
            .collect();
        if texts.is_empty() {
            return "none".into();
        }
        format!(
            "{} (stray packets {}, latest send {:.0} us late)",
            texts.join(", "),
            self.summary.stray,
            self.summary.send_late_max_us
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let text = "0 1000000000 150000 ok 4 2 pod4/b\n1 1001000000 0 lost 0 0 -\n2 1002000000 99000 error:no-route 0 0\n3 1003000000 250000 ok 9 1 pod9/x";
        Outcome {
            calls: text.lines().map(|l| record(l).unwrap()).collect(),
            owners: vec!["pod4/b".into()],
            summary: Summary::default(),
        }
    }

    #[test]
    fn records_are_counted() {
        let outcome = outcome();
        assert_eq!((outcome.lost(), outcome.wrong()), (2, 1));
        assert_eq!(outcome.lost_from(1_002_000_000), 1);
        assert_eq!(outcome.by_instance()["pod4/b"], 1);
        assert!(
            outcome.losses().starts_with(
                "1 error:no-route due 0.002 to 0.002 s, 1 lost due 0.001 to 0.001 s ("
            )
        );
    }

    #[test]
    fn recovery_is_the_last_loss_after_the_fault() {
        let outcome = outcome();
        let ms = outcome.recovery_ms(1_000_500_000, u64::MAX);
        assert!((ms - 1.5).abs() < 1e-9);
        assert_eq!(outcome.recovery_ms(1_000_500_000, 1_001_000_000), 0.0);
    }

    #[test]
    fn percentiles_are_of_answers() {
        let outcome = outcome();
        assert!((outcome.percentile_ms(50.0) - 0.15).abs() < 1e-9);
        assert!((outcome.percentile_ms(99.0) - 0.25).abs() < 1e-9);
    }
}
