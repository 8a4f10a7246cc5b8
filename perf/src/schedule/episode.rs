//! One brown-out: the same calls sent five ways, from before it begins until after it ends.

use serde::Serialize;

use super::balance::{Balancer, TIMEOUT_US};
use super::center::{Center, Counts, Micros};
use super::network::Tables;
use super::oracle;
use super::services::{CAPACITY_KBPS, Services, WayId};
use super::world::{BrownOut, Fault, Luck, Scene, unit};
use crate::prng::Prng;

/// Quiet time before, s; up to a second more.
const LEAD_S: f64 = 5.0;
/// How long a brown-out lasts, s.
const LASTS_S: (f64, f64) = (30.0, 90.0);
/// Quiet time after, s: calls there count too, so moving back late or badly costs.
const TAIL_S: f64 = 30.0;
/// Calls are sent in slots of this length.
const SLOT_US: Micros = 100_000;
/// A caller needs a policy if this share of its calls or more misses the target, and the oracle halves it.
const NEEDS: f64 = 0.05;

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Episode {
    /// `delay`, `jitter` or `bandwidth`.
    pub kind: &'static str,
    /// Place of the link in the file.
    pub link: usize,
    /// How long it lasted, s.
    pub lasts_s: f64,
    /// Calls in all.
    pub calls: u64,
    /// Calls out of their target: plain, ewma, ewma_preselected, scsc, oracle.
    pub out: [u64; 5],
    /// Callers whose calls miss their target by plain routes.
    pub hurt: usize,
    /// Those of them that something can be done for.
    pub helped: usize,
    /// From its beginning to the first policy in effect, s.
    pub first_s: Option<f64>,
    /// From its beginning to each helped caller's first policy in effect, s.
    pub each_s: Vec<f64>,
    #[serde(skip)]
    pub counts: Counts,
}

/// Draws a brown-out on a link that plain routes use.
fn draw(services: &Services, random: &mut Prng) -> (&'static str, BrownOut) {
    let link = *random.pick(&services.used_links);
    let between = |random: &mut Prng, low: f64, high: f64| low + (high - low) * unit(random);
    let (kind, fault) = match random.below(3) {
        0 => ("delay", Fault::Delay(between(random, 20_000.0, 120_000.0))),
        1 => (
            "jitter",
            Fault::Jitter(between(random, 20_000.0, 120_000.0)),
        ),
        _ => {
            let loads = services.plain_loads();
            let load = loads[2 * link].max(loads[2 * link + 1]);
            let full = CAPACITY_KBPS * between(random, 1.05, 2.0);
            ("bandwidth", Fault::Filled(full - load))
        }
    };
    (kind, BrownOut { link, fault })
}

/// A choice by shares.
fn choose(shares: &[f64], luck: f64) -> usize {
    let mut left = luck;
    let mut last = 0;
    for (at, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
        if left < *share {
            return at;
        }
        left -= share;
        last = at;
    }
    last
}

/// Callers that balance by themselves, and what that does to the links.
struct Balanced<'a> {
    services: &'a Services,
    scene: Scene<'a>,
    callers: Vec<Balancer>,
    shares: Vec<Vec<f64>>,
    picks: Vec<Vec<u32>>,
}

