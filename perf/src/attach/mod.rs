//! `dmsc-perf attach`: how a process beside a gateway, as an edge is, reaches it best.
//!
//! `site`: the two attachments; `rig`: the gateway and all that runs; `process`, `order`: the processes at the ends, as they are started and told; `end`,
//! `caller`, `echo`: what they do; `link`, `udp`, `shared`, `own`, `wrap`: their ways to the gateway; `outcome`: what came out.

mod args;
mod caller;
mod echo;
mod end;
mod link;
mod order;
mod outcome;
mod own;
mod process;
mod rig;
mod shared;
mod site;
#[cfg(test)]
mod tests;
mod udp;
mod wrap;

use std::process::ExitCode;
use std::time::Duration;

use dmsc_lab::wait;

pub use args::{AttachArgs, EndArgs};
pub use end::serve;
use order::{Load, Pace};
use outcome::{Outcome, Point, Round};
use rig::{Place, Rig};
use site::By;

use crate::record::{Progress, Record};
use crate::rig::Ground;
use crate::transit::find_dataplane;

/// Calls under way at the highest rate.
const WINDOW: usize = 64;
/// Messages under way in bulk.
const BULK_WINDOW: usize = 128;
/// Before what is measured.
const WARM_UP: Duration = Duration::from_millis(200);

/// Measures, and shows what came out.
///
/// # Errors
/// When it cannot be run to its end; what was measured until then is shown.
pub fn run(args: &AttachArgs) -> anyhow::Result<ExitCode> {
    let place = prepare(args)?;
    let mut record = Record::<Round, Outcome>::new("attach");
    let result = all(args, &place, &mut record.rounds);
    record.complete = result.is_ok();
    record.result = Outcome::new(args.rate, &record.rounds);
    if let Some(path) = &args.json {
        record.write(path)?;
    }
    let is_for_a_machine = args.json.as_ref().is_some_and(|p| p.as_os_str() == "-");
    if !is_for_a_machine {
        println!("{}", record.result.table());
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// Enters a namespace: to be called before there are other threads.
fn prepare(args: &AttachArgs) -> anyhow::Result<Place> {
    let program = find_dataplane(args.bin_dir.as_deref())?;
    let Ground {
        own_core: end_core,
        router_core: gateway_core,
    } = Ground::enter("attach")?;
    wait::catch_signals()?;
    Ok(Place {
        program,
        end_core,
        gateway_core,
    })
}

fn all(args: &AttachArgs, place: &Place, rounds: &mut Vec<Round>) -> anyhow::Result<()> {
    let mut kinds: Vec<By> = args.by.clone();
    kinds.dedup();
    let mut progress = Progress::start("attach", args.rounds as usize * kinds.len());
    for round in 1..=args.rounds {
        for by in &kinds {
            let mut rig = Rig::start(place, *by)?;
            for size in &args.sizes {
                rounds.push(measure(args, &mut rig, round, *by, *size)?);
            }
            rig.stop()?;
            progress.step(&format!("round {round} of {}, {by}", args.rounds));
        }
        kinds.rotate_left(1); // none is always behind the same other one
    }
    Ok(())
}

fn measure(
    args: &AttachArgs,
    rig: &mut Rig,
    round: u32,
    by: By,
    size: u16,
) -> anyhow::Result<Round> {
    let mut point = |pace| {
        let load = |time| Load { pace, size, time };
        rig.run(load(WARM_UP))?;
        let (seen, cost) = rig.run(load(Duration::from_secs(args.seconds)))?;
        anyhow::Ok(Point::new(seen, &cost))
    };
    let low = point(Pace::Rate(args.rate))?;
    let high = point(Pace::Window(WINDOW))?;
    let bulk = point(Pace::Bulk(BULK_WINDOW))?;
    Ok(Round {
        round,
        by,
        size,
        low,
        high,
        bulk,
        memory: rig.memory(),
        drops: rig.drops()?,
    })
}
