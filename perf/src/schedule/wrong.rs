//! A center that says anything: valid policies, drawn at random, at every gateway, with and without a link down.

use std::time::Duration;

use dmsc_linkstate::action::Topology as Metric;
use dmsc_scsc::{Epoch, Held, Placement, Policy, PolicyId, Rank, ReplicaId, Share, apply};
use dmsc_wire::NodeId;
use serde::Serialize;

use super::center::{TENANT, plain_members, prefix};
use super::network::{Lost, TOPOLOGIES, Tables, node_id};
use super::services::Services;
use crate::prng::Prng;

/// What came of the trials.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Wrong {
    pub trials: u32,
    /// Policies that were applied.
    pub policies: u64,
    /// Of these, left aside because nobody would be left.
    pub ignored: u64,
    /// Ways walked hop by hop.
    pub walks: u64,
    /// Walks that came back to where they had been.
    pub loops: u64,
    /// Groups of which a member could be reached, and none was chosen, or a walk ended.
    pub unreachable: u64,
    /// Members chosen that routes did not give.
    pub outside: u64,
}

/// Plays the trials; `down`: tables with a link down each, to be taken in turns with those of the whole network.
pub fn play(
    services: &Services,
    whole: &Tables,
    down: &[Tables],
    trials: u32,
    seed: u64,
) -> anyhow::Result<Wrong> {
    let mut random = Prng::new(seed, 3);
    let mut wrong = Wrong {
        trials,
        ..Wrong::default()
    };
    let mut held: Vec<Held> = (0..services.nodes)
        .map(|node| Held::new(node_id(node), 0))
        .collect();
    for trial in 0..trials {
        let tables = match down.len() {
            0 => whole,
            many => match random.below(many + 1) {
                0 => whole,
                at => &down[at - 1],
            },
        };
        let group = random.below(services.groups.len());
        let now = Duration::from_secs(u64::from(trial));
        for (gateway, held) in held.iter_mut().enumerate() {
            let policy = draw(services, group, gateway, trial, &mut random);
            // As it comes over the wire; the signature says who, not what.
            let policy = Policy::from_statement(&policy.to_statement())?;
            held.accept(now, policy)?;
            let members = &services.groups[group].members;
            let plain = plain_members(tables, gateway, members);
            let name = prefix(group);
            let policy = held.active(now, TENANT, name.as_name());
            let placement = apply(&plain, policy);
            wrong.policies += 1;
            wrong.ignored += u64::from(placement.ignored.is_some());
            let reachable = plain.iter().any(|member| member.is_reachable());
            let outside = |at: NodeId| !plain.iter().any(|member| member.gateway == at);
            wrong.outside += placement
                .members
                .iter()
                .filter(|m| outside(m.gateway))
                .count() as u64;
            let chosen = chosen(&placement, tables, gateway);
            if reachable && chosen.is_empty() {
                wrong.unreachable += 1;
            }
            for (to, topology) in chosen {
                wrong.walks += 1;
                match tables.walk(gateway, to, topology, random.below(16)) {
                    Ok(_) => {}
                    Err(Lost::Loop) => wrong.loops += 1,
                    Err(Lost::NoRoute) => wrong.unreachable += 1,
                }
            }
        }
    }
    Ok(wrong)
}

/// What the dataplane would choose among: members with a weight that can be reached, or the nearest.
fn chosen(placement: &Placement, tables: &Tables, gateway: usize) -> Vec<(usize, Metric)> {
    let place = |node: NodeId| node.0 as usize - 1;
    let can = |to: usize| TOPOLOGIES.iter().any(|by| tables.reaches(gateway, to, *by));
    let usable = placement.members.iter().filter(|m| can(place(m.gateway)));
    if placement.weighted {
        let weighted = usable.filter(|member| member.weight > 0);
        return weighted.map(|m| (place(m.gateway), m.topology)).collect();
    }
    let least = usable.min_by_key(|member| member.metric);
    least
        .map(|m| (place(m.gateway), m.topology))
        .into_iter()
        .collect()
}

fn draw(
    services: &Services,
    group: usize,
    gateway: usize,
    trial: u32,
    random: &mut Prng,
) -> Policy {
    let members = &services.groups[group].members;
    let mut shares: Vec<Share> = Vec::new();
    for _ in 0..random.below(8) {
        // Members, and whoever else there is, and who there is not.
        let gateway = match random.below(4) {
            0 => NodeId(1 + random.below(2 * services.nodes) as u32),
            _ => node_id(*random.pick(members)),
        };
        let weight = match random.below(3) {
            0 => 0,
            1 => random.below(65_536) as u16,
            _ => 1,
        };
        let topology = *random.pick(&TOPOLOGIES);
        shares.push(Share {
            gateway,
            weight,
            topology,
        });
    }
    if random.chance(10) {
        shares = members
            .iter()
            .map(|member| Share {
                gateway: node_id(*member),
                weight: 0,
                topology: Metric::Metric,
            })
            .collect();
    }
    shares.sort_unstable_by_key(|share| (share.gateway, share.topology));
    shares.dedup_by_key(|share| (share.gateway, share.topology));
    Policy {
        rank: Rank {
            epoch: Epoch(1),
            replica: ReplicaId(random.below(2) as u32),
            id: PolicyId(u64::from(trial) + 1),
        },
        area: 0,
        domain: TENANT,
        prefix: prefix(group),
        gateway: if random.chance(50) {
            node_id(gateway)
        } else {
            NodeId::NONE
        },
        ttl: Duration::from_secs(1 + random.below(30) as u64),
        shares,
        reason: String::new(),
    }
}
