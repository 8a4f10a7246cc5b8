//! NDR, PDR and latency of a real router (RFC 2544, by the search of RFC 9971): generator and router are separate processes.
//!
//! `search`: which load next, and what trials say; `trial`: one trial; `outcome`: what came out, for machines and people.

mod args;
mod outcome;
mod search;
mod trial;

use std::process::ExitCode;

use anyhow::bail;
use dmsc_lab::wait;

pub use args::Rfc2544Args;
use outcome::{Combination, Figures, Latency, Outcome, Round, Step};
use search::{Class, Goal, Sample, Search};
pub use trial::{Generator, Order, Trial};

use crate::record::{Progress, Record};
use crate::transit::{LINKS, Pmd, Rig, Router, Wanted, find_dataplane, pin};

/// Loss that PDR allows.
const PDR_LOSS: f64 = 0.005;
/// Goal Exceed Ratio of PDR: half of the trials may be disturbed.
const PDR_EXCEED: f64 = 0.5;
/// That of NDR, which promises that nothing is lost: no trial may be.
const NDR_EXCEED: f64 = 0.0;
/// Shares of PDR at which latency is measured; the first is an idle router's.
const LATENCY_AT: [f64; 4] = [0.0, 0.1, 0.5, 0.9];
/// Rate of an idle router's latency, frames per second.
const IDLE_RATE: f64 = 1_000.0;

/// Measures, and shows what came out.
///
/// # Errors
/// When it cannot be run, or somebody asks to stop; what was measured until then is in the JSON.
pub fn run(args: &Rfc2544Args) -> anyhow::Result<ExitCode> {
    let mut record = Record::<Round, Outcome>::new("rfc2544");
    let rig = Rig::new("rfc2544", find_dataplane(args.bin_dir.as_deref())?)?;
    wait::catch_signals()?;
    record.result.memory = rig.memory();
    let result = all(args, rig, &mut record);
    record.complete = result.is_ok();
    record.leave(args.json.as_deref(), |record| record.result.table())?;
    result?;
    Ok(ExitCode::SUCCESS)
}

fn all(
    args: &Rfc2544Args,
    mut rig: Rig,
    record: &mut Record<Round, Outcome>,
) -> anyhow::Result<()> {
    let mut progress = Progress::start("rfc2544", args.pmd.len() * args.frame.len());
    for pmd in &args.pmd {
        let mut sizes = args.frame.clone();
        // One router for all sizes that its links carry, the small ones first.
        sizes.sort_by_key(|size| size.mtu());
        for sizes in sizes.chunk_by(|a, b| a.mtu() == b.mtu()) {
            let wanted = Wanted {
                ways: &[LINKS],
                pmd: *pmd,
                mtu: sizes[0].mtu(),
                idle: args.idle,
                prefixes: args.prefixes,
                mode: args.mode,
            };
            let (router, [source, sink], pool) = rig.start(wanted)?;
            let _lcore = rig.register()?;
            let _pinned = pin(rig.own_core)?;
            let ends = (source, sink);
            let names = (trial::NAMES, args.prefixes);
            let mut generator = Generator::new(ends, &pool, args.mode, sizes[0], names);
            for size in sizes {
                generator.set_frames(args.mode, *size);
                let combination = Combination {
                    pmd: pmd.to_string(),
                    frame: size.to_string(),
                    mode: args.mode,
                };
                progress.step(&format!("{combination}: begins"));
                let mut bench = Bench {
                    args,
                    router: &router,
                    generator: &mut generator,
                    combination,
                    rounds: &mut record.rounds,
                };
                let figures = bench.measure(size.mean())?;
                eprintln!("rfc2544: {}", figures.line());
                record.result.add(figures);
            }
            if *pmd == Pmd::Memif {
                // A worker that polls memif while the other end goes may read a ring that the driver has just unmapped.
                router.stop()?;
                drop(generator);
            } else {
                // Here the driver of the other end complains when the router goes first.
                drop(generator);
                router.stop()?;
            }
        }
    }
    Ok(())
}

/// One kind of link and one size.
struct Bench<'a> {
    args: &'a Rfc2544Args,
    router: &'a Router,
    generator: &'a mut Generator,
    combination: Combination,
    rounds: &'a mut Vec<Round>,
}

