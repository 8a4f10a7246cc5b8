//! Figures of this project's sender, confirmed by one that nobody here wrote: dpdk-testpmd, replaying a capture of DMSC frames.
//!
//! `sender`: the other sender; both are measured in every round, each with a router of its own.

mod args;
mod sender;

use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{Table, presets};
use dmsc_lab::wait;
use serde::Serialize;

pub use args::ForeignArgs;
use sender::{Plan, Sender};

use crate::pcap;
use crate::record::{Progress, Record, Spread, ratio, spread};
use crate::rfc2544::{Generator, Order};
use crate::testpmd;
use crate::transit::{Idle, LINKS, Mode, Pmd, Rig, Wanted, find_dataplane, pin};

/// How far the ratio may be from 1.
const TOLERANCE: f64 = 0.05;
/// Share of its time with work from which on the router, not the sender, is what limits the rate.
const FULL: f64 = 0.9;
/// The router gets used to the load for this long.
const WARM_UP: Duration = Duration::from_millis(500);
/// Port of testpmd that receives what the router forwarded.
const RECEIVER: u16 = 2;

/// One sender in one round.
#[derive(Debug, Clone, Serialize)]
struct Measured {
    /// Millions of packets per second that came out, by the sender's own counters.
    mpps: f64,
    /// The same by the router's counters, which the sender does not know.
    router_mpps: f64,
    /// Packets per burst that the router received.
    mean_burst: Option<f64>,
    /// Share of the router's time in which it had something to do.
    router_busy: Option<f64>,
}

impl Measured {
    /// What the router would forward if it had work all the time, as it is reckoned from the share of time in which it had, Mpps.
    fn capacity(&self) -> Option<f64> {
        self.router_busy
            .filter(|busy| *busy > 0.0)
            .map(|busy| self.mpps / busy)
    }

    fn is_router_the_limit(&self) -> bool {
        self.router_busy.is_none_or(|busy| busy >= FULL)
    }
}

/// One round.
#[derive(Debug, Clone, Serialize)]
struct Round {
    round: u32,
    mode: Mode,
    ours: Measured,
    testpmd: Measured,
}

