//! Rows that somebody else decides about, for a time: the engine watches, and says nothing.

use std::time::Duration;

use dmsc_wire::NodeId;

use super::{GroupId, Scsc};
use crate::policy::Share;

impl Scsc {
    /// From now on nothing is said about the row, in which these shares are in force until `until`. Whether they are shares of the row's choices, and all
    /// of its traffic. It stays so when members change.
    pub fn hold(
        &mut self,
        group: GroupId,
        gateway: NodeId,
        shares: &[Share],
        until: Duration,
    ) -> bool {
        let Some(known) = self.groups.get_mut(group.0 as usize) else {
            return false;
        };
        let row = known.rows.get_mut(&gateway);
        row.is_some_and(|row| {
            row.held = true;
            row.resume(shares, until)
        })
    }

    /// The row is the engine's again: it goes on from the shares in force, which it says as its own with the next step. Whether it does; otherwise plain
    /// routes are what it wants, and whatever else is in force is to be ended by the caller.
    pub fn release(&mut self, now: Duration, group: GroupId, gateway: NodeId) -> bool {
        let at = group.0 as usize;
        let known = self.groups.get_mut(at);
        let Some(row) = known.and_then(|group| group.rows.get_mut(&gateway)) else {
            return false;
        };
        row.held = false;
        let goes_on = row.until.is_some() && !row.is_plain();
        row.until = goes_on.then_some(now);
        self.active.insert((at, gateway));
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsc::ScscConfig;
    use crate::{Level, Pair, Report, Thresholds, Topology};
    use dmsc_wire::{Domain, NameBuf};

    const CALLER: NodeId = NodeId(1);

    fn seconds(engine: &mut Scsc, from: u64, to: u64, near_us: u32) -> Vec<crate::Order> {
        let mut orders = Vec::new();
        for second in from..to {
            let now = Duration::from_secs(second);
            for (member, delay) in [(2, near_us), (3, 10_000)] {
                let mut report = Report {
                    span_ms: 1_000,
                    ..Report::default()
                };
                report.answer(delay, None);
                let pair = Pair {
                    gateway: CALLER,
                    member: NodeId(member),
                    topology: Topology::Metric,
                };
                engine.report(now, pair, &report);
            }
            orders.extend(engine.step(now));
        }
        orders
    }

    #[test]
    fn a_row_that_is_held_is_left_alone_and_taken_up_from_there() {
        let mut engine = Scsc::new(ScscConfig::default()).unwrap();
        let thresholds = Thresholds {
            delay_us: Some(Level {
                raise: 50_000,
                clear: 40_000,
            }),
            ..Thresholds::default()
        };
        let group = engine.group(Domain(1), NameBuf::parse("/shop").unwrap(), thresholds);
        let members = [NodeId(2), NodeId(3)];
        engine.caller(group, CALLER, &members, &members[..1]);
        engine.traffic(group, CALLER, 1_000);
        let share = |gateway, weight| Share {
            gateway: NodeId(gateway),
            weight,
            topology: Topology::Metric,
        };
        // All to the one that is bad: the engine would not have it so.
        let shares = [share(2, 900), share(3, 100)];
        assert!(engine.hold(group, CALLER, &shares, Duration::from_secs(60)));
        assert!(seconds(&mut engine, 1, 20, 90_000).is_empty());
        let now = Duration::from_secs(20);
        assert!(engine.release(now, group, CALLER));
        let orders = seconds(&mut engine, 20, 30, 90_000);
        let first = &orders[0].policy.shares;
        assert_eq!(first.len(), 2);
        assert_eq!((first[0].weight, first[1].weight), (650, 350), "one step");
        assert!(orders.len() > 3);
        // Shares of somebody else's members are none of this row.
        assert!(!engine.hold(group, CALLER, &[share(9, 1_000)], now));
        assert!(!engine.hold(group, NodeId(8), &shares, now));
    }

    #[test]
    fn what_is_held_as_plain_routes_have_it_has_nothing_to_go_on_with() {
        let mut engine = Scsc::new(ScscConfig::default()).unwrap();
        let prefix = NameBuf::parse("/shop").unwrap();
        let group = engine.group(Domain(1), prefix, Thresholds::default());
        engine.caller(group, CALLER, &[NodeId(2), NodeId(3)], &[NodeId(2)]);
        let plain = [Share {
            gateway: NodeId(2),
            weight: 1_000,
            topology: Topology::Metric,
        }];
        assert!(engine.hold(group, CALLER, &plain, Duration::from_secs(60)));
        assert!(!engine.release(Duration::from_secs(1), group, CALLER));
        assert!(seconds(&mut engine, 1, 9, 10_000).is_empty());
    }
}
