//! Steps `schedule` and `no-scsc`: what the scheduling centers do about a way that got worse, and what holds while there are none.

use std::time::Duration;

use anyhow::Context;
use dmsc_proto::v1;
use nix::sys::signal::Signal;

use super::failures::{bound, nothing_wrong};
use super::report::Report;
use super::stream::{Call, Outcome, Stream, StreamSpec};
use crate::lab::Lab;
use crate::plan::PortEnd;
use crate::wait::{self, monotonic_ns};
use crate::wire::settings::Change;

/// Served at two gateways that are equally near to the caller's.
const NAME: &str = "/shop/b";
/// Served there only.
const ONLY: &str = "/shop/stock";
const CALLER: (&str, &str) = ("pod2", "pod2/caller");
/// Where the calls enter.
const ENTRY: &str = "sg2";
/// Whose path gets worse, and over what.
const WORSE: u32 = 4;
const LINK: &str = "sr2-sr3";
/// It, as its pod says that it is overloaded.
const INSTANCE: &str = "pod4/b";
/// Calls/s.
const RATE: u32 = 100;
/// From the fault on: at the better instance after this, and watched for as long again as it takes to see it, s.
const AWAY_S: f64 = 5.0;
const WATCHED_S: f64 = 1.5;
/// From the mend on: as plain routes have it after this, s.
const BACK_S: f64 = 15.0;
/// Of the calls, when they have left the worse instance.
const MOVED: f64 = 0.95;
/// Of the calls at the worse instance, when it has its share again.
const SHARED: f64 = 0.30;
/// What is added to the way, each time that it is gone.
const FAULT_NS: u64 = 30_000_000;
/// Calls are looked at in windows of this length, ns.
const WINDOW_NS: u64 = 500_000_000;
/// No stream lasts longer, s.
const LONGEST: f64 = 60.0;

/// Of the link when other traffic fills it, Mbit/s.
const LIMIT_MBPS: u32 = 20;
/// Of that, by the other traffic.
const FILLED: f64 = 0.9;
/// Its payload and headers, bytes.
const FILLER: (u32, u32) = (1_200, 120);

/// What gets worse.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Delay,
    Jitter,
    Bandwidth,
    Overload,
}

impl Fault {
    fn word(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Jitter => "jitter",
            Self::Bandwidth => "full link",
            Self::Overload => "overload",
        }
    }
}

/// One fault after the other: calls leave the instance behind it, and come back.
pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let mut lost = 0;
    for fault in [
        Fault::Delay,
        Fault::Jitter,
        Fault::Bandwidth,
        Fault::Overload,
    ] {
        wait_for(lab, NAME, "plain routes", Duration::from_secs(30), is_plain)?;
        let done = one(lab, report, fault);
        // Whatever came of it.
        lab.server(INSTANCE)?.signal(Signal::SIGUSR2);
        set_limit(lab, 0)?;
        lost += done.with_context(|| format!("during {:?}", fault.word()))?;
    }
    lost += only_instance(lab, report).with_context(|| format!("of {ONLY}"))?;
    report.figure("lost", lost);
    Ok(())
}

/// A service without another instance: its calls take another way to it, and come back.
fn only_instance(lab: &mut Lab, report: &mut Report) -> anyhow::Result<usize> {
    let is_by_delay = |weights: &Weights| {
        weights.as_ref().is_some_and(|all| {
            all.iter()
                .all(|member| member.delay_weight == member.weight)
        })
    };
    let spec = StreamSpec {
        rate: RATE,
        ..StreamSpec::new(CALLER.0, CALLER.1, ONLY, LONGEST)
    };
    wait_for(lab, ONLY, "plain routes", Duration::from_secs(30), is_plain)?;
    let stream = Stream::start(lab, &spec)?;
    stream.at(1.0)?;
    let (fault_ns, _) = begin(lab, Fault::Delay)?;
    wait::pause_until(fault_ns + nanos(AWAY_S + WATCHED_S))?;
    let now = weights(lab, ONLY)?;
    report.require(is_by_delay(&now), || {
        format!("{ONLY}: weights at {ENTRY} are {now:?}, not by delay")
    });
    let mended_ns = end(lab, Fault::Delay, None)?;
    let back = wait_for(lab, ONLY, "plain routes", Duration::from_secs(20), is_plain);
    let plain_ns = monotonic_ns();
    wait::pause(Duration::from_secs(1))?;
    let outcome = stream.stop()?;
    let is_fast = |call: &Call| call.latency_ns < FAULT_NS;
    let away_s = away_after(&outcome, fault_ns, mended_ns, is_fast);
    report.figure("only instance: by delay after s", round(away_s));
    let most = AWAY_S * 1e3;
    bound(report, "only instance: by delay, ms,", away_s * 1e3, most);
    let back_s = (plain_ns - mended_ns) as f64 / 1e9;
    report.figure("only instance: back after s", round(back_s));
    let most = BACK_S * 1e3;
    bound(report, "only instance: back, ms,", back_s * 1e3, most);
    back?;
    report.require(outcome.lost() == 0, || {
        format!("{ONLY}: lost {}: {}", outcome.lost(), outcome.losses())
    });
    nothing_wrong(report, &outcome);
    Ok(outcome.lost())
}

