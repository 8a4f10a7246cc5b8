//! Step `old-pod`: a pod that lives and answers no probes. Its gateway answers them for it, as long as it lives, and for no other pod: not when it hangs, nor when it is dead.

use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::failures::bound;
use super::report::Report;
use crate::lab::Lab;
use crate::net;
use crate::wait::{self, monotonic_ns};

/// The pod that knows no probes: where, who, and what it serves. The policy is in the lab file.
const POD: &str = "pod3";
const OLD: &str = "pod3/old";
const NAME: &str = "/shop/old";
/// Its gateway, and one that is asked from afar.
const GATEWAY: &str = "sg3";
const AFAR: &str = "sg1";
/// Beside it, in the same pod: one that answers probes by itself.
const MODERN: &str = "pod3/shop";
const MODERN_NAME: &str = "/shop/mail";
/// The event of a probe that a gateway answers for a pod.
const EVENT: &str = "answered-for-pod";
/// Of a lease, s: a pod of which nothing is heard is detached after so long.
const LEASE_S: f64 = 30.0;
/// Silence is proven by unanswered questions over more than 40 s: a lease and the time that detaching takes; questions are 10 s apart.
const PROVEN: Duration = Duration::from_secs(65);
/// Probes of a look at who answers.
const PROBES: u64 = 5;

/// Starts the pod, if it does not run; it need not be waited for. Silence takes its time to be proven: the pod is there some steps before its own.
pub fn launch(lab: &mut Lab) -> anyhow::Result<()> {
    if lab.server(OLD).is_ok_and(|pod| pod.alive()) {
        return Ok(());
    }
    lab.launch_old_pod(lab.plan.pod(POD)?, OLD, NAME)
}

/// The pod, while it lives and after its end.
pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    launch(lab)?;
    let done = lives(lab, report)
        .and_then(|()| hangs(lab, report))
        .and_then(|()| dies(lab, report));
    // Whatever came of it.
    lab.stop_server(OLD);
    done
}

fn lives(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    lab.wait_for_server(OLD, Duration::from_secs(20))?;
    let began_ns = monotonic_ns();
    let told = call(lab)?;
    report.figure("call answered by", told["instance"].clone());
    report.require(told["instance"] == OLD, || {
        format!("a call of {NAME} came to {told}")
    });

    let gateway = lab.plan.node(GATEWAY)?;
    let what = format!("{GATEWAY} to know that {OLD} answers no probes");
    wait::until(&what, PROVEN, || {
        let word = attachment(lab, OLD)?["probes"].clone();
        ensure!(word == "silent", "probes: {word}");
        Ok(Some(()))
    })?;
    report.figure("waited to know s", rounded(seconds_since(began_ns)));

    // From afar: the gateway answers, and counts it.
    let before = lab.agent(gateway)?.sums()?;
    let (answers, summary) = probe(lab, NAME, PROBES)?;
    let counted = lab.agent(gateway)?.sums()?.since(&before).of(EVENT);
    let by_gateway = summary["answered_by_gateway"].as_u64().unwrap_or(0);
    report.figure("probes answered for it", by_gateway);
    report.require(by_gateway == PROBES && counted == PROBES, || {
        format!("of {PROBES} probes the gateway answered {by_gateway} and counted {counted} as {EVENT}: {summary}")
    });
    let node = lab.plan.nodes[gateway].id.0;
    let names_it = |one: &Value| one["answered_by"] == "gateway" && one["gateway"] == node;
    report.require(answers.iter().all(names_it), || {
        format!("`dmscctl probe` names another than {GATEWAY}: {answers:?}")
    });
    let health = registered(lab)?.context("its gateway does not know it any more")?;
    report.figure("told as", health.as_str());
    report.require(health == "serving", || {
        format!("its gateway tells it as {health}")
    });

    // Beside it nobody is answered for.
    let before = lab.agent(gateway)?.sums()?;
    let (answers, _) = probe(lab, MODERN_NAME, PROBES)?;
    let counted = lab.agent(gateway)?.sums()?.since(&before).of(EVENT);
    let itself = |one: &&Value| one["answered_by"] == "instance" && one["health"] == "healthy";
    let own = answers.iter().filter(itself).count();
    report.figure("a modern pod's own answers", own);
    report.require(own as u64 == PROBES && counted == 0, || {
        format!("{MODERN} was answered for {counted} times: {answers:?}")
    });
    let word = attachment(lab, MODERN)?["probes"].clone();
    report.require(word == "answered", || format!("probes of {MODERN}: {word}"));
    Ok(())
}