/// Of a mode.
#[derive(Debug, Clone, Serialize)]
struct Verdict {
    mode: Mode,
    /// By this program's generator.
    mpps: Option<Spread>,
    /// By testpmd.
    testpmd_mpps: Option<Spread>,
    /// What is compared: `rate`, or `capacity` where a sender was too slow to give the router work all the time.
    compared: &'static str,
    /// By this program's generator: rate over the share of time in which the router had work.
    capacity_mpps: Option<Spread>,
    /// The same by testpmd.
    testpmd_capacity_mpps: Option<Spread>,
    /// Ours to testpmd's, within rounds, of what is compared.
    ratio: Option<Spread>,
    /// Of the rates, whichever is compared.
    rate_ratio: Option<Spread>,
    /// The median of the ratio is within 5 % of 1.
    confirmed: bool,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Outcome {
    /// Of the mode that is further from 1: ours to testpmd's, median of rounds.
    ratio: Option<f64>,
    /// Its smallest.
    ratio_min: Option<f64>,
    /// Its largest.
    ratio_max: Option<f64>,
    /// All modes are confirmed.
    confirmed: bool,
    /// The other sender.
    testpmd: String,
    /// Memory of this process's DPDK.
    memory: String,
    /// Of every mode.
    modes: Vec<Verdict>,
}

/// Measures, and shows what came out.
///
/// # Errors
/// When it cannot be run, or somebody asks to stop; what was measured until then is in the JSON.
pub fn run(args: &ForeignArgs) -> anyhow::Result<ExitCode> {
    let mut record = Record::<Round, Outcome>::new("foreign");
    record.result.testpmd = testpmd::version()?;
    let mut rig = Rig::new("foreign", find_dataplane(args.bin_dir.as_deref())?)?;
    wait::catch_signals()?;
    record.result.memory = rig.memory();
    let result = all(args, &mut rig, &mut record.rounds);
    record.complete = result.is_ok();
    sum_up(args, &record.rounds, &mut record.result);
    record.leave(args.json.as_deref(), |record| table(&record.result))?;
    result?;
    Ok(ExitCode::from(u8::from(!record.result.confirmed)))
}

fn all(args: &ForeignArgs, rig: &mut Rig, rounds: &mut Vec<Round>) -> anyhow::Result<()> {
    let mut progress = Progress::start("foreign", args.rounds as usize * args.mode.len());
    for round in 1..=args.rounds {
        for mode in &args.mode {
            let ours = with_own(args, rig, *mode)?;
            wait::pause(Duration::ZERO)?;
            let testpmd = with_testpmd(args, rig, *mode)?;
            wait::pause(Duration::ZERO)?;
            progress.step(&format!(
                "{mode}: {:.3} Mpps, by testpmd {:.3}",
                ours.mpps, testpmd.mpps
            ));
            rounds.push(Round {
                round,
                mode: *mode,
                ours,
                testpmd,
            });
        }
    }
    Ok(())
}

fn wanted(args: &ForeignArgs, mode: Mode) -> Wanted {
    Wanted {
        pmd: Pmd::Memif,
        mtu: args.frame.mtu(),
        idle: Idle::Poll,
        prefixes: args.prefixes,
        mode,
    }
}

fn with_own(args: &ForeignArgs, rig: &mut Rig, mode: Mode) -> anyhow::Result<Measured> {
    let (router, [source, sink], pool) = rig.start(wanted(args, mode))?;
    let _lcore = rig.register()?;
    let _pinned = pin(rig.own_core)?;
    let ends = (source, sink);
    let mut generator = Generator::new(ends, &pool, mode, args.frame, args.prefixes);
    let order = |seconds| Order {
        rate: None,
        seconds,
        latency: false,
    };
    generator.run(order(WARM_UP.as_secs_f64()));
    let (work, forwarded) = (router.work()?, router.forwarded()?);
    let trial = generator.run(order(args.seconds as f64));
    let after = router.work()?;
    let measured = Measured {
        mpps: trial.rate() / 1e6,
        router_mpps: (router.forwarded()? - forwarded) as f64 / trial.seconds / 1e6,
        mean_burst: after.mean_burst(&work),
        router_busy: after.busy(&work),
    };
    // First: a worker that polls memif while the other end goes may read a ring that the driver has just unmapped.
    router.stop()?;
    drop(generator);
    Ok(measured)
}

fn with_testpmd(args: &ForeignArgs, rig: &Rig, mode: Mode) -> anyhow::Result<Measured> {
    let wanted = wanted(args, mode);
    let (router, ()) = rig.start_for(wanted, || Ok(()))?;
    let dir = rig.dir();
    let (traffic, hellos) = (dir.join("traffic.pcap"), dir.join("hellos.pcap"));
    let router_is = (crate::transit::NODE.0, router.boot_nonce()?);
    let frames = args.frames_of(mode);
    let what = (mode, args.frame, frames, args.prefixes);
    pcap::write_traffic(&traffic, what, Some(router_is), None)?;
    pcap::write_hellos(&hellos, LINKS[1], router_is, wanted.mtu, 64, None)?;
    let plan = Plan {
        core: rig.own_core,
        traffic,
        hellos,
        sockets: LINKS.map(|link| link.socket(dir)),
        frames: frames + 2,
        buffer_size: 2_048.max(wanted.mtu.next_multiple_of(64) + 64),
        huge: rig.has_hugepages(),
    };
    let mut testpmd = Sender::start(&plan)?;
    router.wait_carrier()?;
    testpmd.begin()?;
    router.wait_up(&mut [])?;
    wait::pause(WARM_UP)?;
    let (work, forwarded) = (router.work()?, router.forwarded()?);
    let (before, start) = testpmd.received(RECEIVER)?;
    wait::pause(Duration::from_secs(args.seconds))?;
    let (after, end) = testpmd.received(RECEIVER)?;
    let seconds = (end - start).as_secs_f64();
    let (work_after, forwarded_after) = (router.work()?, router.forwarded()?);
    testpmd.end()?;
    let measured = Measured {
        mpps: (after - before) as f64 / seconds / 1e6,
        router_mpps: (forwarded_after - forwarded) as f64 / seconds / 1e6,
        mean_burst: work_after.mean_burst(&work),
        router_busy: work_after.busy(&work),
    };
    // As above; and testpmd does not poll any more.
    router.stop()?;
    testpmd.stop()?;
    Ok(measured)
}

fn sum_up(args: &ForeignArgs, rounds: &[Round], outcome: &mut Outcome) {
    for mode in &args.mode {
        let rounds = || rounds.iter().filter(|round| round.mode == *mode);
        let of = |figure: fn(&Measured) -> Option<f64>| {
            let both = rounds().map(|round| (figure(&round.ours), figure(&round.testpmd)));
            both.unzip::<_, _, Vec<_>, Vec<_>>()
        };
        let median_of = |figures: &[Option<f64>]| {
            spread(&figures.iter().copied().flatten().collect::<Vec<f64>>())
        };
        let (ours, theirs) = of(|m| Some(m.mpps));
        let (capacity, their_capacity) = of(Measured::capacity);
        let rate_ratio = ratio(&ours, &theirs);
        let is_full = rounds()
            .all(|round| round.ours.is_router_the_limit() && round.testpmd.is_router_the_limit());
        let (compared, ratio) = match is_full {
            true => ("rate", rate_ratio),
            false => ("capacity", ratio(&capacity, &their_capacity)),
        };
        outcome.modes.push(Verdict {
            mode: *mode,
            mpps: median_of(&ours),
            testpmd_mpps: median_of(&theirs),
            compared,
            capacity_mpps: median_of(&capacity),
            testpmd_capacity_mpps: median_of(&their_capacity),
            ratio,
            rate_ratio,
            confirmed: ratio.is_some_and(|ratio| (ratio.median - 1.0).abs() <= TOLERANCE),
        });
    }
    let distance = |ratio: &Spread| (ratio.median - 1.0).abs();
    let ratios = outcome.modes.iter().filter_map(|verdict| verdict.ratio);
    let worst = ratios.max_by(|a, b| distance(a).total_cmp(&distance(b)));
    outcome.ratio = worst.map(|ratio| ratio.median);
    outcome.ratio_min = worst.map(|ratio| ratio.min);
    outcome.ratio_max = worst.map(|ratio| ratio.max);
    outcome.confirmed = outcome.modes.iter().all(|verdict| verdict.confirmed);
}

fn table(outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "mode",
        "Mpps",
        "by testpmd",
        "compared",
        "ours",
        "testpmd's",
        "ratio",
        "from",
        "to",
        "verdict",
    ]);
    for verdict in &outcome.modes {
        let median = |spread: Option<Spread>| match spread {
            Some(spread) => format!("{:.3}", spread.median),
            None => "–".into(),
        };
        let compared = match verdict.compared {
            "rate" => (verdict.mpps, verdict.testpmd_mpps),
            _ => (verdict.capacity_mpps, verdict.testpmd_capacity_mpps),
        };
        let (from, to) = verdict
            .ratio
            .map_or((f64::NAN, f64::NAN), |r| (r.min, r.max));
        table.add_row([
            verdict.mode.to_string(),
            median(verdict.mpps),
            median(verdict.testpmd_mpps),
            verdict.compared.into(),
            median(compared.0),
            median(compared.1),
            median(verdict.ratio),
            format!("{from:.3}"),
            format!("{to:.3}"),
            match verdict.confirmed {
                true => "confirmed".into(),
                false => "not within 5 %".to_owned(),
            },
        ]);
    }
    format!(
        "{table}\n\nRatio: ours to testpmd's in the same round, median and range. Capacity: the rate over the share of time in which the router had work, where a \
         sender could not give it work all the time. {}; memory: {}.",
        outcome.testpmd, outcome.memory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ForeignArgs,
    }

    #[test]
    fn the_mode_that_is_further_off_stands_for_all() {
        let args = Line::parse_from(["foreign", "--mode", "gateway,name"]).args;
        let measured = |mpps| Measured {
            mpps,
            router_mpps: mpps,
            mean_burst: None,
            router_busy: Some(1.0),
        };
        let round = |mode, ours, theirs| Round {
            round: 1,
            mode,
            ours: measured(ours),
            testpmd: measured(theirs),
        };
        let rounds = [round(Mode::Gateway, 1.0, 1.02), round(Mode::Name, 0.9, 1.0)];
        let mut outcome = Outcome::default();
        sum_up(&args, &rounds, &mut outcome);
        assert_eq!(outcome.ratio, Some(0.9));
        assert!(outcome.modes[0].confirmed && !outcome.modes[1].confirmed && !outcome.confirmed);
        assert!(table(&outcome).contains("not within 5 %"));
    }

    #[test]
    fn a_sender_that_is_too_slow_is_compared_by_the_routers_time() {
        let args = Line::parse_from(["foreign", "--mode", "mac"]).args;
        let measured = |mpps, busy| Measured {
            mpps,
            router_mpps: mpps,
            mean_burst: None,
            router_busy: Some(busy),
        };
        let rounds = [Round {
            round: 1,
            mode: Mode::Mac,
            ours: measured(26.0, 1.0),
            testpmd: measured(20.0, 0.8),
        }];
        let mut outcome = Outcome::default();
        sum_up(&args, &rounds, &mut outcome);
        assert_eq!(outcome.modes[0].compared, "capacity");
        assert!(outcome.confirmed, "{:?}", outcome.ratio);
        assert_eq!(outcome.modes[0].rate_ratio.map(|r| r.median), Some(1.3));
    }
}
