//! What the gateway of a member tells of its service: moves calls off at once, back in time, and means nothing when it is not told any more.

use std::time::Duration;

use dmsc_linkstate::action::Topology;
use dmsc_scsc::decision::Why;
use dmsc_scsc::{
    GroupId, Health, Histogram, Level, Order, Pair, Report, Scsc, ScscConfig, ServiceState,
    Thresholds,
};
use dmsc_wire::{Domain, NameBuf, NodeId};

const NEAR: NodeId = NodeId(1);
const FAR: NodeId = NodeId(2);
const CALLER: NodeId = NodeId(11);
const GROUP: GroupId = GroupId(0);

fn state(health: Health, load_permille: u32) -> ServiceState {
    ServiceState::of(&[(health, load_permille)], Histogram::default())
}

/// Calls to two members enter at one gateway; by plain routes they go to the near one.
struct Scene {
    scsc: Scsc,
    now: Duration,
}

impl Scene {
    fn new() -> Self {
        let config = ScscConfig {
            step_permille: 1_000,
            ..ScscConfig::default()
        };
        let mut scsc = Scsc::new(config).unwrap();
        let thresholds = Thresholds {
            load_permille: Some(Level {
                raise: 800,
                clear: 600,
            }),
            ..Thresholds::default()
        };
        let prefix = NameBuf::parse("/shop").unwrap();
        assert_eq!(scsc.group(Domain(1), prefix, thresholds), GROUP);
        scsc.caller(GROUP, CALLER, &[NEAR, FAR], &[NEAR]);
        scsc.traffic(GROUP, CALLER, 1_000);
        let now = Duration::ZERO;
        Self { scsc, now }
    }

    /// A second in which all ways are good, and the near member says this of itself.
    fn second(&mut self, told: Option<&ServiceState>) -> Vec<Order> {
        self.now += Duration::from_secs(1);
        for member in [NEAR, FAR] {
            for topology in [Topology::Metric, Topology::Delay] {
                let mut report = Report::default();
                report.answer(10_000, None);
                let pair = Pair {
                    gateway: CALLER,
                    member,
                    topology,
                };
                self.scsc.report(self.now, pair, &report);
            }
        }
        if let Some(state) = told {
            self.scsc.service(self.now, GROUP, NEAR, state);
        }
        let decided = |order: &Order| order.decision.is_some();
        self.scsc
            .step(self.now)
            .into_iter()
            .filter(decided)
            .collect()
    }

    /// Seconds until something is decided, and what.
    fn until(&mut self, told: Option<&ServiceState>) -> (u32, Order) {
        for second in 1..100 {
            if let Some(order) = self.second(told).pop() {
                return (second, order);
            }
        }
        panic!("nothing is decided");
    }
}

fn share(order: &Order, member: NodeId) -> u32 {
    let of = order.policy.shares.iter().filter(|s| s.gateway == member);
    of.map(|share| u32::from(share.weight)).sum()
}

#[test]
fn a_member_that_says_so_is_avoided_at_once_and_back_after_the_hold() {
    for (health, why) in [
        (Health::Overloaded, Why::Overloaded(NEAR)),
        (Health::Draining, Why::Draining(NEAR)),
    ] {
        let mut scene = Scene::new();
        let well = state(Health::Healthy, 50);
        assert!(scene.second(Some(&well)).is_empty());
        let (after, order) = scene.until(Some(&state(health, 1_000)));
        assert_eq!((after, order.decision.as_ref().unwrap().why), (1, why));
        assert_eq!((share(&order, NEAR), share(&order, FAR)), (0, 1_000));
        // Good reports of the way, which know nothing of the service, clear nothing.
        for _ in 0..30 {
            assert!(scene.second(Some(&state(health, 1_000))).is_empty());
        }
        let (after, order) = scene.until(Some(&well));
        assert_eq!(
            (after, order.decision.as_ref().unwrap().why),
            (10, Why::Better(NEAR))
        );
        assert_eq!(order.policy.ttl, Duration::ZERO, "plain routes again");
        scene.second(Some(&well));
        assert_eq!(scene.scsc.active(), 0);
    }
}

#[test]
fn load_is_believed_in_its_window_and_moves_what_is_too_much() {
    let mut scene = Scene::new();
    let busy = state(Health::Healthy, 900);
    let (after, order) = scene.until(Some(&busy));
    assert_eq!(after, 2, "two of three");
    // 900 of a thousand at all of the traffic: two thirds make 600.
    assert_eq!(share(&order, NEAR), 666);
    let decision = order.decision.as_ref().unwrap();
    assert!(matches!(decision.why, Why::Breach { member: NEAR, .. }));
    let text = decision.to_string();
    assert!(text.contains("load 90.0 % ≥ 80.0 %"), "{text}");
}

#[test]
fn what_is_not_told_any_more_is_unknown_and_not_bad() {
    let mut scene = Scene::new();
    let bad = state(Health::Overloaded, 500);
    scene.until(Some(&bad));
    // Fresh for 4 s.
    let (after, order) = scene.until(None);
    assert_eq!((after, share(&order, FAR)), (5, 0));
    for _ in 0..30 {
        assert!(scene.second(None).is_empty());
    }
    assert_eq!(scene.scsc.active(), 0, "nothing is kept of it");
    // Gone: its routes say the rest.
    let mut scene = Scene::new();
    scene.until(Some(&bad));
    let gone = ServiceState::of(&[], Histogram::default());
    let (after, order) = scene.until(Some(&gone));
    assert_eq!((after, share(&order, FAR)), (1, 0));
}

#[test]
fn who_is_no_member_says_nothing() {
    let mut scene = Scene::new();
    let bad = state(Health::Overloaded, 500);
    scene.scsc.service(scene.now, GroupId(7), NEAR, &bad);
    scene.scsc.service(scene.now, GROUP, NodeId(77), &bad);
    // Nor one that carries nothing: until something looks for a place.
    scene.scsc.service(scene.now, GROUP, FAR, &bad);
    assert!(scene.second(None).is_empty());
    assert_eq!(scene.scsc.active(), 0);
}
