//! The center as a whole: it moves what is bad in time, no more than a step at once, back when it is good, and says nothing to noise.

use std::time::Duration;

use dmsc_linkstate::action::Topology;
use dmsc_scsc::decision::Why;
use dmsc_scsc::{
    Alarm, Change, GroupId, Health, Level, LinkKey, Order, Pair, Report, Scsc, ScscConfig,
    Thresholds, Timing, Verdict,
};
use dmsc_wire::{Domain, NameBuf, NodeId, PortId};
use proptest::prelude::*;

const NEAR: NodeId = NodeId(1);
const FAR: NodeId = NodeId(2);

fn thresholds() -> Thresholds {
    let level = |raise, clear| Some(Level { raise, clear });
    Thresholds {
        delay_us: level(50_000, 40_000),
        load_permille: level(800, 600),
        ..Thresholds::default()
    }
}

/// Gateways 11, 12, … call a group of two members; each with 1 Mbit/s.
struct Scene {
    scsc: Scsc,
    gateways: Vec<NodeId>,
    now: Duration,
}

impl Scene {
    fn new(gateways: u32, config: ScscConfig) -> Scene {
        let mut scsc = Scsc::new(config).unwrap();
        let prefix = NameBuf::parse("/shop").unwrap();
        let group = scsc.group(Domain(1), prefix, thresholds());
        assert_eq!(group, GroupId(0));
        let gateways: Vec<NodeId> = (0..gateways).map(|n| NodeId(11 + n)).collect();
        for gateway in &gateways {
            scsc.caller(group, *gateway, &[NEAR, FAR], &[NEAR]);
            scsc.traffic(group, *gateway, 1_000);
        }
        Scene {
            scsc,
            gateways,
            now: Duration::ZERO,
        }
    }

    /// A second: delay of the near member, the far one at 30 ms.
    fn second(&mut self, near_us: u32, change: impl Fn(&Pair, &mut Report)) -> Vec<Order> {
        self.now += Duration::from_secs(1);
        for &gateway in &self.gateways {
            for member in [NEAR, FAR] {
                for topology in [Topology::Metric, Topology::Delay] {
                    let mut report = Report::default();
                    report.answer(if member == NEAR { near_us } else { 30_000 }, None);
                    let pair = Pair {
                        gateway,
                        member,
                        topology,
                    };
                    change(&pair, &mut report);
                    self.scsc.report(self.now, pair, &report);
                }
            }
        }
        self.scsc.step(self.now)
    }
}

fn share(order: &Order, member: NodeId) -> u32 {
    let of = order.policy.shares.iter().filter(|s| s.gateway == member);
    of.map(|share| u32::from(share.weight)).sum()
}

#[test]
fn a_quarter_moves_of_little_traffic_too_and_of_the_rate_that_is_told() {
    for kbps in [1, 3, 1_000, u64::MAX] {
        let mut scene = Scene::new(1, ScscConfig::default());
        scene.scsc.traffic(GroupId(0), scene.gateways[0], kbps);
        let mut shares = Vec::new();
        for _ in 0..6 {
            let orders = scene.second(90_000, |_, _| {});
            shares.extend(orders.iter().map(|order| share(order, NEAR)));
        }
        assert_eq!(shares, [750, 500, 250, 0], "{kbps} kbit/s");
    }
}

