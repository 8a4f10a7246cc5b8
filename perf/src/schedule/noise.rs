//! What the center says when there is nothing to say: hours of quiet, and hours in which a way hovers at its threshold.

use super::center::{Center, Counts, Micros, thresholds};
use super::network::Tables;
use super::services::Services;
use super::world::{BrownOut, Fault, Scene, unit};
use crate::prng::Prng;

const HOUR_US: Micros = 3_600_000_000;
const SECOND_US: Micros = 1_000_000;
/// Spread of the delay around the threshold, of the target.
const SPREAD: f64 = 0.03;

/// An hour without a brown-out.
pub fn quiet(
    services: &Services,
    tables: &Tables,
    step_percent: u32,
    seed: u64,
) -> anyhow::Result<Counts> {
    let mut random = Prng::new(seed, 2);
    let mut scene = Scene::new(services);
    let mut center = Center::new(services, tables, step_percent, &mut random)?;
    center.measure();
    center.advance(HOUR_US, &mut scene, &mut random);
    Ok(center.counts)
}

/// An hour in which one link's delay puts the furthest caller of one group at the threshold, drawn anew every second. Policies of that
/// group: at all gateways, and at the gateway that has most.
pub fn hovering(
    services: &Services,
    tables: &Tables,
    step_percent: u32,
    seed: u64,
    number: u32,
) -> anyhow::Result<(u32, u32)> {
    let mut random = Prng::new(seed, 500 + u64::from(number));
    let mut scene = Scene::new(services);
    let mut center = Center::new(services, tables, step_percent, &mut random)?;
    let link = *random.pick(&services.used_links);
    // Of the groups that plain routes reach over the link any; of its callers that do so the furthest: all others are below the threshold then.
    let over = |caller: &usize| {
        let of = &services.callers[*caller];
        let shares = of.plain_shares(services);
        of.choices.iter().zip(shares).any(|(way, share)| {
            let there = &services.ways[way.0].there;
            share > 0.0 && there.iter().any(|direction| direction.link() == link)
        })
    };
    let callers: Vec<usize> = (0..services.callers.len()).filter(over).collect();
    let quiet_us = |caller: usize| -> f64 {
        let of = &services.callers[caller];
        let shares = of.plain_shares(services);
        let used = of
            .choices
            .iter()
            .zip(shares)
            .filter(|(_, share)| *share > 0.0);
        used.map(|(way, _)| services.ways[way.0].propagation_us)
            .fold(0.0, f64::max)
    };
    let group = services.callers[*random.pick(&callers)].group;
    let furthest = callers
        .iter()
        .filter(|caller| services.callers[**caller].group == group)
        .map(|caller| quiet_us(*caller))
        .fold(0.0, f64::max);
    let target = services.groups[group].target_us;
    let raise = thresholds(target).delay_us.map_or(0, |level| level.raise) as f64;
    let mut now = 0;
    while now < HOUR_US {
        // A sum of uniform numbers is near enough to a bell.
        let bell: f64 = (0..12).map(|_| unit(&mut random)).sum::<f64>() - 6.0;
        let delay = raise - furthest + target * SPREAD * bell;
        let fault = Fault::Delay(delay.max(0.0));
        scene.set_fault(Some(BrownOut { link, fault }));
        now += SECOND_US;
        center.advance(now, &mut scene, &mut random);
    }
    let of_group = services.callers.iter().zip(&center.counts.by_caller);
    let most = of_group
        .filter(|(caller, _)| caller.group == group)
        .map(|(_, policies)| *policies)
        .max();
    Ok((center.counts.policies[group], most.unwrap_or(0)))
}