/// Gives how many calls were lost.
fn one(lab: &mut Lab, report: &mut Report, fault: Fault) -> anyhow::Result<usize> {
    let what = fault.word();
    let stream = stream(lab)?;
    stream.at(1.0)?;
    let (fault_ns, filler) = begin(lab, fault)?;
    wait::pause_until(fault_ns + nanos(AWAY_S + WATCHED_S))?;
    let mended_ns = end(lab, fault, filler)?;
    let back = wait_for(lab, NAME, "plain routes", Duration::from_secs(20), is_plain);
    let plain_ns = monotonic_ns();
    wait::pause(Duration::from_secs(2))?;
    let outcome = stream.stop()?;

    let before = outcome.due_between(0, fault_ns);
    require_shared(report, &format!("{what}: before"), &before);
    let away_s = away_after(&outcome, fault_ns, mended_ns, is_better);
    report.figure(&format!("{what}: away after s"), round(away_s));
    bound(
        report,
        &format!("{what}: away, ms,"),
        away_s * 1e3,
        AWAY_S * 1e3,
    );
    let back_s = (plain_ns - mended_ns) as f64 / 1e9;
    report.figure(&format!("{what}: back after s"), round(back_s));
    bound(
        report,
        &format!("{what}: back, ms,"),
        back_s * 1e3,
        BACK_S * 1e3,
    );
    back?;
    let after = outcome.due_between(plain_ns + WINDOW_NS, u64::MAX);
    require_shared(report, &format!("{what}: back"), &after);
    report.require(outcome.lost() == 0, || {
        format!("{what}: lost {}: {}", outcome.lost(), outcome.losses())
    });
    nothing_wrong(report, &outcome);
    Ok(outcome.lost())
}

/// Both centers are killed while a policy holds, and come back.
pub fn none(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    wait_for(lab, NAME, "plain routes", Duration::from_secs(30), is_plain)?;
    let stream = stream(lab)?;
    stream.at(0.5)?;
    begin(lab, Fault::Delay)?;
    wait_for(lab, NAME, "a policy", Duration::from_secs(10), is_away)?;
    lab.kill_centers();
    let killed_ns = monotonic_ns();
    let held = wait_for(
        lab,
        NAME,
        "the end of the policy",
        Duration::from_secs(30),
        is_plain,
    );
    let over_ns = monotonic_ns();
    wait::pause(Duration::from_secs(2))?;
    let back_ns = monotonic_ns();
    lab.start_centers()?;
    let again = wait_for(
        lab,
        NAME,
        "a policy again",
        Duration::from_secs(15),
        is_away,
    );
    let again_ns = monotonic_ns();
    wait::pause(Duration::from_secs(1))?;
    end(lab, Fault::Delay, None)?;
    let outcome = stream.stop()?;
    held?;
    again?;

    let held_s = (over_ns - killed_ns) as f64 / 1e9;
    report.figure("policy held s", round(held_s));
    report.require(held_s > 2.0, || {
        format!("the policy was gone {held_s:.1} s after its centers")
    });
    let during = outcome.due_between(killed_ns + WINDOW_NS, over_ns.saturating_sub(WINDOW_NS));
    let share = share(&during, is_better);
    report.figure(
        "percent at the better instance meanwhile",
        (share * 100.0).round(),
    );
    report.require(share >= MOVED, || {
        format!(
            "{:.1} % of the calls were at the better instance while the policy held",
            share * 100.0
        )
    });
    require_shared(
        report,
        "then",
        &outcome.due_between(over_ns + WINDOW_NS / 2, back_ns),
    );
    report.figure(
        "policy again after s",
        round((again_ns - back_ns) as f64 / 1e9),
    );
    report.figure("lost", outcome.lost());
    report.require(outcome.lost() == 0, || {
        format!("lost {}: {}", outcome.lost(), outcome.losses())
    });
    nothing_wrong(report, &outcome);
    Ok(())
}