impl<'a> Balanced<'a> {
    fn new(services: &'a Services, within_target: bool) -> Balanced<'a> {
        let mut scene = Scene::new(services);
        let mut callers = Vec::with_capacity(services.callers.len());
        let mut all = Vec::with_capacity(services.callers.len());
        for (number, caller) in services.callers.iter().enumerate() {
            let balancer = Balancer::new(services, number, within_target);
            let shares = balancer.quiet_shares(services, number);
            scene.shift(number, &caller.plain_shares(services), &shares);
            callers.push(balancer);
            all.push(shares);
        }
        scene.refresh();
        let picks = all.iter().map(|shares| vec![0; shares.len()]).collect();
        Balanced {
            services,
            scene,
            callers,
            shares: all,
            picks,
        }
    }

    /// Whether the call misses its target.
    fn call(&mut self, caller: usize, now_s: f64, luck: &Luck, random: &mut Prng) -> bool {
        let balancer = &mut self.callers[caller];
        let (at, way) = balancer.pick(self.services, caller, now_s, random);
        let took = self.scene.states[way.0].packet(luck);
        balancer.saw(at, now_s, took.unwrap_or(TIMEOUT_US));
        self.picks[caller][balancer.choice(at)] += 1;
        took.is_none_or(|us| us > self.services.target_us(caller))
    }

    /// Links feel where the calls of the last second went.
    fn second(&mut self) {
        for (caller, picks) in self.picks.iter_mut().enumerate() {
            let many: u32 = picks.iter().sum();
            if many == 0 {
                continue;
            }
            let old = &self.shares[caller];
            let share =
                |(old, picks): (&f64, &u32)| (old + f64::from(*picks) / f64::from(many)) / 2.0;
            let new: Vec<f64> = old.iter().zip(picks.iter()).map(share).collect();
            self.scene.shift(caller, old, &new);
            self.shares[caller] = new;
            picks.fill(0);
        }
        self.scene.refresh();
    }
}

/// Plays brown-out number `number`.
pub fn play(
    services: &Services,
    tables: &Tables,
    calls_per_s: u32,
    step_percent: u32,
    seed: u64,
    number: u32,
    measure: bool,
) -> anyhow::Result<Episode> {
    let mut random = Prng::new(seed, 1_000 + u64::from(number));
    let (kind, brown_out) = draw(services, &mut random);
    let begin = ((LEAD_S + unit(&mut random)) * 1e6) as Micros;
    let lasts_s = LASTS_S.0 + (LASTS_S.1 - LASTS_S.0) * unit(&mut random);
    let end = begin + (lasts_s * 1e6) as Micros;
    let over = end + (TAIL_S * 1e6) as Micros;

    let mut plain = Scene::new(services);
    let mut scsc = Scene::new(services);
    let mut omniscient = Scene::new(services);
    let mut balanced = [false, true].map(|within| Balanced::new(services, within));
    let mut center = Center::new(services, tables, step_percent, &mut random)?;
    if measure {
        center.measure();
    }
    let plain_shares = center.shares.clone();
    let mut oracle_shares = plain_shares.clone();
    let rates = cumulative(services);
    let mut picks = Prng::new(seed ^ 0x5ca1_ab1e, 1_000 + u64::from(number));
    let mut probes = Prng::new(seed ^ 0x0bad_cafe, 1_000 + u64::from(number));

    let mut episode = Episode {
        kind,
        link: brown_out.link,
        lasts_s,
        calls: 0,
        out: [0; 5],
        hurt: 0,
        helped: 0,
        first_s: None,
        each_s: Vec::new(),
        counts: Counts::default(),
    };
    let mut helped = vec![false; services.callers.len()];
    let mut now: Micros = 0;
    let mut sent = 0.0;
    while now < over {
        let next = now + SLOT_US;
        if (now..next).contains(&begin) || (now..next).contains(&end) {
            let at = if now <= begin && begin < next {
                begin
            } else {
                end
            };
            center.advance(at, &mut scsc, &mut probes);
            let fault = (at == begin).then_some(brown_out);
            let [all, within] = &mut balanced;
            for scene in [
                &mut plain,
                &mut scsc,
                &mut omniscient,
                &mut all.scene,
                &mut within.scene,
            ] {
                scene.set_fault(fault);
            }
            if at == begin {
                oracle_shares = oracle::place(services, &mut omniscient);
                needs(
                    services,
                    &plain,
                    &omniscient,
                    &oracle_shares,
                    &mut helped,
                    &mut episode,
                );
            } else {
                for (caller, shares) in oracle_shares.iter().enumerate() {
                    omniscient.shift(caller, shares, &plain_shares[caller]);
                }
                oracle_shares.clone_from(&plain_shares);
                omniscient.refresh();
            }
        }
        center.advance(next, &mut scsc, &mut probes);
        if next.is_multiple_of(1_000_000) {
            balanced.iter_mut().for_each(Balanced::second);
        }
        if now >= begin {
            sent += f64::from(calls_per_s) * SLOT_US as f64 / 1e6;
            let now_s = now as f64 / 1e6;
            while sent >= 1.0 {
                sent -= 1.0;
                let wanted = unit(&mut random);
                let caller = rates.partition_point(|sum| *sum <= wanted);
                let caller = caller.min(services.callers.len() - 1);
                let choice = unit(&mut random);
                let luck = Luck::draw(&mut random);
                let target = services.target_us(caller);
                let of = &services.callers[caller];
                let misses = |scene: &Scene, way: WayId| {
                    let took = scene.states[way.0].packet(&luck);
                    took.is_none_or(|us| us > target)
                };
                let by = |scene: &Scene, shares: &[f64]| {
                    misses(scene, of.choices[choose(shares, choice)])
                };
                let [all, within] = &mut balanced;
                let missed = [
                    by(&plain, &plain_shares[caller]),
                    all.call(caller, now_s, &luck, &mut picks),
                    within.call(caller, now_s, &luck, &mut picks),
                    by(&scsc, &center.shares[caller]),
                    by(&omniscient, &oracle_shares[caller]),
                ];
                episode.calls += 1;
                for (out, missed) in episode.out.iter_mut().zip(missed) {
                    *out += u64::from(missed);
                }
            }
        }
        now = next;
    }
    let effects = center
        .effects
        .iter()
        .filter(|e| (begin..end).contains(&e.at));
    let mut first = vec![None; services.callers.len()];
    for effect in effects {
        let after = (effect.at - begin) as f64 / 1e6;
        episode.first_s.get_or_insert(after);
        first[effect.caller].get_or_insert(after);
    }
    let of_helped = helped.iter().zip(first).filter(|(helped, _)| **helped);
    episode.each_s = of_helped.filter_map(|(_, first)| first).collect();
    episode.counts = center.counts;
    Ok(episode)
}

fn cumulative(services: &Services) -> Vec<f64> {
    let all: f64 = services.callers.iter().map(|caller| caller.rate_kbps).sum();
    let mut sum = 0.0;
    services
        .callers
        .iter()
        .map(|caller| {
            sum += caller.rate_kbps / all;
            sum
        })
        .collect()
}

fn needs(
    services: &Services,
    plain: &Scene,
    omniscient: &Scene,
    oracle_shares: &[Vec<f64>],
    helped: &mut [bool],
    episode: &mut Episode,
) {
    for (number, caller) in services.callers.iter().enumerate() {
        let target = services.target_us(number);
        let misses = |scene: &Scene, shares: &[f64]| -> f64 {
            let ways = caller.choices.iter().zip(shares);
            ways.filter(|(_, share)| **share > 0.0)
                .map(|(way, share)| share * scene.states[way.0].misses(target))
                .sum()
        };
        let by_plain = misses(plain, &caller.plain_shares(services));
        if by_plain < NEEDS {
            continue;
        }
        episode.hurt += 1;
        if misses(omniscient, &oracle_shares[number]) <= by_plain / 2.0 {
            helped[number] = true;
            episode.helped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_follow_shares() {
        let shares = [0.0, 0.25, 0.0, 0.75];
        let found = [0.0, 0.2, 0.25, 0.9, 1.0].map(|luck| choose(&shares, luck));
        assert_eq!(found, [1, 1, 3, 3, 3]);
    }
}
