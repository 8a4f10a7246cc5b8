//! One service group: who calls, and what of its traffic moved lately.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dmsc_wire::{Domain, NameBuf, NodeId};

use super::row::Row;
use crate::rules::Rules;

/// Most that is believed of one gateway, 10 Tbit/s: sums over all gateways have room.
const MOST_KBPS: u64 = 10_000_000_000;

#[derive(Debug)]
pub(super) struct Group {
    pub domain: Domain,
    pub prefix: NameBuf,
    pub rules: Rules,
    pub rows: BTreeMap<NodeId, Row>,
    /// Sum of the rows' rates, kbit/s.
    pub rate_kbps: u64,
    /// What moved, thousandths of kbit/s, and when: within the last step.
    pub moved: VecDeque<(Duration, u64)>,
}

impl Group {
    pub const fn new(domain: Domain, prefix: NameBuf, rules: Rules) -> Self {
        Self {
            domain,
            prefix,
            rules,
            rows: BTreeMap::new(),
            rate_kbps: 0,
            moved: VecDeque::new(),
        }
    }

    pub fn put(&mut self, gateway: NodeId, row: Row) {
        self.rate_kbps += row.rate_kbps;
        self.rows.insert(gateway, row);
    }

    pub fn take(&mut self, gateway: NodeId) -> Option<Row> {
        let row = self.rows.remove(&gateway)?;
        self.rate_kbps -= row.rate_kbps;
        Some(row)
    }

    pub fn traffic(&mut self, gateway: NodeId, kbps: u64) {
        let kbps = kbps.min(MOST_KBPS);
        if let Some(row) = self.rows.get_mut(&gateway) {
            self.rate_kbps = self.rate_kbps - row.rate_kbps + kbps;
            row.rate_kbps = kbps;
        }
    }

    /// How much more may move now, thousandths of kbit/s: of a group with little traffic some part moves, too.
    pub fn may_move(&mut self, now: Duration, step: Duration) -> u64 {
        while let Some((at, _)) = self.moved.front()
            && now.saturating_sub(*at) >= step
        {
            self.moved.pop_front();
        }
        let may = u64::from(self.rules.step_permille).saturating_mul(self.rate_kbps);
        let lately: u64 = self.moved.iter().map(|(_, moved)| moved).sum();
        may.saturating_sub(lately)
    }
}
