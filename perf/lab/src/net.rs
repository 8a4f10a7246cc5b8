//! Network namespaces and veth pairs, made with `ip` in one batch and removed by name prefix.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started or fails: with what it wrote.
pub fn run(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "`{program} {}` failed: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a program writes to its standard output, with whatever exit status.
///
/// # Errors
/// When it cannot be started.
pub fn output(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program inside a network namespace to its end.
///
/// # Errors
/// As [`run`].
pub fn run_in(namespace: &str, program: &str, args: &[&str]) -> anyhow::Result<String> {
    let mut all = vec!["netns", "exec", namespace, program];
    all.extend(args);
    run("ip", &all)
}

/// Lines for `ip -batch`: a lab of fifty nodes is made by a handful of processes instead of hundreds.
#[derive(Debug, Default)]
pub struct Batch(String);

impl Batch {
    /// Adds a command, without the leading `ip`.
    pub fn add(&mut self, line: impl AsRef<str>) {
        self.0.push_str(line.as_ref());
        self.0.push('\n');
    }

    /// Runs all commands of the batch in `namespace` (none: the one we are in); stops at the first that fails.
    ///
    /// # Errors
    /// What `ip` wrote about the line that failed.
    pub fn run(&self, namespace: Option<&str>) -> anyhow::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut command = Command::new("ip");
        if let Some(namespace) = namespace {
            command.args(["-n", namespace]);
        }
        let mut child = command
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run ip")?;
        child
            .stdin
            .take()
            .context("ip takes no input")?
            .write_all(self.0.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let line = text
                .split("-:")
                .nth(1)
                .and_then(|rest| rest.trim().parse::<usize>().ok())
                .and_then(|number| self.0.lines().nth(number - 1));
            bail!(
                "`ip {}`{}: {}",
                line.unwrap_or("-batch"),
                namespace.map_or(String::new(), |n| format!(" in namespace {n}")),
                text.trim()
            );
        }
        Ok(())
    }
}

/// Network namespaces whose names start with `prefix`.
///
/// # Errors
/// When `ip` cannot be run.
pub fn namespaces(prefix: &str) -> anyhow::Result<Vec<String>> {
    let text = run("ip", &["netns", "list"])?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with(prefix))
        .map(String::from)
        .collect())
}

/// Processes inside `namespace`.
#[must_use]
pub fn processes_in(namespace: &str) -> Vec<i32> {
    run("ip", &["netns", "pids", namespace])
        .map(|text| text.lines().filter_map(|l| l.trim().parse().ok()).collect())
        .unwrap_or_default()
}

/// Bytes, or packets, that an interface of a namespace has sent, as the kernel counts them.
///
/// # Errors
/// When there is no such interface.
pub fn sent_packets(namespace: &str, interface: &str) -> anyhow::Result<u64> {
    let text = run(
        "ip",
        &[
            "-n", namespace, "-s", "-j", "link", "show", "dev", interface,
        ],
    )?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    value[0]["stats64"]["tx"]["packets"]
        .as_u64()
        .with_context(|| format!("no counters of {interface} in {namespace}"))
}

/// Runs `work` on a thread of its own inside `namespace`: what it opens there stays there.
///
/// # Errors
/// When there is no such namespace; else those of `work`.
pub fn inside<T: Send + 'static>(
    namespace: &str,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let path = format!("/run/netns/{namespace}");
    let file =
        std::fs::File::open(&path).with_context(|| format!("no network namespace {namespace}"))?;
    std::thread::spawn(move || {
        nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET)
            .context("cannot enter the network namespace")?;
        work()
    })
    .join()
    .map_err(|_| anyhow::anyhow!("a helper thread panicked"))?
}
