//! Bodies of objects in protobuf: equal to those of linkstate.proto, decoded and checked here.

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf, NodeId};
use prost::Message as _;
use thiserror::Error;

use crate::event::AdjacencyId;

/// Most links of one adjacency object.
pub const MAX_LINKS: usize = 1_024;
/// Most prefixes of one prefix object.
pub const MAX_PREFIXES: usize = 64;
/// Largest metric or delay of a link.
pub const MAX_METRIC: u32 = 16_777_215;
/// All of what was sent, in millionths.
pub const WHOLE_PPM: u32 = 1_000_000;
/// Largest weight of a prefix.
pub const MAX_WEIGHT: u32 = 65_535;
/// Most domains that a prefix is exported to.
const MAX_EXPORTS: usize = 16;
/// Most bytes of a text.
const MAX_TEXT: usize = 64;

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BodyError {
    /// Not protobuf.
    #[error("the body is not decodable")]
    Encoding,
    /// More than allowed.
    #[error("more than {0}")]
    TooMany(&'static str),
    /// A prefix object without prefixes.
    #[error("no prefixes")]
    Empty,
    /// A link that cannot be.
    #[error("a link with a {0} outside of its range")]
    Link(&'static str),
    /// A prefix that cannot be.
    #[error("a prefix with a {0} outside of its range")]
    Prefix(&'static str),
    /// A name that is not canonical, or reserved for routers.
    #[error("a name that is not canonical or reserved")]
    Name,
}

/// `AdjacencyBody`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AdjacencyBody {
    /// At most 1,024.
    #[prost(message, repeated, tag = "1")]
    pub links: Vec<Link>,
    /// No transit through this node.
    #[prost(bool, tag = "2")]
    pub overload: bool,
    /// For people.
    #[prost(string, tag = "3")]
    pub name: String,
    /// "sg" or "sr".
    #[prost(string, tag = "4")]
    pub role: String,
    /// For people.
    #[prost(string, tag = "5")]
    pub software: String,
    /// Of the dataplane.
    #[prost(uint32, tag = "6")]
    pub hello_version_max: u32,
}

/// `Link`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Link {
    /// Node id.
    #[prost(uint32, tag = "1")]
    pub peer: u32,
    /// Adjacency id here.
    #[prost(uint32, tag = "2")]
    pub id: u32,
    /// Adjacency id at the peer.
    #[prost(uint32, tag = "3")]
    pub peer_id: u32,
    /// Metric.
    #[prost(uint32, tag = "4")]
    pub metric: u32,
    /// µs, one way.
    #[prost(uint32, tag = "5")]
    pub delay_us: u32,
    /// 0 = not told.
    #[prost(uint64, tag = "6")]
    pub capacity_kbps: u64,
    /// µs, one way, as measured.
    #[prost(uint32, optional, tag = "20")]
    pub measured_delay_us: Option<u32>,
    /// µs, one way.
    #[prost(uint32, optional, tag = "21")]
    pub delay_variation_us: Option<u32>,
    /// Of what the peer sends.
    #[prost(uint32, optional, tag = "22")]
    pub loss_ppm: Option<u32>,
    /// At most `capacity_kbps`.
    #[prost(uint64, optional, tag = "23")]
    pub available_kbps: Option<u64>,
}

/// What ways depend on of a link: peer, ids at both ends, metric and delay.
pub(super) type Edge = (u32, u32, u32, u32, u32);

/// `PrefixBody`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PrefixBody {
    /// 1..64.
    #[prost(message, repeated, tag = "1")]
    pub prefixes: Vec<AnnouncedPrefix>,
}

/// `AnnouncedPrefix`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AnnouncedPrefix {
    /// Tenant.
    #[prost(uint32, tag = "1")]
    pub domain: u32,
    /// Canonical encoding.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
    /// Added to the distance of the gateway.
    #[prost(uint32, tag = "3")]
    pub metric: u32,
    /// 0 = 1.
    #[prost(uint32, tag = "4")]
    pub weight: u32,
    /// Wall clock.
    #[prost(fixed64, tag = "5")]
    pub announced_at_ms: u64,
    /// Reserved.
    #[prost(uint32, repeated, tag = "6")]
    pub export_domains: Vec<u32>,
    /// Reserved.
    #[prost(bytes = "bytes", tag = "7")]
    pub export_name: Bytes,
    /// Reserved: whose it is, if not the originator's.
    #[prost(uint32, tag = "8")]
    pub gateway: u32,
}

/// A checked prefix of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// Tenant.
    pub domain: Domain,
    /// The prefix.
    pub name: NameBuf,
    /// Added to the distance of the gateway.
    pub metric: u32,
    /// At least 1.
    pub weight: u32,
    /// Wall clock, ms.
    pub announced_at_ms: u64,
}

impl Link {
    /// The node at the other end.
    #[must_use]
    pub fn peer(&self) -> NodeId {
        NodeId(self.peer)
    }

