//! What `forward` leaves behind: a set of figures for every rig and mode.

use comfy_table::Table;
use serde::Serialize;

use super::args::ForwardArgs;
use super::bench::{Bench, Round, Runner, Series};
use crate::record::{Spread, spread};
use crate::transit::Mode;

/// Of one rig and mode; medians of rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pmd: String,
    mode: Mode,
    carrier: String,
    traffic: String,
    frame: String,
    prefixes: usize,
    /// Prefixes whose names do not fit into the shortest frame: in the table, never called.
    names_too_long: usize,
    /// Seconds until all prefixes were in the workers' tables, median of the rounds' processes.
    load_s: f64,
    /// Frames per second, in millions: in mode mac as measured, otherwise of t(mac) + added.
    mpps: f64,
    ns: f64,
    /// Without preamble, gap and checksum.
    gbit_s: f64,
    /// Cores that 10 Gbit/s of these frames would take.
    cores_per_10_gbit_s: f64,
    peer_mpps: Option<f64>,
    peer_ns: Option<f64>,
    /// The router's rate over the peer's; both are linked with the shared DPDK.
    ratio: Option<f64>,
    ratio_min: Option<f64>,
    ratio_max: Option<f64>,
    /// The static build's rate over that of the peer, which is linked with the shared DPDK.
    ratio_static: Option<f64>,
    ratio_static_min: Option<f64>,
    ratio_static_max: Option<f64>,
    static_mpps: Option<f64>,
    /// t(mode + stamp) − t(mac + stamp), ns per packet.
    added_ns: Option<f64>,
    added_ns_min: Option<f64>,
    added_ns_max: Option<f64>,
    /// Frames per poll that brought some.
    mean_burst: f64,
    drops: u64,
}

/// Nanoseconds per packet of a runner in a mode, and what of it the mode added; none where the round lacks a series.
fn nanoseconds(round: &Round, runner: Runner, mode: Mode) -> Option<(f64, Option<f64>)> {
    let of = |mode, stamp| {
        let series = Series {
            runner,
            mode,
            stamp,
        };
        round.mpps.get(&series.to_string()).map(|mpps| 1e3 / mpps)
    };
    let mac = of(Mode::Mac, false)?;
    if mode == Mode::Mac {
        return Some((mac, None));
    }
    let added = of(mode, true)? - of(Mode::Mac, true)?;
    Some((mac + added, Some(added)))
}

impl Figures {
    /// Of the rounds of a rig.
    pub fn new(args: &ForwardArgs, bench: &Bench<'_>, mode: Mode, rounds: &[Round]) -> Figures {
        let of = |figure: &dyn Fn(&Round) -> Option<f64>| {
            spread(&rounds.iter().filter_map(figure).collect::<Vec<f64>>())
        };
        let ns_of = |runner| move |r: &Round| nanoseconds(r, runner, mode).map(|(ns, _)| ns);
        // The peer has one mode.
        let peer = |r: &Round| nanoseconds(r, Runner::Peer, Mode::Mac).map(|(ns, _)| ns);
        let ratio_of = |runner| of(&move |r| Some(peer(r)? / ns_of(runner)(r)?));
        let (ratio, ratio_static) = (ratio_of(Runner::Router), ratio_of(Runner::Static));
        let added = of(&|r| nanoseconds(r, Runner::Router, mode)?.1);
        let median = |spread: Option<Spread>| spread.map(|s| s.median);
        let ns = median(of(&ns_of(Runner::Router))).unwrap_or(f64::NAN);
        let peer_ns = median(of(&peer));
        let series = Series {
            runner: Runner::Router,
            mode,
            stamp: mode != Mode::Mac,
        };
        let burst = of(&|r| r.mean_burst.get(&series.to_string()).copied());
        let gbit_s = bench.site.frame.mean() * 8.0 / ns;
        Figures {
            pmd: bench.site.pmd.to_string(),
            mode,
            carrier: args.carrier.to_string(),
            traffic: args.traffic.to_string(),
            frame: bench.site.frame.to_string(),
            prefixes: bench.loaded.prefixes,
            names_too_long: bench.loaded.too_long,
            load_s: median(of(&|r| Some(r.load_s))).unwrap_or(f64::NAN),
            mpps: 1e3 / ns,
            ns,
            gbit_s,
            cores_per_10_gbit_s: 10.0 / gbit_s,
            peer_mpps: peer_ns.map(|ns| 1e3 / ns),
            peer_ns,
            ratio: median(ratio),
            ratio_min: ratio.map(|s| s.min),
            ratio_max: ratio.map(|s| s.max),
            ratio_static: median(ratio_static),
            ratio_static_min: ratio_static.map(|s| s.min),
            ratio_static_max: ratio_static.map(|s| s.max),
            static_mpps: median(of(&ns_of(Runner::Static))).map(|ns| 1e3 / ns),
            added_ns: median(added),
            added_ns_min: added.map(|s| s.min),
            added_ns_max: added.map(|s| s.max),
            mean_burst: median(burst).unwrap_or(f64::NAN),
            drops: rounds.iter().map(|r| r.drops).sum(),
        }
    }
}