fn stream(lab: &mut Lab) -> anyhow::Result<Stream> {
    let spec = StreamSpec {
        rate: RATE,
        ..StreamSpec::new(CALLER.0, CALLER.1, NAME, LONGEST)
    };
    Stream::start(lab, &spec)
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

fn round(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

/// Not answered by the worse instance.
fn is_better(call: &Call) -> bool {
    call.gateway != WORSE
}

/// Share of the calls that are as they are to be.
fn share(outcome: &Outcome, is_good: impl Fn(&Call) -> bool) -> f64 {
    let bad = outcome.calls.iter().filter(|call| !is_good(call)).count();
    1.0 - bad as f64 / outcome.calls.len().max(1) as f64
}

/// From the fault until calls are as they are to be, for good, s.
fn away_after(
    outcome: &Outcome,
    fault_ns: u64,
    until_ns: u64,
    is_good: impl Fn(&Call) -> bool,
) -> f64 {
    let mut away_ns = until_ns;
    while away_ns >= fault_ns + WINDOW_NS
        && share(&outcome.due_between(away_ns - WINDOW_NS, away_ns), &is_good) >= MOVED
    {
        away_ns -= WINDOW_NS;
    }
    (away_ns - fault_ns) as f64 / 1e9
}

fn require_shared(report: &mut Report, when: &str, outcome: &Outcome) {
    let worse = 1.0 - share(outcome, is_better);
    report.require((SHARED..=1.0 - SHARED).contains(&worse), || {
        format!(
            "{when}: {:.0} % of {} calls were at the instance whose way gets worse",
            worse * 100.0,
            outcome.calls.len()
        )
    });
}

/// Makes it worse; tells since when.
fn begin(lab: &mut Lab, fault: Fault) -> anyhow::Result<(u64, Option<Stream>)> {
    let change = match fault {
        Fault::Delay => Change {
            delay_ns: Some(FAULT_NS),
            ..Change::default()
        },
        // Twice on a round trip: 25 ms in the mean, and three of four keep to 32: not much of a delay.
        Fault::Jitter => Change {
            jitter_ns: Some(25_000_000),
            ..Change::default()
        },
        Fault::Bandwidth => {
            set_limit(lab, LIMIT_MBPS)?;
            let filler = fill(lab)?;
            return Ok((filler.started_ns, Some(filler)));
        }
        Fault::Overload => {
            lab.server(INSTANCE)?.signal(Signal::SIGUSR1);
            return Ok((monotonic_ns(), None));
        }
    };
    Ok((lab.set_wire(LINK, change)?.at_ns, None))
}

/// Mends it; tells since when.
fn end(lab: &mut Lab, fault: Fault, filler: Option<Stream>) -> anyhow::Result<u64> {
    match fault {
        Fault::Delay | Fault::Jitter => return Ok(lab.mend_wire(LINK)?.at_ns),
        Fault::Bandwidth => {
            if let Some(filler) = filler {
                filler.stop()?;
            }
        }
        Fault::Overload => lab.server(INSTANCE)?.signal(Signal::SIGUSR2),
    }
    Ok(monotonic_ns())
}

/// Limits what leaves by the link, both ways; 0: nothing but the cable does.
fn set_limit(lab: &Lab, mbps: u32) -> anyhow::Result<()> {
    let (one, other) = LINK.split_once('-').context("a link has two ends")?;
    for (near, far) in [(one, other), (other, one)] {
        let (near, far) = (lab.plan.node(near)?, lab.plan.node(far)?);
        let peer = lab.plan.nodes[far].id;
        let to_peer =
            |end: &PortEnd| matches!(end, PortEnd::Router(adjacency) if adjacency.peer == peer);
        let port = lab.plan.nodes[near].ports.iter().find(|p| to_peer(&p.end));
        let port = port.with_context(|| format!("no port of link {LINK}"))?;
        lab.agent(near)?.set_rate(&port.name, mbps)?;
    }
    Ok(())
}

/// Other traffic over the link: calls that insist on the worse instance's gateway, with answers as long as they are.
fn fill(lab: &mut Lab) -> anyhow::Result<Stream> {
    let bytes = f64::from(FILLER.0 + FILLER.1);
    let rate = f64::from(LIMIT_MBPS) * 1e6 / 8.0 * FILLED / bytes;
    let spec = StreamSpec {
        rate: rate as u32,
        size: Some(FILLER.0 as usize),
        ..StreamSpec::new(CALLER.0, "pod2/filler", NAME, LONGEST).pinned(WORSE)
    };
    Stream::start(lab, &spec)
}

/// Members of a group at the caller's gateway with their weights; `None`: plain routes.
type Weights = Option<Vec<v1::Member>>;

fn weights(lab: &Lab, name: &str) -> anyhow::Result<Weights> {
    let tables = lab.agent(lab.plan.node(ENTRY)?)?.tables()?;
    let encoded = dmsc_wire::NameBuf::parse(name)?;
    let mut prefixes = tables.prefixes.iter();
    let prefix = prefixes.find(|p| p.name == encoded.as_bytes());
    let prefix = prefix.with_context(|| format!("{ENTRY} has no {name}"))?;
    let group = tables.groups.iter().find(|g| g.id == prefix.group);
    let group = group.with_context(|| format!("{ENTRY} has no group of {name}"))?;
    Ok(group.weighted.then(|| group.members.clone()))
}

fn is_plain(weights: &Weights) -> bool {
    weights.is_none()
}

fn is_away(weights: &Weights) -> bool {
    let is_away = |member: &v1::Member| member.gateway != WORSE || member.weight == 0;
    weights.as_ref().is_some_and(|all| all.iter().all(is_away))
}

fn wait_for(
    lab: &Lab,
    name: &str,
    what: &str,
    limit: Duration,
    is: impl Fn(&Weights) -> bool,
) -> anyhow::Result<()> {
    wait::until(&format!("{what} for {name} at {ENTRY}"), limit, || {
        let now = weights(lab, name)?;
        anyhow::ensure!(is(&now), "weights are {now:?}");
        Ok(Some(()))
    })
}
