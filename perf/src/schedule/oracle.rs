//! Who knows everything at once, and moves what is out of its target in no time.

use super::services::Services;
use super::world::Scene;

/// Rounds of best response.
const ROUNDS: usize = 3;

/// Shares of all callers under what the scene's fault does, each caller in turn choosing what misses least as the others have it now. Greedy:
/// moving several at once might be better still where bandwidth is short. The scene's loads follow.
pub fn place(services: &Services, scene: &mut Scene) -> Vec<Vec<f64>> {
    let plain: Vec<Vec<f64>> = services
        .callers
        .iter()
        .map(|caller| caller.plain_shares(services))
        .collect();
    let mut shares = plain.clone();
    let mut order: Vec<usize> = (0..services.callers.len()).collect();
    order.sort_by(|&a, &b| {
        let rate = |caller: usize| services.callers[caller].rate_kbps;
        rate(b).total_cmp(&rate(a))
    });
    for _ in 0..ROUNDS {
        let mut moved = false;
        for &caller in &order {
            let target = services.target_us(caller);
            let of = &services.callers[caller];
            let misses = |scene: &Scene, shares: &[f64]| -> f64 {
                let ways = of.choices.iter().zip(shares);
                ways.filter(|(_, share)| **share > 0.0)
                    .map(|(way, share)| {
                        let state = scene.world.state(&services.ways[way.0]);
                        share * state.misses(target)
                    })
                    .sum()
            };
            let mut best = (misses(scene, &shares[caller]), shares[caller].clone());
            if best.0 <= 0.001 {
                continue;
            }
            for choice in 0..of.choices.len() {
                let mut there = vec![0.0; of.choices.len()];
                there[choice] = 1.0;
                scene.shift(caller, &shares[caller], &there);
                // What it does to others counts too, where links fill up.
                let missed = misses(scene, &there);
                scene.shift(caller, &there, &shares[caller]);
                if missed < best.0 - 1e-6 {
                    best = (missed, there);
                }
            }
            if best.1 != shares[caller] {
                scene.shift(caller, &shares[caller], &best.1);
                shares[caller] = best.1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    scene.refresh();
    shares
}