/// What came out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// The first of `points`: all there is, unless several rigs or modes were asked for. If that is of mode mac, which adds nothing,
    /// `added_ns` is that of `added_mode`.
    #[serde(flatten)]
    first: Option<Figures>,
    /// The mode of `added_ns`: the first of `points` that has it.
    added_mode: Option<Mode>,
    /// Of every rig and mode, in the order of the command line.
    points: Vec<Figures>,
}

impl Outcome {
    /// Figures of one more rig.
    pub fn add(&mut self, figures: impl Iterator<Item = Figures>) {
        self.points.extend(figures);
        let added = self.points.iter().find(|p| p.added_ns.is_some());
        self.added_mode = added.map(|p| p.mode);
        self.first = self.points.first().cloned();
        if let (Some(first), Some(added)) = (&mut self.first, added) {
            first.added_ns = added.added_ns;
            first.added_ns_min = added.added_ns_min;
            first.added_ns_max = added.added_ns_max;
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        if self.points.is_empty() {
            return "nothing was measured to its end".into();
        }
        let has =
            |figure: fn(&Figures) -> Option<f64>| self.points.iter().any(|p| figure(p).is_some());
        let (with_static, with_peer) = (has(|p| p.ratio_static), has(|p| p.ratio));
        let mut table = Table::new();
        let mut header = vec![
            "ports",
            "bytes",
            "prefixes",
            "mode",
            "Mpps",
            "ns",
            "Gbit/s",
            "cores per 10 Gbit/s",
            "added ns",
        ];
        if with_peer {
            header.extend(["testpmd mac, Mpps", "ratio"]);
        }
        if with_static {
            header.push("ratio, static");
        }
        table.set_header(header);
        let range = |of: [Option<f64>; 3], digits: usize| match of {
            [Some(median), Some(min), Some(max)] => {
                format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
            }
            _ => String::new(),
        };
        for p in &self.points {
            let mut row = vec![
                p.pmd.clone(),
                p.frame.clone(),
                p.prefixes.to_string(),
                p.mode.to_string(),
                format!("{:.2}", p.mpps),
                format!("{:.2}", p.ns),
                format!("{:.2}", p.gbit_s),
                format!("{:.2}", p.cores_per_10_gbit_s),
                range([p.added_ns, p.added_ns_min, p.added_ns_max], 1),
            ];
            if with_peer {
                row.push(
                    p.peer_mpps
                        .map_or(String::new(), |mpps| format!("{mpps:.2}")),
                );
                row.push(range([p.ratio, p.ratio_min, p.ratio_max], 3));
            }
            if with_static {
                let all = [p.ratio_static, p.ratio_static_min, p.ratio_static_max];
                row.push(range(all, 3));
            }
            table.add_row(row);
        }
        let note = if with_static {
            "\nRatio, static: the static build to testpmd, which is linked with the shared DPDK as this program is."
        } else {
            ""
        };
        format!("{table}{note}")
    }
}
