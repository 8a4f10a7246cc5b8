//! Pages of long lists (operator.proto): bounded by number and by bytes, gathered a few entries at a time so that the driver task is never kept long.

use dmsc_linkstate::action::Topology;
use dmsc_linkstate::engine::pages::EntryKey;
use dmsc_linkstate::{Key, Kind};
use dmsc_wire::{Domain, Name, NameBuf, NodeId};
use prost::Message;
use tonic::Status;

/// Most bytes of entries on one page; one entry that is longer stands alone.
const PAGE: usize = 3 << 20;
/// Entries that are asked for at a time.
const CHUNK: usize = 1_024;
/// Tag and length around an entry in its list.
const AROUND: usize = 8;

/// Where an entry stands in the order of its list; the last one told is the cursor for the rest.
pub trait Cursor: Clone {
    /// For `next`; never empty.
    fn encode(&self) -> Vec<u8>;
    /// From `after`; `None`: no daemon of this kind made it.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// One page: entries, and `next`. `chunk` gives at most so many entries from after one on, in their order; fewer only at the end.
///
/// # Errors
/// INVALID_ARGUMENT for a cursor that is none, or as `chunk`.
pub async fn page<K: Cursor, T: Message, F>(
    limit: u32,
    after: &[u8],
    chunk: impl Fn(Option<K>, usize) -> F,
) -> Result<(Vec<T>, Vec<u8>), Status>
where
    F: Future<Output = Result<Vec<(K, T)>, Status>>,
{
    let bad = || {
        Status::invalid_argument(
            "after: not what this daemon gave as next; ask from the start (after empty)",
        )
    };
    let mut last: Option<K> = match after {
        [] => None,
        after => Some(K::decode(after).ok_or_else(bad)?),
    };
    let limit = match limit {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let (mut page, mut bytes) = (Vec::new(), 0);
    loop {
        // One more than has room tells whether there is more.
        let most = (limit - page.len()).saturating_add(1).min(CHUNK);
        let entries = chunk(last.clone(), most).await?;
        let ended = entries.len() < most;
        for (key, entry) in entries {
            bytes += entry.encoded_len() + AROUND;
            if page.len() == limit || (!page.is_empty() && bytes > PAGE) {
                let next = last.as_ref().map(K::encode);
                return Ok((page, next.unwrap_or_default()));
            }
            page.push(entry);
            last = Some(key);
        }
        if ended {
            return Ok((page, Vec::new()));
        }
    }
}

/// The first `most` of `all` that stand after `after`; for lists without an order of their own.
pub fn first<K: Cursor + Ord, T>(
    all: impl Iterator<Item = (K, T)>,
    after: Option<&K>,
    most: usize,
) -> Vec<(K, T)> {
    let mut rest: Vec<(K, T)> = all
        .filter(|(key, _)| after.is_none_or(|after| key > after))
        .collect();
    if most < rest.len() {
        rest.select_nth_unstable_by(most, |(a, _), (b, _)| a.cmp(b));
        rest.truncate(most);
    }
    rest.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    rest
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

impl Cursor for EntryKey {
    fn encode(&self) -> Vec<u8> {
        let (key, waits) = self;
        let mut bytes = vec![key.kind.0, u8::from(*waits)];
        bytes.extend(key.origin.0.to_be_bytes());
        bytes.extend(key.id.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let &[kind, waits @ 0..=1, _, _, _, _, ..] = bytes else {
            return None;
        };
        let key = Key {
            kind: Kind(kind),
            origin: NodeId(u32::from_be_bytes(number(bytes, 2)?)),
            id: u64::from_be_bytes(number(bytes, 6)?),
        };
        (bytes.len() == 14).then_some((key, waits == 1))
    }
}

impl Cursor for (Topology, NodeId) {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.0 == Topology::Delay)];
        bytes.extend(self.1.0.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let &[topology, a, b, c, d] = bytes else {
            return None;
        };
        let topology = match topology {
            0 => Topology::Metric,
            1 => Topology::Delay,
            _ => return None,
        };
        Some((topology, NodeId(u32::from_be_bytes([a, b, c, d]))))
    }
}

impl Cursor for (Domain, NameBuf) {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.0.0.to_be_bytes().to_vec();
        bytes.extend(self.1.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (domain, name) = bytes.split_first_chunk()?;
        let name = Name::from_bytes(name).ok()?.to_owned();
        Some((Domain(u32::from_be_bytes(*domain)), name))
    }
}

/// A pod: its identity, then where it is. Its lease is a secret, and its attachment is another one after a restart of the dataplane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodKey {
    /// Who.
    pub identity: String,
    /// Pod port, address, UDP port.
    pub endpoint: (String, String, u16),
}

impl Cursor for PodKey {
    fn encode(&self) -> Vec<u8> {
        let (port, address, udp_port) = &self.endpoint;
        // None of them has a zero byte.
        [&self.identity, port, address, &udp_port.to_string()]
            .map(String::as_str)
            .join("\0")
            .into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.split('\0');
        let mut part = || parts.next().map(str::to_owned);
        let key = Self {
            identity: part()?,
            endpoint: (part()?, part()?, part()?.parse().ok()?),
        };
        parts.next().is_none().then_some(key)
    }
}

/// What authorities and the root said, one list after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatementKey {
    /// By gateway and id.
    Authorisation(NodeId, u64),
    /// By id.
    Revocation(u64),
    /// By id; by the root.
    RootRevocation(u64),
}

