//! Figures of all brown-outs, and how people read them.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use serde::Serialize;

use super::center::Counts;
use super::episode::Episode;
use super::services::Services;
use super::topology::Topology;
use super::wrong::Wrong;

/// Seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Times {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
    pub count: usize,
}

/// Shares of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Shares {
    /// Plain routes.
    pub plain: f64,
    /// P2C over peak-EWMA, over all members.
    pub ewma: f64,
    /// The same over those members that keep to the target when all is quiet.
    pub ewma_preselected: f64,
    /// The scheduling center.
    pub scsc: f64,
    /// Who knows everything at once.
    pub oracle: f64,
    /// What the center saves of what the oracle saves.
    pub saved_of_oracle: Option<f64>,
}

/// How many brown-outs were what.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct BrownOuts {
    pub total: usize,
    /// Put nobody's calls out of their target.
    pub harmless: usize,
    /// Did, and nobody could be helped.
    pub without_alternative: usize,
    /// Somebody could be helped, and a policy came into effect.
    pub acted: usize,
    /// Somebody could be helped, and none did.
    pub missed: usize,
    /// Callers that could be helped, in all.
    pub callers: usize,
    /// Those that a policy helped.
    pub callers_acted: usize,
}

/// Policies that changed something; renewals are none.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Rates {
    /// All prefixes, an hour without a brown-out.
    pub quiet: u32,
    /// The prefix at its threshold, at all gateways, the worst hour.
    pub noise: u32,
    /// The same, mean.
    pub noise_mean: f64,
    /// At one gateway, the worst hour.
    pub noise_gateway: u32,
}

/// What came out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    pub topology: String,
    pub nodes: usize,
    pub links: usize,
    pub groups: usize,
    pub callers: usize,
    pub time_to_policy_s: Times,
    /// Of each caller that could be helped, not only of the first of a brown-out.
    pub time_to_policy_each_s: Times,
    pub out_of_target: Shares,
    pub out_of_target_by_kind: BTreeMap<&'static str, Shares>,
    pub scsc_beats_ewma: bool,
    pub scsc_beats_ewma_preselected: bool,
    pub policies_per_hour: Rates,
    /// Most of a group's traffic that moved in one step.
    pub moved_share_per_step: f64,
    pub loops: u64,
    pub brown_outs: BrownOuts,
    pub wrong_scsc: Wrong,
    /// Bytes per active pair and second.
    pub telemetry_bytes_mean: f64,
    pub telemetry_bytes_max: usize,
    pub probes_per_pair_s: f64,
    pub calls: u64,
}

