//! What the page is told: JSON, of a bounded size however large the network is. The worst is told first, and how much is left out.

use std::collections::BTreeSet;
use std::f64::consts::TAU;

use dmsc_scsc::pair::word as way;
use dmsc_wire::NodeId;
use serde::Serialize;

use crate::clock::wall_ms;
use crate::scsc::operator::{ms, word};
use crate::scsc::state::look::{Measured, Row};
use crate::scsc::state::{Center, InForce};

/// Of the format: fields come, and none changes its meaning.
pub const VERSION: u32 = 1;
/// Most pairs, nodes, groups at gateways, policies, decisions.
const PAIRS: usize = 100;
const NODES: usize = 48;
const ROWS: usize = 40;
const POLICIES: usize = 40;
const DECISIONS: usize = 50;
/// The picture is so wide and high.
const SIDE: f64 = 1_000.0;
/// Room around the circle for what stands beside nodes.
const MARGIN: f64 = 110.0;

/// All of it.
#[derive(Debug, Serialize)]
pub struct State {
    version: u32,
    /// Wall clock.
    at_ms: u64,
    center: About,
    nodes: List<Node>,
    pairs: List<PairState>,
    groups: List<GroupState>,
    policies: List<PolicyState>,
    /// The latest first.
    decisions: List<Moment>,
}

/// Part of a list.
#[derive(Debug, Serialize)]
struct List<T> {
    shown: Vec<T>,
    left_out: usize,
}

impl<T> List<T> {
    fn new(shown: Vec<T>, total: usize) -> Self {
        let left_out = total.saturating_sub(shown.len());
        Self { shown, left_out }
    }
}

#[derive(Debug, Serialize)]
struct About {
    name: String,
    replica: u32,
    area: u32,
    /// As text: 64 bits do not fit a JSON number.
    epoch: String,
    uptime_ms: u64,
    software: &'static str,
    connected: usize,
    pairs: usize,
    groups: usize,
    policies: usize,
    by_hand: usize,
}

#[derive(Debug, Serialize)]
struct Node {
    id: u32,
    /// It is connected and tells what it measures.
    reports: bool,
    /// Of calls at it, as others see it: the worst; `None`: nobody measured towards it.
    load_permille: Option<u32>,
    load_level: u8,
    health: &'static str,
    x: f64,
    y: f64,
}

#[derive(Debug, Serialize)]
struct PairState {
    from: u32,
    to: u32,
    topology: &'static str,
    samples: u32,
    delay_p50_us: Option<u32>,
    delay_p99_us: Option<u32>,
    jitter_p99_us: Option<u32>,
    loss_ppm: Option<u32>,
    available_kbps: Option<u64>,
    narrowest: Option<String>,
    load_permille: u32,
    health: &'static str,
    age_ms: u32,
    /// 0 good to 4 bad: of delay and loss, and of load.
    delay_level: u8,
    load_level: u8,
}

#[derive(Debug, Serialize)]
struct GroupState {
    domain: u32,
    prefix: String,
    gateway: u32,
    policy: bool,
    members: Vec<PartState>,
}

#[derive(Debug, Serialize)]
struct PartState {
    node: u32,
    plain_permille: u16,
    now_permille: u16,
}

#[derive(Debug, Serialize)]
struct PolicyState {
    id: String,
    domain: u32,
    prefix: String,
    gateway: u32,
    shares: Vec<ShareState>,
    ttl_left_ms: u32,
    reason: String,
    /// Who set it by hand.
    by: Option<String>,
    outcomes: Vec<OutcomeState>,
}

#[derive(Debug, Serialize)]
struct ShareState {
    node: u32,
    weight: u16,
    topology: &'static str,
}

#[derive(Debug, Serialize)]
struct OutcomeState {
    node: u32,
    generation: Option<String>,
    refused: Option<String>,
}

#[derive(Debug, Serialize)]
struct Moment {
    at_ms: u64,
    text: String,
}

impl State {
    /// Of a center, now.
    #[must_use]
    pub fn of(center: &Center) -> Self {
        let counts = center.counts();
        let connected = center.connected();
        let (worst, pairs) = center.worst(PAIRS);
        let (rows, groups) = center.rows(ROWS);
        let policies = center.policies_after(None, POLICIES);
        let decisions = center.timeline.latest(usize::MAX);
        let told = decisions.iter().rev().take(DECISIONS).map(|one| Moment {
            at_ms: one.at_ms,
            text: one.text.clone(),
        });
        Self {
            version: VERSION,
            at_ms: wall_ms(),
            center: About {
                name: center.name().to_owned(),
                replica: center.replica(),
                area: center.area(),
                epoch: center.epoch().0.to_string(),
                uptime_ms: u64::try_from(center.uptime().as_millis()).unwrap_or(u64::MAX),
                software: crate::SOFTWARE,
                connected: counts.streams,
                pairs: counts.pairs,
                groups: counts.groups,
                policies: counts.policies,
                by_hand: center.count_by_hand(),
            },
            nodes: nodes(&connected, &worst),
            decisions: List::new(told.collect(), decisions.len()),
            pairs: List::new(worst.iter().map(PairState::from).collect(), pairs),
            groups: List::new(rows.into_iter().map(GroupState::from).collect(), groups),
            policies: List::new(
                policies
                    .iter()
                    .map(|(one, left)| policy(one, ms(*left)))
                    .collect(),
                counts.policies,
            ),
        }
    }
}