impl Bench<'_> {
    fn trial(&mut self, step: Step, order: Order) -> anyhow::Result<Trial> {
        if wait::interrupted() {
            bail!("interrupted by a signal; everything was ended and removed");
        }
        let (before, drops_before) = (self.router.work()?, self.router.drops(LINKS)?);
        let mut trial = self.generator.run(order);
        let work = self.router.work()?;
        trial.mean_burst = work.mean_burst(&before);
        trial.router_busy = work.busy(&before);
        let old = |reason: &str| {
            drops_before
                .iter()
                .find(|d| d.0 == reason)
                .map_or(0, |d| d.1)
        };
        let drops = self.router.drops(LINKS)?.into_iter();
        trial.drops = drops
            .map(|(reason, count)| (reason.clone(), count - old(&reason)))
            .filter(|(_, count)| *count > 0)
            .collect();
        self.rounds.push(Round {
            combination: self.combination.clone(),
            step,
            load: order.rate,
            loss: trial.loss(),
            trial: trial.clone(),
        });
        Ok(trial)
    }

    fn measure(&mut self, mean_length: f64) -> anyhow::Result<Figures> {
        let (seconds, sum, width) = match self.args.quick {
            true => (0.2, 0.6, 0.05),
            false => (self.args.trial, self.args.sum, self.args.width),
        };
        let order = |rate, seconds| Order {
            rate,
            seconds,
            latency: false,
        };
        // As fast as the link takes it: the warm-up, which is thrown away but for a first guess.
        let warm_up = self.trial(Step::WarmUp, order(None, seconds))?;
        let guess = warm_up.rate();
        if guess < 1.0 {
            bail!(
                "{}: nothing came out of the router; it dropped {:?}",
                self.combination,
                warm_up.drops
            );
        }
        let goal = |loss, exceed| Goal {
            loss,
            exceed,
            sum,
            trial: seconds,
            width,
        };
        let goals = [goal(PDR_LOSS, PDR_EXCEED), goal(0.0, NDR_EXCEED)];
        let mut search = Search::new(goals.to_vec(), guess / 1_000.0, guess * 2.0, guess * 0.9);
        let mut trials = Vec::new();
        while let Some(load) = search.next() {
            let trial = self.trial(Step::Search, order(Some(load), seconds))?;
            search.take(Sample {
                load,
                // The clock is read between bursts: a trial is never shorter than asked for.
                duration: seconds,
                loss: trial.loss(),
            });
            trials.push((load, trial));
        }
        let samples = search.samples();
        let [pdr, ndr] = goals.map(|goal| {
            let (lower, upper) = goal.bounds(samples);
            outcome::Rate {
                lower,
                upper,
                throughput: lower.map(|load| goal.throughput(samples, load)),
                generator_was_the_limit: is_generator_the_limit(&goal, upper, &trials),
            }
        });
        let at = |load: Option<f64>| {
            let trial = trials.iter().rev().find(|(l, _)| Some(*l) == load);
            trial.map(|(_, trial)| trial.clone())
        };
        let at_pdr = at(pdr.lower);
        let mut latency = Vec::new();
        if let Some(top) = pdr.throughput {
            for share in LATENCY_AT {
                let rate = if share == 0.0 { IDLE_RATE } else { top * share };
                let order = Order {
                    rate: Some(rate),
                    seconds: if self.args.quick { 0.3 } else { 2.0 * seconds },
                    latency: true,
                };
                let trial = self.trial(Step::Latency, order)?;
                latency.extend(Latency::of(share, rate, &trial));
            }
        }
        Ok(Figures::new(
            self.combination.clone(),
            mean_length,
            (ndr, pdr),
            at_pdr.as_ref(),
            latency,
        ))
    }
}

/// Whether the trials at the upper bound would have met the goal with a generator that keeps up.
fn is_generator_the_limit(goal: &Goal, upper: Option<f64>, trials: &[(f64, Trial)]) -> bool {
    let Some(upper) = upper else {
        return true; // no load that was offered was too much
    };
    let samples: Vec<Sample> = trials
        .iter()
        .filter(|(load, _)| *load == upper)
        .map(|(load, trial)| Sample {
            load: *load,
            duration: goal.trial,
            loss: (trial.loss() - trial.late_ratio()).max(0.0),
        })
        .collect();
    goal.classify(&samples, upper) != Class::Upper
}