/// It hangs: its socket is open, so no port is told as unreachable, and only silence shows it. Then it goes on.
fn hangs(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let began_ns = monotonic_ns();
    lab.server(OLD)?.signal(Signal::SIGSTOP);
    let gone = is_left(lab, report, "hangs", began_ns);
    lab.server(OLD)?.signal(Signal::SIGCONT);
    gone?;
    let again_ns = monotonic_ns();
    let what = format!("{OLD} to be called again");
    wait::until(&what, Duration::from_secs(LEASE_S as u64), || {
        let told = call(lab)?;
        ensure!(told["ok"] == true, "a call was told {told}");
        Ok(Some(()))
    })?;
    report.figure("hangs: back after s", rounded(seconds_since(again_ns)));
    Ok(())
}

/// Killed, it withdraws nothing.
fn dies(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let killed_ns = lab.server(OLD)?.kill_hard();
    is_left(lab, report, "killed", killed_ns)
}

/// Within the time of a lease nobody answers for it any more, and calls fail at once.
fn is_left(lab: &mut Lab, report: &mut Report, how: &str, since_ns: u64) -> anyhow::Result<()> {
    let gateway = lab.plan.node(GATEWAY)?;
    let limit = Duration::from_secs_f64(LEASE_S + 5.0);
    wait::until(&format!("{how}: {OLD} to be told as gone"), limit, || {
        let health = registered(lab)?.filter(|health| health != "unreachable");
        ensure!(health.is_none(), "its gateway tells it as {health:?}");
        let afar = lab.operator(lab.plan.node(AFAR)?)?.prefixes()?;
        ensure!(!afar.iter().any(|one| one.name == NAME), "{AFAR} has it");
        Ok(Some(()))
    })?;
    let gone_s = seconds_since(since_ns);
    report.figure(&format!("{how}: gone after s"), rounded(gone_s));
    let what = format!("{how}: gone, ms,");
    bound(report, &what, gone_s * 1e3, LEASE_S * 1e3);

    let before = lab.agent(gateway)?.sums()?;
    // Of probes nobody is told that there is no way: each that is not answered takes its second.
    let (_, summary) = probe(lab, NAME, 1)?;
    let counted = lab.agent(gateway)?.sums()?.since(&before).of(EVENT);
    report.require(summary["answered"] == 0 && counted == 0, || {
        format!("{how}: it was answered for {counted} times: {summary}")
    });
    let told = call(lab)?;
    report.figure(&format!("{how}: a call is told"), told["code"].clone());
    report.require(told["ok"] == false && told["code"] == "no-route", || {
        format!("{how}: a call was told {told}")
    });
    Ok(())
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

fn seconds_since(began_ns: u64) -> f64 {
    (monotonic_ns() - began_ns) as f64 / 1e9
}

/// What a caller in another pod is told, whether it was answered or not.
fn call(lab: &mut Lab) -> anyhow::Result<Value> {
    let pod = lab.plan.pod("pod1")?;
    let command = lab.pod_command(pod, "pod1/a", &["--json", "call", NAME])?;
    let mut caller = lab.start_in_pod(pod, "client", command, crate::process::Share::Plain)?;
    let text = caller.collect(Duration::from_secs(10))?;
    serde_json::from_str(text.trim()).with_context(|| format!("the caller said {text:?}"))
}

/// As an operator asks: each answer, and all together.
fn probe(lab: &Lab, name: &str, count: u64) -> anyhow::Result<(Vec<Value>, Value)> {
    let count = count.to_string();
    let text = dmscctl(lab, AFAR, &["--json", "probe", name, "--count", &count])?;
    let lines = text.lines().map(serde_json::from_str::<Value>);
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let (summary, answers) = lines
        .into_iter()
        .partition::<Vec<_>, _>(|line| line["kind"] == "summary");
    let summary = summary.into_iter().next().context("no summary")?;
    Ok((answers, summary))
}

/// As `dmscctl show attachments` has it.
fn attachment(lab: &Lab, identity: &str) -> anyhow::Result<Value> {
    let text = dmscctl(lab, GATEWAY, &["--json", "show", "attachments"])?;
    let all: Value = serde_json::from_str(&text)?;
    let list = all["attachments"].as_array().context("no list")?;
    let found = list.iter().find(|one| one["identity"] == identity);
    found
        .cloned()
        .with_context(|| format!("{GATEWAY} has no {identity}"))
}

/// What its gateway's control plane says of its health: from there it goes to whoever asks for instances, and to scheduling centers.
fn registered(lab: &Lab) -> anyhow::Result<Option<String>> {
    let pods = lab.operator(lab.plan.node(GATEWAY)?)?.pods()?;
    let found = pods.into_iter().find(|pod| pod.identity == OLD);
    Ok(found.map(|pod| pod.health))
}

/// A command about the dataplane of a router, with whatever exit status.
fn dmscctl(lab: &Lab, node: &str, args: &[&str]) -> anyhow::Result<String> {
    let agent = lab.paths().agent(node).display().to_string();
    let mut all = vec!["--agent", &agent];
    all.extend(args);
    net::output(&lab.programs.path("dmscctl"), &all)
}