#[test]
fn moved_in_steps_renewed_and_back_when_good() {
    let mut scene = Scene::new(4, ScscConfig::default());
    assert!(scene.second(20_000, |_, _| {}).is_empty());
    assert!(scene.second(90_000, |_, _| {}).is_empty());
    let mut moved = Vec::new();
    for _ in 0..4 {
        let orders = scene.second(90_000, |_, _| {});
        assert_eq!(
            orders.len(),
            1,
            "a quarter of the traffic is one of four gateways"
        );
        let order = &orders[0];
        assert_eq!((share(order, NEAR), share(order, FAR)), (0, 1_000));
        let decision = order.decision.as_ref().unwrap();
        assert!(matches!(decision.why, Why::Breach { member: NEAR, .. }));
        let text = &order.policy.reason;
        assert!(
            text.contains("to 1 delay 88.0 ms") && text.contains("≥ 50.0 ms"),
            "{text}"
        );
        moved.push(order.policy.gateway);
    }
    moved.sort_unstable();
    assert_eq!(moved, scene.gateways);
    // Nothing new is decided; the policies are renewed before they end.
    let mut renewed = 0;
    for _ in 0..30 {
        let orders = scene.second(90_000, |_, _| {});
        assert!(orders.iter().all(|order| order.decision.is_none()));
        renewed += orders.len();
    }
    assert_eq!(renewed, 8);
    // Good again: ten in a row, then the same steps back, each a policy that ends the last.
    let mut back = 0;
    for second in 1..=14 {
        for order in scene.second(20_000, |_, _| {}) {
            if let Some(decision) = order.decision {
                assert!(second >= 10);
                assert_eq!(decision.why, Why::Better(NEAR));
                assert_eq!(order.policy.ttl, Duration::ZERO);
                back += 1;
            }
        }
    }
    assert_eq!((back, scene.scsc.active()), (4, 0));
}

#[test]
fn load_moves_what_is_too_much_and_draining_all() {
    let config = ScscConfig {
        step_permille: 1_000,
        ..ScscConfig::default()
    };
    let mut scene = Scene::new(1, config);
    let busy = |pair: &Pair, report: &mut Report| {
        report.load_permille = if pair.member == NEAR { 900 } else { 100 };
    };
    scene.second(20_000, busy);
    let orders = scene.second(20_000, busy);
    assert_eq!(orders.len(), 1);
    // 900 of a thousand at all of the traffic: two thirds make 600.
    assert_eq!(share(&orders[0], NEAR), 666);
    let mut scene = Scene::new(1, config);
    let draining = |pair: &Pair, report: &mut Report| {
        if pair.member == NEAR {
            report.health = Health::Draining;
        }
    };
    let orders = scene.second(20_000, draining);
    assert_eq!(share(&orders[0], FAR), 1_000);
    let why = orders[0].decision.as_ref().unwrap().why;
    assert_eq!(why, Why::Draining(NEAR));
}

#[test]
fn no_more_goes_over_a_link_than_it_has_left() {
    let config = ScscConfig {
        step_permille: 1_000,
        ..ScscConfig::default()
    };
    let mut scene = Scene::new(4, config);
    let narrow = |pair: &Pair, report: &mut Report| {
        if pair.member == FAR {
            report.available_kbps = 2_000;
            report.narrowest = LinkKey {
                node: NodeId(7),
                port: PortId(1),
            };
        }
    };
    scene.second(90_000, narrow);
    let orders = scene.second(90_000, narrow);
    let moved: u64 = orders
        .iter()
        .filter_map(|order| Some(order.decision.as_ref()?.moved_kbps))
        .sum();
    assert_eq!(moved, 1_800);
}

/// An hour with every gateway's way at the threshold, or a little below it: no reason to say anything, and a step in time when there is one.
#[test]
fn noise_at_the_threshold_moves_nothing() {
    let mut scene = Scene::new(6, ScscConfig::default());
    let mut random = 1u64;
    let mut unit = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 40) as f64 / f64::from(1 << 24)
    };
    let mut said = Vec::new();
    for _ in 0..3_600 {
        // Nearly a bell, with a spread of 3 % of the threshold.
        let noise: f64 = (0..12).map(|_| unit()).sum::<f64>() - 6.0;
        let orders = scene.second(20_000, |pair, report| {
            if pair.member == NEAR {
                let below = f64::from(pair.gateway.0 - 11) * 700.0;
                *report = Report::default();
                report.answer((50_000.0 - below + 1_500.0 * noise) as u32, None);
            }
        });
        said.extend(orders.into_iter().filter_map(|order| order.decision));
    }
    assert!(said.is_empty(), "{said:#?}");
    let moved = (1..=3).map(|_| scene.second(60_000, |_, _| {}).len());
    assert!(moved.sum::<usize>() > 0);
    // By as little, but all at once, from where it was good.
    let mut scene = Scene::new(1, ScscConfig::default());
    for _ in 0..4 {
        assert!(scene.second(30_000, |_, _| {}).is_empty());
    }
    assert!(scene.second(51_000, |_, _| {}).is_empty());
    assert_eq!(scene.second(51_000, |_, _| {}).len(), 1);
}

