//! How an engine works.

use std::time::Duration;

use dmsc_wire::NodeId;

/// How an engine works. [`EngineConfig::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// This node.
    pub node: NodeId,
    /// Its area; objects of others are refused.
    pub area: u32,
    /// For people, at most 64 bytes.
    pub name: String,
    /// "sg" or "sr".
    pub role: &'static str,
    /// For people, at most 64 bytes.
    pub software: String,
    /// Upper half of sequences; persisted, one more at each start of the process.
    pub boot_epoch: u32,
    /// Of own objects, s; refreshed after a third.
    pub lifetime_s: u32,
    /// RFC 8405: before the first SPF after quiet, 0–10 ms.
    pub spf_initial: Duration,
    /// RFC 8405: while changes go on.
    pub spf_short: Duration,
    /// RFC 8405: after many changes.
    pub spf_long: Duration,
    /// Changes of own objects are gathered for this long.
    pub originate_delay: Duration,
    /// Two versions of one object that come faster than this are taken one by one, later.
    pub min_arrival: Duration,
    /// Between digests.
    pub digest_interval: Duration,
    /// A session without any message for this long is closed.
    pub session_timeout: Duration,
    /// How long an adjacency stays without a session while hellos run.
    pub restart_time: Duration,
    /// Most headers in one summary.
    pub most_headers: usize,
    /// Most objects of one originator, and never more than a quarter of all; half as many statements that it repeats besides.
    pub objects_per_origin: usize,
    /// Most prefixes of one originator.
    pub prefixes_per_origin: usize,
    /// Most objects of all.
    pub objects: usize,
    /// Most revocations by authorities that are in force, of one authority a quarter; and as many by the root.
    pub revocations: usize,
    /// Objects per second that a neighbour may send, after a burst of ten times as many that are new.
    pub objects_per_second: u32,
}

impl EngineConfig {
    /// The defaults for a node.
    #[must_use]
    pub fn new(node: NodeId, boot_epoch: u32) -> Self {
        Self {
            node,
            area: 0,
            name: String::new(),
            role: "sr",
            software: String::new(),
            boot_epoch,
            lifetime_s: 3_600,
            spf_initial: Duration::from_millis(5),
            spf_short: Duration::from_millis(50),
            spf_long: Duration::from_secs(2),
            originate_delay: Duration::from_millis(5),
            min_arrival: Duration::from_millis(20),
            digest_interval: Duration::from_secs(2),
            session_timeout: Duration::from_secs(15),
            restart_time: Duration::from_secs(120),
            most_headers: 8_000,
            objects_per_origin: 20_000,
            prefixes_per_origin: 262_144,
            objects: 500_000,
            revocations: 100_000,
            objects_per_second: 2_000,
        }
    }
}
