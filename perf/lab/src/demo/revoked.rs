//! Step `revoked`: open connections end at both ends when what they were made with is taken back, and those beside them go on. The last step: what is
//! revoked stays so.

use std::time::Duration;

use anyhow::{Context, bail};

use super::edge::{json, shown};
use super::failures::bound;
use super::report::Report;
use crate::lab::{Lab, PYTHON};
use crate::net;
use crate::process::{Process, Share};
use crate::wait::{self, monotonic_ns};

/// Served by pod4b, until it is taken back; by pod 4.
const BRIEF: &str = "/shop/brief";
const QUOTES: &str = "/shop/quotes";
const SERVER: &str = "pod4b/edge";
/// The caller whose certificate is taken back.
const CALLER: (&str, &str) = ("pod1b", "pod1b/edge");
/// Both ends of a revoked prefix ask at once what happened.
const PREFIX_MS: f64 = 2_000.0;
/// The called end hears of a certificate when it refreshes its lease, every 10 s.
const CERTIFICATE_MS: f64 = 12_000.0;
/// A caller whose certificate was taken back hears nothing any more; its connections end when QUIC's time is over, 15 s after the last packet.
const SILENT_MS: f64 = 17_000.0;

/// A prefix by its authority, and a certificate by the root.
pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let mut brief = hold(lab, "pod1", "brief.shop.dmsc:80")?;
    let mut beside = hold(lab, "pod1", "quotes.shop.dmsc:80")?;
    let mut mortal = hold(lab, CALLER.0, "quotes.shop.dmsc:80")?;

    // An authority takes back that pod4b serves a prefix.
    let prefix = dmsc_wire::NameBuf::parse(BRIEF)?;
    let authority = lab.plan.authority_of(&prefix);
    let authority = authority.context("no authority has the policy of the prefix")?;
    let gateway = lab.plan.nodes[lab.plan.node("sg4")?].id.0;
    let ends = [("sg1", "pod1/edge"), ("sg4", SERVER)].map(|(node, pod)| End {
        node,
        pod,
        name: BRIEF,
        peer: "",
    });
    report.require(
        ends.iter().all(|end| end.is_open(lab).unwrap_or(false)),
        || format!("{BRIEF} is not open at both ends"),
    );
    lab.is_revoked(BRIEF);
    let began_ns = monotonic_ns();
    lab.authority(authority)?
        .revoke(BRIEF, gateway, SERVER, "a step of the demo")?;
    ended(lab, report, "prefix", &ends, began_ns, PREFIX_MS)?;
    let told = json(&brief.finish(Duration::from_secs(10))?)?;
    clear(report, "prefix", &told, "revoked");

    // The root takes back a caller's certificate.
    let ends = [
        End {
            node: "sg4",
            pod: "pod4/edge",
            name: QUOTES,
            peer: CALLER.1,
        },
        End {
            node: "sg1",
            pod: CALLER.1,
            name: QUOTES,
            peer: "",
        },
    ];
    report.require(
        ends.iter().all(|end| end.is_open(lab).unwrap_or(false)),
        || format!("{QUOTES} is not open at both ends"),
    );
    let began_ns = monotonic_ns();
    take_back(lab, CALLER.1)?;
    ended(
        lab,
        report,
        "certificate",
        &ends[..1],
        began_ns,
        CERTIFICATE_MS,
    )?;
    ended(
        lab,
        report,
        "certificate, caller",
        &ends[1..],
        began_ns,
        SILENT_MS,
    )?;
    let told = json(&mortal.finish(Duration::from_secs(10))?)?;
    clear(report, "certificate", &told, "");

    let lives = beside.alive();
    report.figure("beside them", if lives { "open" } else { "ended" });
    report.require(lives, || "a connection that nobody revoked ended".into());
    beside.signal(nix::sys::signal::Signal::SIGTERM);
    Ok(())
}

/// A stream of gRPC that stays open; returns once it is.
fn hold(lab: &mut Lab, pod: &str, target: &str) -> anyhow::Result<Process> {
    let script = lab.script("greeter.py").display().to_string();
    let command = [PYTHON, &script, "hold", target].map(String::from).to_vec();
    let pod = lab.plan.pod(pod)?;
    let mut process = lab.start_in_pod(pod, "hold", command, Share::Plain)?;
    wait::until("a stream to open", Duration::from_secs(20), || {
        let log = std::fs::read_to_string(process.log()).unwrap_or_default();
        if !log.contains("open") {
            process.check()?;
            return Ok(None);
        }
        Ok(Some(()))
    })?;
    Ok(process)
}

/// One end of a connection, as its edge shows it.
struct End {
    node: &'static str,
    pod: &'static str,
    name: &'static str,
    /// At the other end; empty: whoever.
    peer: &'static str,
}

impl End {
    fn is_open(&self, lab: &Lab) -> anyhow::Result<bool> {
        let list = shown(lab, self.node, "connections")?;
        Ok(list.iter().any(|one| {
            one["pod"] == self.pod
                && one["name"] == self.name
                && (self.peer.is_empty() || one["peer"] == self.peer)
        }))
    }
}

/// Waits until no end is open any more.
fn ended(
    lab: &Lab,
    report: &mut Report,
    what: &str,
    ends: &[End],
    began_ns: u64,
    most_ms: f64,
) -> anyhow::Result<()> {
    let limit = Duration::from_secs_f64(most_ms / 1e3 + 5.0);
    wait::until(&format!("{what}: the connection to end"), limit, || {
        for end in ends {
            if end.is_open(lab)? {
                bail!("{} of {} has it still", end.pod, end.node);
            }
        }
        Ok(Some(()))
    })?;
    let ms = (monotonic_ns() - began_ns) as f64 / 1e6;
    report.milliseconds(&format!("{what}: ended in"), ms);
    bound(report, &format!("{what}: ended in, ms,"), ms, most_ms);
    Ok(())
}

/// The program was told that its call ended, and why.
fn clear(report: &mut Report, what: &str, told: &serde_json::Value, why: &str) {
    report.figure(&format!("{what}: told"), told["details"].clone());
    let clear = told["code"] == "UNAVAILABLE"
        && told["details"]
            .as_str()
            .is_some_and(|text| text.contains(why));
    report.require(clear, || format!("{what}: the program was told {told}"));
}

/// By the root; given to one router, which tells the others.
fn take_back(lab: &Lab, identity: &str) -> anyhow::Result<()> {
    let ctl = lab.programs.path("dmscctl");
    let file = lab.path().join(format!("revocation-{}", monotonic_ns()));
    let [root, credentials, file] = [
        lab.paths().credentials("root"),
        lab.pod_credentials(identity)?,
        file,
    ]
    .map(|path| path.display().to_string());
    let pki = [
        "pki",
        "revoke",
        "--root",
        &root,
        "--certificate",
        &credentials,
        "--reason",
        "a step of the demo",
        "--out",
        &file,
    ];
    net::run(&ctl, &pki)?;
    let router = lab.plan.node("sr1")?;
    let socket = lab.paths().operator(&lab.plan.nodes[router].name);
    net::run(
        &ctl,
        &["--node", &socket.display().to_string(), "give", &file],
    )?;
    Ok(())
}