impl Outcome {
    pub fn of(
        topology: &Topology,
        services: &Services,
        rounds: &[Episode],
        quiet: &Counts,
        hovering: &[(u32, u32)],
        wrong: Wrong,
    ) -> Outcome {
        let needed = |episode: &&Episode| episode.helped > 0;
        let firsts = rounds.iter().filter(needed).filter_map(|e| e.first_s);
        let each = rounds.iter().flat_map(|e| e.each_s.iter().copied());
        let mut by_kind = BTreeMap::new();
        for kind in ["delay", "jitter", "bandwidth"] {
            let of: Vec<&Episode> = rounds.iter().filter(|e| e.kind == kind).collect();
            if !of.is_empty() {
                by_kind.insert(kind, shares(&of));
            }
        }
        let all: Vec<&Episode> = rounds.iter().collect();
        let out = shares(&all);
        let sum = |of: fn(&Counts) -> u64| -> u64 { rounds.iter().map(|e| of(&e.counts)).sum() };
        let encoded = sum(|c| c.encoded) + quiet.encoded;
        let bytes = sum(|c| c.bytes) + quiet.bytes;
        let longest = rounds.iter().map(|e| e.counts.longest).max().unwrap_or(0);
        let moved = rounds
            .iter()
            .map(|e| e.counts.moved_share)
            .fold(0.0, f64::max);
        Outcome {
            topology: topology.name.clone(),
            nodes: topology.nodes.len(),
            links: topology.links.len(),
            groups: services.groups.len(),
            callers: services.callers.len(),
            time_to_policy_s: times(firsts.collect()),
            time_to_policy_each_s: times(each.collect()),
            out_of_target: out,
            out_of_target_by_kind: by_kind,
            scsc_beats_ewma: out.scsc < out.ewma,
            scsc_beats_ewma_preselected: out.scsc < out.ewma_preselected,
            policies_per_hour: Rates {
                quiet: quiet.policies.iter().sum(),
                noise: hovering.iter().map(|h| h.0).max().unwrap_or(0),
                noise_mean: f64::from(hovering.iter().map(|h| h.0).sum::<u32>())
                    / hovering.len().max(1) as f64,
                noise_gateway: hovering.iter().map(|h| h.1).max().unwrap_or(0),
            },
            moved_share_per_step: moved,
            loops: sum(|c| c.loops) + wrong.loops,
            brown_outs: brown_outs(rounds),
            wrong_scsc: wrong,
            telemetry_bytes_mean: bytes as f64 / encoded.max(1) as f64,
            telemetry_bytes_max: longest.max(quiet.longest),
            probes_per_pair_s: sum(|c| c.probes) as f64 / sum(|c| c.reports).max(1) as f64,
            calls: rounds.iter().map(|e| e.calls).sum(),
        }
    }
}

fn brown_outs(rounds: &[Episode]) -> BrownOuts {
    let count = |of: fn(&Episode) -> bool| rounds.iter().filter(|e| of(e)).count();
    BrownOuts {
        total: rounds.len(),
        harmless: count(|e| e.hurt == 0),
        without_alternative: count(|e| e.hurt > 0 && e.helped == 0),
        acted: count(|e| e.helped > 0 && e.first_s.is_some()),
        missed: count(|e| e.helped > 0 && e.first_s.is_none()),
        callers: rounds.iter().map(|e| e.helped).sum(),
        callers_acted: rounds.iter().map(|e| e.each_s.len()).sum(),
    }
}

fn shares(rounds: &[&Episode]) -> Shares {
    let calls: u64 = rounds.iter().map(|e| e.calls).sum();
    let of = |way: usize| -> f64 {
        let out: u64 = rounds.iter().map(|e| e.out[way]).sum();
        out as f64 / calls.max(1) as f64
    };
    let (plain, scsc, oracle) = (of(0), of(3), of(4));
    Shares {
        plain,
        ewma: of(1),
        ewma_preselected: of(2),
        scsc,
        oracle,
        saved_of_oracle: (plain > oracle).then(|| (plain - scsc) / (plain - oracle)),
    }
}

fn times(mut values: Vec<f64>) -> Times {
    values.sort_by(f64::total_cmp);
    let at = |permille: usize| {
        let place = (values.len() * permille).div_ceil(1_000).max(1) - 1;
        values.get(place).copied()
    };
    Times {
        p50: at(500),
        p99: at(990),
        max: values.last().copied(),
        count: values.len(),
    }
}

