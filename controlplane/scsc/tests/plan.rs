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
            member: NodeId(link),
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

/// A member on one way, good, at a load of 70 of at most 60 to 80 %.
fn way(member: u32, by_delay: bool, delay_us: u32, now: u16, plain: u16) -> Candidate {
    Candidate {
        member: NodeId(member),
        now,
        plain,
        by_delay,
        known: true,
        avoid: false,
        clean: true,
        delay_us,
        misses: 0.0,
        available_kbps: u64::MAX,
        narrowest: LinkKey::default(),
        load_permille: 700,
        overloaded: false,
        load_limit: 600,
    }
}

fn bad(way: Candidate) -> Candidate {
    Candidate {
        avoid: true,
        clean: false,
        misses: 1.0,
        ..way
    }
}

#[test]
fn a_way_to_the_same_member_costs_it_nothing() {
    let wanted = |all: &[Candidate]| target(all, 1_000, NOW, &Promises::default());
    // Whatever its load, in each step.
    for now in [0, 250, 500, 750] {
        let away = [
            bad(way(4, false, 60_000, WHOLE - now, WHOLE)),
            way(4, true, 900, now, 0),
        ];
        assert_eq!(wanted(&away), [0, WHOLE], "from {now}");
        let back = [
            way(4, false, 700, now, WHOLE),
            way(4, true, 900, WHOLE - now, 0),
        ];
        assert_eq!(wanted(&back), [WHOLE, 0], "from {now}");
    }
    // Another member gets no more than it can do.
    let other = [
        bad(way(4, false, 60_000, 500, 500)),
        way(5, false, 900, 500, 500),
    ];
    assert_eq!(wanted(&other), [500, 500]);
}

#[test]
fn another_topology_must_be_better_by_something_that_counts() {
    let first_choice = |metric_us, delay_us| {
        let all = [
            bad(way(4, false, 60_000, WHOLE, WHOLE)),
            way(4, true, delay_us, 0, 0),
            way(5, false, metric_us, 0, 0),
        ];
        let shares = target(&all, 1_000, NOW, &Promises::default());
        shares.iter().position(|share| *share > 0)
    };
    assert_eq!(
        first_choice(900, 400),
        Some(2),
        "half a millisecond is chance"
    );
    assert_eq!(first_choice(40_000, 38_000), Some(2), "a twentieth");
    assert_eq!(first_choice(40_000, 30_000), Some(1));
}