    fn check(&self) -> Result<(), BodyError> {
        let id = |id: u32| u16::try_from(id).is_ok_and(|id| id != 0);
        let cost = |cost: u32| (1..=MAX_METRIC).contains(&cost);
        if self.peer == 0 {
            return Err(BodyError::Link("peer"));
        }
        if !id(self.id) || !id(self.peer_id) {
            return Err(BodyError::Link("adjacency id"));
        }
        if !cost(self.metric) || !cost(self.delay_us) {
            return Err(BodyError::Link("metric"));
        }
        let time = |time: Option<u32>| time.is_none_or(|time| time <= MAX_METRIC);
        if !time(self.measured_delay_us) || !time(self.delay_variation_us) {
            return Err(BodyError::Link("measured delay"));
        }
        if self.loss_ppm.is_some_and(|loss| loss > WHOLE_PPM) {
            return Err(BodyError::Link("loss"));
        }
        if self
            .available_kbps
            .is_some_and(|left| left > self.capacity_kbps)
        {
            return Err(BodyError::Link("bandwidth"));
        }
        Ok(())
    }

    /// What ways depend on; what is measured is not in it.
    pub(super) fn edge(&self) -> Edge {
        (self.peer, self.id, self.peer_id, self.metric, self.delay_us)
    }

    /// The ids at both ends.
    #[must_use]
    pub fn ids(&self) -> Option<(AdjacencyId, AdjacencyId)> {
        let id = |id: u32| u16::try_from(id).ok().map(AdjacencyId);
        Some((id(self.id)?, id(self.peer_id)?))
    }
}

/// Decodes and checks the body of an adjacency object.
///
/// # Errors
/// What is wrong with it.
pub fn adjacency(body: &[u8]) -> Result<AdjacencyBody, BodyError> {
    let body = AdjacencyBody::decode(body).map_err(|_| BodyError::Encoding)?;
    if body.links.len() > MAX_LINKS {
        return Err(BodyError::TooMany("1,024 links"));
    }
    if [&body.name, &body.role, &body.software]
        .iter()
        .any(|text| text.len() > MAX_TEXT)
    {
        return Err(BodyError::TooMany("64 bytes of a text"));
    }
    body.links.iter().try_for_each(Link::check)?;
    Ok(body)
}

impl AnnouncedPrefix {
    fn check(&self) -> Result<(), BodyError> {
        if self.domain == 0 {
            return Err(BodyError::Prefix("domain"));
        }
        if self.metric > MAX_METRIC {
            return Err(BodyError::Prefix("metric"));
        }
        if self.weight > MAX_WEIGHT {
            return Err(BodyError::Prefix("weight"));
        }
        if self.export_domains.len() > MAX_EXPORTS {
            return Err(BodyError::TooMany("16 domains of an export"));
        }
        if !self.export_name.is_empty() {
            NameBuf::from_bytes(&self.export_name).map_err(|_| BodyError::Name)?;
        }
        Ok(())
    }
}

/// Decodes and checks the body of a prefix object: all prefixes in it.
///
/// # Errors
/// What is wrong with it.
pub fn prefixes(body: &[u8]) -> Result<Vec<Prefix>, BodyError> {
    prefixes_where(body, |_| true)
}

/// As [`prefixes`], but only those that are used when `origin` says so: those of another gateway are checked and ignored.
///
/// # Errors
/// What is wrong with it.
pub fn used_prefixes(body: &[u8], origin: NodeId) -> Result<Vec<Prefix>, BodyError> {
    prefixes_where(body, |gateway| !gateway.is_some() || gateway == origin)
}

fn prefixes_where(body: &[u8], used: impl Fn(NodeId) -> bool) -> Result<Vec<Prefix>, BodyError> {
    let body = PrefixBody::decode(body).map_err(|_| BodyError::Encoding)?;
    if body.prefixes.is_empty() {
        return Err(BodyError::Empty);
    }
    if body.prefixes.len() > MAX_PREFIXES {
        return Err(BodyError::TooMany("64 prefixes"));
    }
    body.prefixes
        .into_iter()
        .map(|prefix| {
            prefix.check()?;
            let name = NameBuf::from_bytes(&prefix.name).map_err(|_| BodyError::Name)?;
            if name.as_name().is_reserved() {
                return Err(BodyError::Name);
            }
            Ok(used(NodeId(prefix.gateway)).then_some(Prefix {
                domain: Domain(prefix.domain),
                name,
                metric: prefix.metric,
                weight: prefix.weight.max(1),
                announced_at_ms: prefix.announced_at_ms,
            }))
        })
        .filter_map(Result::transpose)
        .collect()
}

/// The body of a prefix object.
pub fn encode_prefixes<'a>(prefixes: impl Iterator<Item = &'a Prefix>) -> Bytes {
    let prefixes = prefixes
        .map(|prefix| AnnouncedPrefix {
            domain: prefix.domain.0,
            name: Bytes::copy_from_slice(prefix.name.as_bytes()),
            // A value that nobody takes would take 63 others along.
            metric: prefix.metric.min(MAX_METRIC),
            weight: prefix.weight.min(MAX_WEIGHT),
            announced_at_ms: prefix.announced_at_ms,
            export_domains: Vec::new(),
            export_name: Bytes::new(),
            gateway: 0,
        })
        .collect();
    Bytes::from(PrefixBody { prefixes }.encode_to_vec())
}

/// The body of an adjacency object.
pub fn encode_adjacency(body: &AdjacencyBody) -> Bytes {
    Bytes::from(body.encode_to_vec())
}