/// As people read it.
pub fn text(outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["WHAT", "MEASURED", "TARGET"]);
    let verdict = |good: bool| if good { "reached" } else { "missed" };
    let seconds = |value: Option<f64>| value.map_or("-".into(), |s| format!("{s:.2} s"));
    let percent = |share: f64| format!("{:.3} %", share * 100.0);
    let mut row = |what: &str, value: String, target: String| {
        table.add_row([what.to_owned(), value, target]);
    };
    let brown = &outcome.brown_outs;
    row(
        "brown-outs",
        format!(
            "{}: {} harmless, {} without alternative, {} acted on, {} missed",
            brown.total, brown.harmless, brown.without_alternative, brown.acted, brown.missed
        ),
        String::new(),
    );
    let first = &outcome.time_to_policy_s;
    row("time to policy, p50", seconds(first.p50), String::new());
    row(
        "time to policy, p99",
        seconds(first.p99),
        format!(
            "at most 3 s: {}",
            verdict(first.p99.is_none_or(|s| s <= 3.0))
        ),
    );
    let each = &outcome.time_to_policy_each_s;
    row(
        "  of every caller that can be helped, p50 / p99",
        format!(
            "{} / {} ({} of {})",
            seconds(each.p50),
            seconds(each.p99),
            brown.callers_acted,
            brown.callers
        ),
        String::new(),
    );
    let out = &outcome.out_of_target;
    row(
        "calls out of target, plain routes",
        percent(out.plain),
        String::new(),
    );
    row(
        "  P2C-EWMA over all members",
        percent(out.ewma),
        String::new(),
    );
    row(
        "  P2C-EWMA over members preselected for the target",
        percent(out.ewma_preselected),
        String::new(),
    );
    row(
        "  scsc",
        percent(out.scsc),
        format!(
            "{} P2C-EWMA, {} the preselected",
            beats(outcome.scsc_beats_ewma),
            beats(outcome.scsc_beats_ewma_preselected)
        ),
    );
    row("  oracle", percent(out.oracle), String::new());
    if let Some(saved) = out.saved_of_oracle {
        row(
            "scsc saves of what the oracle saves",
            format!("{:.1} %", saved * 100.0),
            format!("at least 80 %: {}", verdict(saved >= 0.8)),
        );
    }
    for (kind, of) in &outcome.out_of_target_by_kind {
        row(
            &format!("  {kind}: plain, ewma, preselected, scsc, oracle"),
            [of.plain, of.ewma, of.ewma_preselected, of.scsc, of.oracle]
                .map(percent)
                .join(", "),
            of.saved_of_oracle.map_or(String::new(), |saved| {
                format!("saves {:.1} %", saved * 100.0)
            }),
        );
    }
    let rates = &outcome.policies_per_hour;
    row(
        "policies per hour, quiet",
        rates.quiet.to_string(),
        format!("0: {}", verdict(rates.quiet == 0)),
    );
    row(
        "policies per prefix and hour, at the threshold",
        format!(
            "{} at most, mean {:.1}; at one gateway {} at most",
            rates.noise, rates.noise_mean, rates.noise_gateway
        ),
        format!("at most 2: {}", verdict(rates.noise <= 2)),
    );
    row(
        "moved share of a group per step, at most",
        format!("{:.1} %", outcome.moved_share_per_step * 100.0),
        String::new(),
    );
    let wrong = &outcome.wrong_scsc;
    row(
        "loops",
        outcome.loops.to_string(),
        format!("0: {}", verdict(outcome.loops == 0)),
    );
    let harm = wrong.loops + wrong.unreachable + wrong.outside;
    row(
        "wrong center: loops, unreachable, outside",
        format!(
            "{}, {}, {} in {} trials, {} policies",
            wrong.loops, wrong.unreachable, wrong.outside, wrong.trials, wrong.policies
        ),
        format!("0: {}", verdict(harm == 0)),
    );
    row(
        "telemetry, bytes per active pair and second",
        format!(
            "{:.1}, longest {}",
            outcome.telemetry_bytes_mean, outcome.telemetry_bytes_max
        ),
        format!(
            "at most 100: {}",
            verdict(outcome.telemetry_bytes_max <= 100)
        ),
    );
    row(
        "probes per active pair and second",
        format!("{:.2}", outcome.probes_per_pair_s),
        String::new(),
    );
    format!(
        "{}: {} nodes, {} links, {} service groups, {} callers, {} calls each way\n{table}",
        outcome.topology,
        outcome.nodes,
        outcome.links,
        outcome.groups,
        outcome.callers,
        outcome.calls
    )
}

fn beats(is: bool) -> &'static str {
    if is { "beats" } else { "DOES NOT BEAT" }
}
