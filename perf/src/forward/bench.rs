//! One rig: the router and the peer on it, which take turns, series by series, in an order that changes from round to round.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, bail};
use dmsc_lab::wait;
use serde::Serialize;

use super::args::{ForwardArgs, Peer, Pmd};
use super::child::RouterArgs;
use super::router::{Loaded, Router};
use super::testpmd::{Looped, Plan};
use super::veth::Pair;
use super::{Folder, WARM_MS, rate};
use crate::transit::{Mode, Size};

/// What a rig is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Kind of both ports.
    pub pmd: Pmd,
    /// Lengths of frames.
    pub frame: Size,
    /// Prefixes that were asked for.
    pub prefixes: usize,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Site {
            pmd,
            frame,
            prefixes,
        } = self;
        write!(f, "{pmd}, frames {frame}, {prefixes} prefixes")
    }
}

/// Whom a series is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// The router of this build.
    Router,
    /// That of the static build.
    Static,
    /// testpmd.
    Peer,
}

/// What is measured at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Who.
    pub runner: Runner,
    /// In which mode.
    pub mode: Mode,
    /// With stamped frames.
    pub stamp: bool,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.runner {
            Runner::Peer => return f.write_str("testpmd"),
            Runner::Static => f.write_str("static ")?,
            Runner::Router => {}
        }
        let stamp = if self.stamp { "+stamp" } else { "" };
        write!(f, "{}{stamp}", self.mode)
    }
}

/// One round of one rig.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pmd: Pmd,
    frame: String,
    prefixes: usize,
    round: u64,
    /// Seconds until all prefixes were in the tables of the router that was started for it.
    pub load_s: f64,
    /// Millions of frames per second by series.
    pub mpps: BTreeMap<String, f64>,
    /// Frames per poll of the router that brought some, by series.
    pub mean_burst: BTreeMap<String, f64>,
    /// Frames that the router sent.
    pub frames: u64,
    /// Frames that the router dropped.
    pub drops: u64,
}

impl Round {
    /// More than one frame in 100,000 was dropped: a null port gives back the hellos that were sent into it.
    pub fn is_lossy(&self) -> bool {
        self.drops as f64 > self.frames as f64 / 1e5
    }

    /// For people who wait.
    pub fn line(&self) -> String {
        let rates = self.mpps.iter();
        let rates: Vec<String> = rates
            .map(|(what, mpps)| format!("{what} {mpps:.3}"))
            .collect();
        format!("{}: {} Mpps", self.pmd, rates.join(", "))
    }
}

/// The rig; everything of it goes with this value.
pub struct Bench<'a> {
    args: &'a ForwardArgs,
    /// What it is of.
    pub site: Site,
    router: Router,
    /// What the router said of its tables.
    pub loaded: Loaded,
    fixed: Option<Router>,
    peer: Option<Looped>,
    // After the processes that use them.
    _pairs: Vec<Pair>,
    _folder: Folder,
}

impl<'a> Bench<'a> {
    /// Starts everybody, loads tables, and stops them until it is their turn.
    ///
    /// # Errors
    /// Who could not be started, and why.
    pub fn start(args: &'a ForwardArgs, site: Site, main: usize) -> anyhow::Result<Bench<'a>> {
        let folder = Folder::new()?;
        let mut pairs = Vec::new();
        let mut router_args = |name: &str, pair: &str| -> anyhow::Result<RouterArgs> {
            let interfaces = match site.pmd.is_of_kernel() {
                true => {
                    pairs.push(Pair::make(pair, site.frame.mtu())?);
                    pairs[pairs.len() - 1].0.interfaces.to_vec()
                }
                false => Vec::new(),
            };
            Ok(RouterArgs {
                dir: folder.0.join(name),
                pmd: site.pmd,
                carrier: args.carrier,
                prefixes: site.prefixes,
                names: args.names.clone(),
                traffic: args.traffic,
                draws: args.draws,
                frame: site.frame,
                interfaces,
                cores: vec![args.core],
                no_huge: false,
                count: None,
                mode: None,
            })
        };
        let (mut router, loaded) = Router::start(&router_args("router", "fr")?)?;
        router.pause()?;
        let fixed = match &args.static_build {
            Some(program) => Some(static_router(program, &router_args("static", "fs")?)?),
            None => None,
        };
        let peer = match args.peer {
            Peer::Testpmd => {
                let pair = match site.pmd.is_of_kernel() {
                    true => Some(Pair::make("ft", site.frame.mtu())?),
                    false => None,
                };
                let plan = Plan {
                    dir: &folder.0.join("peer"),
                    pmd: site.pmd,
                    size: site.frame,
                    main,
                    cores: &[args.core],
                    ends: pair.as_ref().map(|pair| &pair.0),
                };
                let peer = testpmd(&plan)?;
                pairs.extend(pair);
                Some(peer)
            }
            Peer::None => None,
        };
        Ok(Bench {
            args,
            site,
            router,
            loaded,
            fixed,
            peer,
            _pairs: pairs,
            _folder: folder,
        })
    }

    /// Other processes in the place of these: where memory happens to lie makes one faster than the other for as long as it lives.
    ///
    /// # Errors
    /// As [`Bench::start`].
    pub fn anew(self, main: usize) -> anyhow::Result<Bench<'a>> {
        let (args, site) = (self.args, self.site);
        // Before the others come: they want the same memory and names.
        drop(self);
        Bench::start(args, site, main)
    }

