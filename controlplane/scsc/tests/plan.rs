//! Where calls are to go, for any candidates: shares stay whole, nothing goes to what is to be avoided while something else is clean.

use std::time::Duration;

use dmsc_scsc::LinkKey;
use dmsc_scsc::plan::{Candidate, Promises, WHOLE, moved, step, target};
use dmsc_wire::{NodeId, PortId};
use proptest::prelude::*;

const NOW: Duration = Duration::from_secs(100);

fn candidate() -> impl Strategy<Value = Candidate> {
    let flags = prop::array::uniform5(any::<bool>());
    let figures = (
        1..200_000u32,
        0.0..1.0f64,
        0..5_000u64,
        0..1_500u32,
        0..3u32,
    );
    (flags, figures).prop_map(|([known, avoid, clean, busy, by_delay], figures)| {
        let (delay_us, misses, available_kbps, load_permille, link) = figures;
        Candidate {
            now: 0,
            plain: 0,
            by_delay,
            known,
            avoid,
            clean: clean && !avoid,
            delay_us,
            misses,
            available_kbps,
            narrowest: LinkKey {
                node: NodeId(link),
                port: PortId(0),
            },
            load_permille,
            overloaded: busy,
            load_limit: if busy { 600 } else { 0 },
        }
    })
}

/// Shares that are whole, from any numbers.
fn whole(parts: &[u16]) -> Vec<u16> {
    let sum: u32 = parts.iter().map(|part| u32::from(*part)).sum();
    let mut shares: Vec<u16> = parts
        .iter()
        .map(|part| (u32::from(*part) * u32::from(WHOLE) / sum.max(1)) as u16)
        .collect();
    let rest = WHOLE - shares.iter().sum::<u16>();
    shares[0] += rest;
    shares
}

proptest! {
    #[test]
    fn shares_stay_whole(
        candidates in prop::collection::vec((candidate(), 0..5u16, 0..3u16), 1..8),
        rate in 0..10_000u64,
    ) {
        let now = whole(&candidates.iter().map(|c| c.1).collect::<Vec<_>>());
        let plain = whole(&candidates.iter().map(|c| c.2).collect::<Vec<_>>());
        let shares = now.iter().zip(plain);
        let candidates: Vec<Candidate> = candidates
            .iter()
            .zip(shares)
            .map(|(c, (&now, plain))| Candidate { now, plain, ..c.0 })
            .collect();
        let wanted = target(&candidates, rate, NOW, &Promises::default());
        prop_assert_eq!(wanted.iter().sum::<u16>(), WHOLE);
        // What gains is known; and clean, unless all that lost was worse.
        for ((share, before), candidate) in wanted.iter().zip(&now).zip(&candidates) {
            if share > before {
                prop_assert!(candidate.known);
                let worst = candidates.iter().map(|c| c.misses).fold(0.0, f64::max);
                prop_assert!(candidate.clean || candidate.misses < worst);
            }
        }
        for most in [0, 1, 7, 250, 999, WHOLE] {
            let next = step(&now, &wanted, most);
            prop_assert_eq!(next.iter().sum::<u16>(), WHOLE);
            prop_assert!(moved(&now, &next) <= most);
        }
    }

    #[test]
    fn steps_arrive(parts in prop::collection::vec((0..9u16, 0..9u16), 2..8), most in 1..400u16) {
        let mut shares = whole(&parts.iter().map(|p| p.0).collect::<Vec<_>>());
        let wanted = whole(&parts.iter().map(|p| p.1).collect::<Vec<_>>());
        for _ in 0..=WHOLE / most {
            shares = step(&shares, &wanted, most);
        }
        prop_assert_eq!(shares, wanted);
    }
}