#[test]
fn silence_moves_nothing() {
    let mut scene = Scene::new(1, ScscConfig::default());
    scene.second(20_000, |_, _| {});
    scene.now += Duration::from_secs(100);
    assert!(scene.scsc.step(scene.now).is_empty());
}

#[test]
fn groups_have_windows_holds_and_steps_of_their_own() {
    let config = ScscConfig::default();
    let mut scene = Scene::new(1, config);
    let mut rules = config.rules(thresholds());
    rules.timing = Timing {
        raise_k: 3,
        clear_n: 2,
        hold: Duration::from_secs(3),
        damping: 1,
        ..rules.timing
    };
    rules.step_permille = 1_000;
    scene
        .scsc
        .reconfigure(config, |domain, prefix| {
            assert_eq!((domain, prefix.to_string().as_str()), (Domain(1), "/shop"));
            rules
        })
        .unwrap();
    // Two of three are not enough for it, and then all moves at once.
    for bad in [90_000, 20_000, 90_000, 90_000] {
        assert!(scene.second(bad, |_, _| {}).is_empty());
    }
    for _ in 0..3 {
        let moved = scene.second(90_000, |_, _| {});
        assert_eq!(moved.len(), 1);
        assert_eq!(share(&moved[0], FAR), 1_000);
        // Back after three seconds' hold, however often it was raised.
        let mut back = 0;
        while scene.second(20_000, |_, _| {}).is_empty() {
            back += 1;
        }
        assert_eq!(back, 2);
        for _ in 0..2 {
            assert!(scene.second(90_000, |_, _| {}).is_empty());
        }
    }
    // The center's own again: a quarter.
    let config = ScscConfig::default();
    let plain = |_, _: &NameBuf| config.rules(thresholds());
    scene.scsc.reconfigure(config, plain).unwrap();
    let moved = scene.second(90_000, |_, _| {});
    assert_eq!(share(&moved[0], FAR), 250);
}

#[test]
fn a_member_that_goes_leaves_the_rest_as_it_is() {
    const THIRD: NodeId = NodeId(3);
    let config = ScscConfig {
        step_permille: 1_000,
        ..ScscConfig::default()
    };
    let mut scene = Scene::new(1, config);
    let (group, gateway) = (GroupId(0), scene.gateways[0]);
    assert!(
        !scene
            .scsc
            .caller(group, gateway, &[NEAR, FAR, THIRD], &[NEAR])
    );
    scene.second(90_000, |_, _| {});
    assert_eq!(scene.second(90_000, |_, _| {}).len(), 1);
    // What is not used goes: nothing is said. It stays away from what is bad, and renews.
    scene.scsc.caller(group, gateway, &[NEAR, FAR], &[NEAR]);
    for _ in 0..14 {
        assert!(scene.second(90_000, |_, _| {}).is_empty());
    }
    let renewed = scene.second(90_000, |_, _| {});
    assert_eq!(share(&renewed[0], FAR), 1_000);
    // What is used goes: plain routes, at once away from them again.
    scene.scsc.caller(group, gateway, &[NEAR, THIRD], &[NEAR]);
    let unknown = scene.second(90_000, |_, _| {});
    assert!(unknown.is_empty(), "nothing is known of the third");
    let mut report = Report::default();
    report.answer(1_000, None);
    let pair = Pair {
        gateway,
        member: THIRD,
        topology: Topology::Metric,
    };
    for _ in 0..2 {
        scene.scsc.report(scene.now, pair, &report);
    }
    scene.now += Duration::from_secs(1);
    let orders = scene.scsc.step(scene.now);
    assert_eq!(share(&orders[0], THIRD), 1_000);
}