    /// What is measured in every round.
    fn series(&self) -> Vec<Series> {
        let mut runners = vec![Runner::Router];
        runners.extend(self.fixed.as_ref().map(|_| Runner::Static));
        let mut all = Vec::new();
        for runner in runners {
            let of = |mode, stamp| Series {
                runner,
                mode,
                stamp,
            };
            all.push(of(Mode::Mac, false));
            let added = || self.args.mode.iter().filter(|mode| **mode != Mode::Mac);
            if added().next().is_some() {
                all.push(of(Mode::Mac, true));
            }
            all.extend(added().map(|mode| of(*mode, true)));
        }
        all.extend(self.peer.as_ref().map(|_| Series {
            runner: Runner::Peer,
            mode: Mode::Mac,
            stamp: false,
        }));
        all
    }

    /// All series once, in an order that turns from round to round, so that a drift of the machine hits all alike.
    ///
    /// # Errors
    /// When a process has ended, no frame goes round, or somebody asks to stop.
    pub fn round(&mut self, number: u64) -> anyhow::Result<Round> {
        let mut round = Round {
            pmd: self.site.pmd,
            frame: self.site.frame.to_string(),
            prefixes: self.site.prefixes,
            round: number,
            load_s: self.loaded.seconds,
            mpps: BTreeMap::new(),
            mean_burst: BTreeMap::new(),
            frames: 0,
            drops: 0,
        };
        let mut all = self.series();
        let turn = number as usize % all.len();
        all.rotate_left(turn);
        for series in all {
            wait::pause(std::time::Duration::ZERO)?;
            let name = series.to_string();
            let router = match (series.runner, &mut self.fixed, &mut self.peer) {
                (Runner::Static, Some(fixed), _) => fixed,
                (Runner::Peer, _, Some(peer)) => {
                    let mpps = peer.measure(WARM_MS, self.args.ms)? / 1e6;
                    peer.pause()?;
                    round.mpps.insert(name, mpps);
                    continue;
                }
                _ => &mut self.router,
            };
            router.set(series.mode, series.stamp)?;
            router.measure(WARM_MS)?;
            let count = router.measure(self.args.ms)?;
            router.pause()?;
            round.drops += count.drops;
            round.frames += count.packets;
            let burst = count.packets as f64 / count.bursts.max(1) as f64;
            round.mean_burst.insert(name.clone(), burst);
            round.mpps.insert(name.clone(), rate(&count, &name)?);
        }
        Ok(round)
    }
}

fn static_router(program: &Path, args: &RouterArgs) -> anyhow::Result<Router> {
    let (mut router, loaded) = start(args.pmd, || Router::start_by(program, args))?;
    if loaded.linking != "static" {
        bail!(
            "--static-build {}: is linked with the shared DPDK; `make perf-static` builds the one that is wanted",
            program.display()
        );
    }
    router.pause()?;
    Ok(router)
}

fn testpmd(plan: &Plan<'_>) -> anyhow::Result<Looped> {
    let mut peer = start(plan.pmd, || Looped::start(plan))?;
    peer.pause()?;
    Ok(peer)
}

/// Packet sockets of two processes may get the same number of their groups by chance, which the kernel refuses: another process, another number.
fn start<T>(pmd: Pmd, process: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    match process() {
        Err(first) if pmd == Pmd::AfPacket => {
            process().with_context(|| format!("started again, because at first: {first:#}"))
        }
        started => started,
    }
}