/// Around a circle by number: they stay where they are while everything else moves. Those of the worst pairs first, if there are too many.
fn nodes(connected: &BTreeSet<NodeId>, worst: &[Measured]) -> List<Node> {
    let mut shown = BTreeSet::new();
    let mut all = connected.clone();
    let ends = worst
        .iter()
        .flat_map(|one| [one.pair.gateway, one.pair.member]);
    for node in ends.chain(connected.iter().copied()) {
        all.insert(node);
        if shown.len() < NODES {
            shown.insert(node);
        }
    }
    let count = shown.len().max(1) as f64;
    let radius = SIDE / 2.0 - MARGIN;
    let placed = shown.iter().enumerate().map(|(place, id)| {
        let angle = TAU * place as f64 / count - TAU / 4.0;
        let towards = worst.iter().filter(|one| one.pair.member == *id);
        let load = towards.clone().map(|one| one.load_permille).max();
        let health = towards.map(|one| one.health).max().unwrap_or_default();
        Node {
            id: id.0,
            reports: connected.contains(id),
            load_permille: load,
            load_level: load_level(load.unwrap_or(0), word(health)),
            health: word(health),
            x: (SIDE / 2.0 + radius * angle.cos()).round(),
            y: (SIDE / 2.0 + radius * angle.sin()).round(),
        }
    });
    List::new(placed.collect(), all.len())
}

/// Steps that people know from calls: nobody notices 5 ms, everybody 100 ms. A percent lost is bad whatever the delay is.
fn delay_level(delay_us: Option<u32>, loss_ppm: Option<u32>) -> u8 {
    let delay = match delay_us {
        None | Some(100_000..) => 4,
        Some(50_000..) => 3,
        Some(20_000..) => 2,
        Some(5_000..) => 1,
        Some(_) => 0,
    };
    let loss = match loss_ppm.unwrap_or(0) {
        50_000.. => 4,
        10_000.. => 3,
        1_000.. => 1,
        _ => 0,
    };
    delay.max(loss)
}

fn load_level(permille: u32, health: &str) -> u8 {
    let load = match permille {
        1_000.. => 4,
        850.. => 3,
        700.. => 2,
        500.. => 1,
        _ => 0,
    };
    if health == "healthy" { load } else { 4 }
}

impl From<&Measured> for PairState {
    fn from(one: &Measured) -> Self {
        let health = word(one.health);
        Self {
            from: one.pair.gateway.0,
            to: one.pair.member.0,
            topology: way(one.pair.topology),
            samples: one.samples,
            delay_p50_us: one.delay_p50_us,
            delay_p99_us: one.delay_p99_us,
            jitter_p99_us: one.jitter_p99_us,
            loss_ppm: one.loss_ppm,
            available_kbps: one.available_kbps,
            narrowest: one.narrowest.is_known().then(|| one.narrowest.to_string()),
            load_permille: one.load_permille,
            health,
            age_ms: ms(one.age),
            delay_level: delay_level(one.delay_p50_us, one.loss_ppm),
            load_level: load_level(one.load_permille, health),
        }
    }
}

impl From<Row> for GroupState {
    fn from(row: Row) -> Self {
        let members = row.members.iter().map(|part| PartState {
            node: part.member.0,
            plain_permille: part.plain,
            now_permille: part.now,
        });
        Self {
            domain: row.domain.0,
            prefix: row.prefix.to_string(),
            gateway: row.gateway.0,
            policy: row.policy,
            members: members.collect(),
        }
    }
}

fn policy(one: &InForce, ttl_left_ms: u32) -> PolicyState {
    let policy = &one.policy;
    let shares = policy.shares.iter().map(|share| ShareState {
        node: share.gateway.0,
        weight: share.weight,
        topology: way(share.topology),
    });
    let outcomes = one.acks.iter().map(|(node, outcome)| OutcomeState {
        node: node.0,
        generation: outcome.as_ref().ok().map(ToString::to_string),
        refused: outcome.as_ref().err().cloned(),
    });
    PolicyState {
        id: policy.rank.id.to_string(),
        domain: policy.domain.0,
        prefix: policy.prefix.to_string(),
        gateway: policy.gateway.0,
        shares: shares.collect(),
        ttl_left_ms,
        reason: policy.reason.clone(),
        by: policy.set_by().map(ToOwned::to_owned),
        outcomes: outcomes.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_twice_and_not_more_than_there_is_room_for() {
        let connected: BTreeSet<NodeId> = (1..=1_000).map(NodeId).collect();
        let list = nodes(&connected, &[]);
        assert_eq!((list.shown.len(), list.left_out), (NODES, 1_000 - NODES));
        let places: BTreeSet<(i64, i64)> = list
            .shown
            .iter()
            .map(|node| (node.x as i64, node.y as i64))
            .collect();
        assert_eq!(places.len(), NODES);
        assert_eq!(nodes(&BTreeSet::new(), &[]).shown.len(), 0);
    }

    #[test]
    fn levels() {
        assert_eq!(delay_level(Some(4_999), Some(0)), 0);
        assert_eq!(delay_level(Some(1), Some(10_000)), 3);
        assert_eq!(delay_level(None, Some(1_000_000)), 4);
        assert_eq!(load_level(10, "draining"), 4);
        assert_eq!(load_level(700, "healthy"), 2);
    }
}
