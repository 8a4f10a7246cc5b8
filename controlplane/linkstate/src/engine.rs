//! The engine: events in, actions out.

use std::time::Duration;

use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::action::{Action, GatewayRoute, PrefixMember, Topology};
use crate::event::{AdjacencyId, Event, SessionId};
use crate::message::{Digest, Message};
use crate::object::Object;
use crate::time::Now;
use crate::trust::{Authorisation, Revocation, Signer, Trust};

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
    /// Two versions of one object that come faster than this are taken one by one, later (except purges).
    pub min_arrival: Duration,
    /// Between digests.
    pub digest_interval: Duration,
    /// A session without any message for this long is closed.
    pub session_timeout: Duration,
    /// How long an adjacency stays without a session while hellos run.
    pub restart_time: Duration,
    /// Most objects of one originator, and of all.
    pub objects_per_origin: usize,
    /// Most objects of all.
    pub objects: usize,
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
            objects_per_origin: 20_000,
            objects: 500_000,
            objects_per_second: 2_000,
        }
    }
}

/// One object of the database, for people and tests.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The object; `age_s` is as it was received.
    pub object: &'a Object,
    /// Until it is removed, s.
    pub lifetime_left_s: u32,
    /// False: it waits for an authorisation, is neither flooded nor used.
    pub accepted: bool,
}

/// A prefix member with what is known of its right to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// Gateway, metric, weight.
    pub member: PrefixMember,
    /// Its authorisation expired.
    pub stale: bool,
    /// It is not installed: no authorisation yet.
    pub waiting: bool,
    /// Who authorised.
    pub authority: String,
    /// Whom.
    pub identity: String,
}

/// State of a session, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Which.
    pub session: SessionId,
    /// Over which adjacency.
    pub link: AdjacencyId,
    /// With whom.
    pub peer: NodeId,
    /// Digests were equal at the last exchange.
    pub synced: bool,
    /// Objects that were refused, with all reasons together.
    pub refused: u64,
}

/// One observed stage of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Pod's announcement taken → object originated (own objects).
    AnnouncedOriginated,
    /// Object originated → received here (others' objects; by wall clocks of two nodes).
    OriginatedReceived,
    /// Received → verified and accepted.
    ReceivedVerified,
    /// Accepted → in the RIB.
    VerifiedRouted,
    /// In the RIB → acknowledged by the dataplane.
    RoutedProgrammed,
    /// Pod's announcement taken → acknowledged by this dataplane.
    AnnouncedProgrammed,
}

/// The link-state engine of one node.
pub struct Engine {
    _todo: (),
}

#[allow(unused_variables, missing_docs)]
impl Engine {
    /// An engine without neighbours.
    pub fn new(
        config: EngineConfig,
        signer: Box<dyn Signer + Send>,
        trust: Box<dyn Trust + Send>,
        now: Now,
    ) -> Self {
        todo!()
    }
    /// Takes an event; never panics, whatever a neighbour sends. Time never goes back.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        todo!()
    }
    /// The next message of a session, at most about 256 KiB; `None`: nothing to say. Call it while the stream can take more: what waits is
    /// kept as a set of keys, so a neighbour that does not read costs no memory.
    pub fn next_message(&mut self, now: Now, session: SessionId) -> Option<Message> {
        todo!()
    }
    /// When [`Event::Tick`] is due, on the monotonic clock.
    pub fn next_deadline(&self) -> Option<Duration> {
        todo!()
    }
    /// Of all accepted objects.
    pub fn digest(&self) -> Digest {
        todo!()
    }
    /// All objects, ordered by key; waiting ones too.
    pub fn entries(&self, now: Now) -> Vec<Entry<'_>> {
        todo!()
    }
    /// Whether routes are held back after a restart, or the node is not yet offered for transit after a start.
    pub fn starting(&self) -> bool {
        todo!()
    }
    pub fn restarting(&self) -> bool {
        todo!()
    }
    pub fn draining(&self) -> bool {
        todo!()
    }
    pub fn sessions(&self) -> Vec<SessionInfo> {
        todo!()
    }
    /// The RIB: ways to nodes.
    pub fn gateway_routes(&self) -> Vec<(Topology, NodeId, GatewayRoute)> {
        todo!()
    }
    /// Version of the RIB.
    pub fn version(&self) -> u64 {
        todo!()
    }
    /// The RIB: prefixes at or below `under`, at most `limit`.
    pub fn prefixes(
        &self,
        under: Option<&NameBuf>,
        limit: usize,
    ) -> Vec<(Domain, NameBuf, Vec<MemberInfo>)> {
        todo!()
    }
    pub fn prefix_count(&self) -> usize {
        todo!()
    }
    /// Known authorisations with seconds until they expire (negative: since), and whether they are revoked.
    pub fn authorisations(&self, now: Now) -> Vec<(Authorisation, i64, bool)> {
        todo!()
    }
    pub fn revocations(&self) -> Vec<Revocation> {
        todo!()
    }
    pub fn alarms(&self) -> Vec<crate::action::Alarm> {
        todo!()
    }
    /// Stage times observed since the last call: (stage, µs). At most 10,000 are kept.
    pub fn take_stage_times(&mut self) -> Vec<(Stage, u64)> {
        todo!()
    }
}