impl Cursor for StatementKey {
    fn encode(&self) -> Vec<u8> {
        let (list, node, id) = match *self {
            Self::Authorisation(node, id) => (1, node.0, id),
            Self::Revocation(id) => (2, 0, id),
            Self::RootRevocation(id) => (3, 0, id),
        };
        let mut bytes = vec![list];
        bytes.extend(u32::to_be_bytes(node));
        bytes.extend(u64::to_be_bytes(id));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let node = NodeId(u32::from_be_bytes(number(bytes, 1)?));
        let id = u64::from_be_bytes(number(bytes, 5)?);
        match (bytes.len(), bytes.first()?) {
            (13, 1) => Some(Self::Authorisation(node, id)),
            (13, 2) => Some(Self::Revocation(id)),
            (13, 3) => Some(Self::RootRevocation(id)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_proto::v1::PodInfo;

    impl Cursor for u32 {
        fn encode(&self) -> Vec<u8> {
            self.to_be_bytes().to_vec()
        }

        fn decode(bytes: &[u8]) -> Option<Self> {
            Some(Self::from_be_bytes(bytes.try_into().ok()?))
        }
    }

    fn entry(attachment: u32, length: usize) -> PodInfo {
        PodInfo {
            attachment,
            reason: "x".repeat(length),
            ..PodInfo::default()
        }
    }

    /// All pages of `count` entries of so many bytes, as entries per page.
    async fn pages(count: u32, length: usize, limit: u32) -> Vec<Vec<u32>> {
        let mut pages = Vec::new();
        let mut after = Vec::new();
        loop {
            let chunk = async |after: Option<u32>, most: usize| {
                assert!(most <= CHUNK);
                let from = after.map_or(0, |after| after + 1);
                let entries = (from..count).take(most);
                Ok(entries.map(|n| (n, entry(n, length))).collect())
            };
            let (entries, next) = page(limit, &after, chunk).await.unwrap();
            let bytes: usize = entries.iter().map(Message::encoded_len).sum();
            assert!(bytes <= PAGE || entries.len() == 1);
            pages.push(entries.iter().map(|one| one.attachment).collect());
            if next.is_empty() {
                return pages;
            }
            after = next;
        }
    }

    #[tokio::test]
    async fn every_entry_is_told_exactly_once() {
        assert_eq!(pages(0, 1, 0).await, [Vec::<u32>::new()]);
        assert_eq!(pages(3, 1, 1).await, [[0], [1], [2]]);
        assert_eq!(pages(4, 1, 2).await, [[0, 1], [2, 3]]);
        for (count, length, limit) in [
            (3 * CHUNK as u32, 1, 0),
            (5, PAGE, 0),
            (9, PAGE / 4, 0),
            (2_500, 10_000, 700),
        ] {
            let told: Vec<u32> = pages(count, length, limit).await.concat();
            assert!(told.iter().copied().eq(0..count), "{count} {length}");
        }
        assert_eq!(pages(5, PAGE, 0).await.len(), 5);
        assert_eq!(pages(3 * CHUNK as u32, 1, 0).await.len(), 1);
    }

    fn told<K: Cursor + PartialEq + std::fmt::Debug>(keys: &[K]) {
        for key in keys {
            let bytes = key.encode();
            assert!(K::decode(&bytes).as_ref() == Some(key), "{key:?}");
            assert_eq!(K::decode(&[&bytes[..], &[0]].concat()), None, "{key:?}");
            assert_eq!(K::decode(&bytes[..bytes.len() - 1]), None, "{key:?}");
        }
    }

    #[test]
    fn cursors_come_back_as_they_were() {
        let key = Key {
            kind: Kind(3),
            origin: NodeId(7),
            id: u64::MAX,
        };
        told(&[(key, true), (key, false)]);
        told(&[(Topology::Delay, NodeId(9)), (Topology::Metric, NodeId(0))]);
        told(&[(Domain(2), NameBuf::parse("/shop/a").unwrap())]);
        told(&[
            StatementKey::Authorisation(NodeId(1), 2),
            StatementKey::Revocation(3),
            StatementKey::RootRevocation(4),
        ]);
        let pod = PodKey {
            identity: "pod1/a".into(),
            endpoint: ("pod1".into(), "fd00::2".into(), 4_000),
        };
        assert_eq!(PodKey::decode(&pod.encode()), Some(pod));
        assert_eq!(PodKey::decode(b"pod1/a\0pod1"), None);
        assert_eq!(PodKey::decode(b"\xff"), None);
    }

    #[test]
    fn the_first_of_a_list_without_order() {
        let all = || [5, 1, 4, 2, 3].into_iter().map(|n: u32| (n, ()));
        let keys = |after, most| -> Vec<u32> {
            let found = first(all(), after, most);
            found.into_iter().map(|(key, ())| key).collect()
        };
        assert_eq!(keys(None, 2), [1, 2]);
        assert_eq!(keys(Some(&2), 2), [3, 4]);
        assert_eq!(keys(Some(&4), 9), [5]);
        assert!(keys(None, 0).is_empty());
    }
}
