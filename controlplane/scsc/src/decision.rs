//! What was decided, and why: kept with the numbers that made it.

use std::fmt;
use std::time::Duration;

use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::pair::word;
use crate::policy::Share;
use crate::threshold::Breach;

/// One decision of the scheduling center about one service group at one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// When, on the center's monotonic clock.
    pub at: Duration,
    /// Tenant.
    pub domain: Domain,
    /// Prefix of the service group.
    pub prefix: NameBuf,
    /// For calls that enter there.
    pub gateway: NodeId,
    /// What made it.
    pub why: Why,
    /// Shares from now on, in thousandths of the gateway's calls to the group.
    pub shares: Vec<Share>,
    /// How much traffic that moves, kbit/s.
    pub moved_kbps: u64,
}

/// What makes a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A choice in use is beyond a threshold.
    Breach {
        /// Which choice: its gateway.
        member: NodeId,
        /// What was measured.
        breach: Breach,
        /// In how many of …
        bad: u32,
        /// … reports.
        of: u32,
    },
    /// A member says that it takes no calls.
    Draining(NodeId),
    /// A member says that it has more than it can do.
    Overloaded(NodeId),
    /// What was avoided is good again.
    Better(NodeId),
    /// The next step of what was decided before.
    Step,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at gateway {}: ", self.prefix, self.gateway)?;
        match &self.why {
            Why::Breach {
                member,
                breach,
                bad,
                of,
            } => write!(f, "to {member} {breach} in {bad} of {of} reports")?,
            Why::Draining(member) => write!(f, "{member} is draining")?,
            Why::Overloaded(member) => write!(f, "{member} says that it is overloaded")?,
            Why::Better(member) => write!(f, "{member} is good again")?,
            Why::Step => f.write_str("next step")?,
        }
        let mut lead = "; now";
        for share in self.shares.iter().filter(|share| share.weight > 0) {
            let (whole, tenth) = (share.weight / 10, share.weight % 10);
            let way = word(share.topology);
            write!(f, "{lead} {whole}.{tenth} % to {} by {way}", share.gateway)?;
            lead = ",";
        }
        let (whole, tenth) = (self.moved_kbps / 1_000, self.moved_kbps % 1_000 / 100);
        write!(f, "; moves {whole}.{tenth} Mbit/s")
    }
}