#[test]
fn who_is_forgotten_is_renewed_no_more() {
    let config = ScscConfig {
        step_permille: 1_000,
        ..ScscConfig::default()
    };
    let mut scene = Scene::new(2, config);
    scene.second(90_000, |_, _| {});
    assert_eq!(scene.second(90_000, |_, _| {}).len(), 2);
    let (group, gone) = (GroupId(0), scene.gateways[0]);
    scene.scsc.forget_caller(group, gone);
    for _ in 0..40 {
        let orders = scene.second(90_000, |_, _| {});
        assert!(orders.iter().all(|order| order.policy.gateway != gone));
    }
    assert_eq!(scene.scsc.active(), 1);
    scene.scsc.forget_group(group);
    scene.scsc.forget_group(group);
    assert_eq!(scene.scsc.active(), 0);
    assert!(scene.second(90_000, |_, _| {}).is_empty());
    // Its number is another's, which knows nothing of it.
    let prefix = NameBuf::parse("/other").unwrap();
    assert_eq!(
        scene.scsc.group(Domain(1), prefix.clone(), thresholds()),
        group
    );
    assert_eq!(
        scene.scsc.group(Domain(1), prefix, thresholds()),
        GroupId(1)
    );
    assert!(scene.scsc.caller(group, gone, &[NEAR, FAR], &[NEAR]));
    assert!(scene.second(90_000, |_, _| {}).is_empty());
    let orders = scene.second(90_000, |_, _| {});
    assert_eq!(orders[0].policy.prefix.to_string(), "/other");
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Good),
        Just(Verdict::Between),
        Just(Verdict::Bad)
    ]
}

proptest! {
    #[test]
    fn alarms_keep_to_their_windows(
        verdicts in prop::collection::vec(verdict(), 1..400),
        k in 1..5u8, more in 0..5u8, clear_n in 1..8u8, hold in 0..40u64,
    ) {
        let timing = Timing {
            raise_k: k,
            raise_n: k + more,
            clear_n,
            hold: Duration::from_secs(hold),
            ..Timing::default()
        };
        timing.check().unwrap();
        let mut alarm = Alarm::default();
        let mut raised: Option<usize> = None;
        let mut since = 0;
        for (at, verdict) in verdicts.iter().enumerate() {
            let now = Duration::from_secs(at as u64);
            let last = |n: u8| &verdicts[since.max((at + 1).saturating_sub(n.into()))..=at];
            match alarm.observe(now, *verdict, &timing) {
                Some(Change::Raised) => {
                    let bad = last(k + more).iter().filter(|v| **v == Verdict::Bad).count();
                    prop_assert!(raised.is_none() && bad >= usize::from(k));
                    raised = Some(at);
                }
                Some(Change::Cleared) => {
                    let begun = raised.take().unwrap();
                    prop_assert!(at - begun >= hold as usize);
                    let good = &verdicts[at + 1 - usize::from(clear_n)..=at];
                    prop_assert!(good.iter().all(|v| *v == Verdict::Good));
                    since = at + 1;
                }
                None if raised.is_none() => {
                    let bad = last(k + more).iter().filter(|v| **v == Verdict::Bad).count();
                    prop_assert!(bad < usize::from(k) || *verdict != Verdict::Bad);
                }
                None => {}
            }
            prop_assert_eq!(alarm.is_raised(), raised.is_some());
        }
    }

    /// Whatever delays come, and however often somebody asks: in no second more moves than a step, and shares stay whole.
    #[test]
    fn no_second_moves_more_than_a_step(
        delays in prop::collection::vec((0..100_000u32, 0..3u8), 1..60),
        gateways in 1..6u32, step in 1..1_000u16,
    ) {
        let config = ScscConfig { step_permille: step, ..ScscConfig::default() };
        let mut scene = Scene::new(gateways, config);
        let whole = u64::from(gateways) * 1_000;
        for (delay, again) in delays {
            let mut orders = scene.second(delay, |_, _| {});
            for _ in 0..again {
                orders.extend(scene.scsc.step(scene.now));
            }
            let mut moved = 0;
            for order in orders {
                if !order.policy.ttl.is_zero() {
                    prop_assert_eq!(share(&order, NEAR) + share(&order, FAR), 1_000);
                }
                moved += order.decision.map_or(0, |decision| decision.moved_kbps);
            }
            prop_assert!(moved <= u64::from(step) * whole / 1_000, "{} of {}", moved, whole);
        }
    }
}
