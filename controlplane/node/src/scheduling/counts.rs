//! Reads what the dataplane counted of calls, once a second: sums since its start, of which the difference to the second before is told.

use std::collections::HashMap;
use std::time::Duration;

use dmsc_proto::v1;
use dmsc_wire::{Domain, NameBuf, NodeId};
use tokio::time::timeout;
use tracing::warn;

use super::entered::{Counted, Entered, Key};
use crate::agent::{Agent, AgentError};
use crate::handle::Handle;

/// A dataplane that takes longer is asked again in the next second.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most pages of one reading: more than a dataplane has.
const MAX_PAGES: usize = 64;
/// What is known of a prefix is forgotten after so many looks without traffic, one a second: later than the dataplane forgets it.
const FORGET: u64 = 1_800;

/// What was read last.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Of the dataplane's sums; `None` before the first reading.
    epoch: Option<u64>,
    reading: u64,
    looks: u64,
    known: HashMap<Key, Known>,
    /// Why the last reading failed: said once.
    failed: String,
}

/// Sums of one prefix.
#[derive(Debug, Default)]
struct Known {
    since: u64,
    /// Look that found it last.
    seen: u64,
    packets: u64,
    bytes: u64,
    requests: u64,
    members: HashMap<u32, (u64, u64)>,
    latency: HashMap<u32, u64>,
}

impl Counts {
    /// What entered since the last call; nothing at the first one, and without a dataplane. What is not told now is told later.
    pub async fn second(&mut self, handle: &Handle) -> Entered {
        let slot = handle.pods().dataplane.lock().await;
        let Some(agent) = slot.as_ref().map(|dataplane| dataplane.agent.clone()) else {
            return Entered::default();
        };
        drop(slot);
        let why = match timeout(PATIENCE, self.read(agent)).await {
            Ok(Ok(pages)) => {
                self.failed.clear();
                return self.take(pages);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the dataplane does not answer in time".to_owned(),
        };
        if why != self.failed {
            warn!("traffic is not measured: {why}");
            self.failed = why;
        }
        Entered::default()
    }

    /// All pages of what changed, or of everything where that began anew.
    async fn read(&self, mut agent: Agent) -> Result<Vec<v1::ListTrafficReply>, AgentError> {
        let mut request = v1::ListTrafficRequest {
            changed_since: self.reading,
            ..Default::default()
        };
        let mut pages: Vec<v1::ListTrafficReply> = Vec::new();
        while pages.len() < MAX_PAGES {
            let page = agent.traffic(request.clone()).await?;
            let is_new = Some(page.epoch) != self.epoch && request.changed_since != 0;
            if is_new || pages.first().is_some_and(|first| first.epoch != page.epoch) {
                request = v1::ListTrafficRequest::default();
                pages.clear();
                continue;
            }
            request.after.clone_from(&page.next);
            pages.push(page);
            if request.after.is_empty() {
                break;
            }
        }
        Ok(pages)
    }

    fn take(&mut self, pages: Vec<v1::ListTrafficReply>) -> Entered {
        let Some((epoch, reading)) = pages.first().map(|page| (page.epoch, page.reading)) else {
            return Entered::default();
        };
        match self.epoch {
            Some(known) if known == epoch => {}
            // Everything that it has was counted since.
            Some(_) => (self.reading, self.known) = (0, HashMap::new()),
            // What entered before this process began is not of this second.
            None => self.reading = reading,
        }
        self.epoch = Some(epoch);
        self.looks += 1;
        let mut entered = Entered::default();
        for service in pages.into_iter().flat_map(|page| page.services) {
            let Ok(name) = NameBuf::from_bytes(&service.name) else {
                continue;
            };
            let key = (Domain(service.domain), name);
            let counted = self.difference(&key, service);
            if counted != Counted::default() {
                entered.0.entry(key).or_default().merge(counted);
            }
        }
        self.reading = reading;
        if self.looks.is_multiple_of(FORGET / 4) {
            let now = self.looks;
            self.known.retain(|_, one| one.seen + FORGET > now);
        }
        entered
    }

    /// What came to a prefix since it was read last.
    fn difference(&mut self, key: &Key, service: v1::ServiceTraffic) -> Counted {
        let is_known = |one: &Known| one.since == service.since;
        let is_same = self.known.get(key).is_some_and(is_known);
        // Not known though it was there before: how much of it is new nobody can say.
        let is_base = !is_same && service.since <= self.reading;
        if !is_same {
            self.known.insert(key.clone(), Known::default());
        }
        let known = self.known.entry(key.clone()).or_default();
        (known.since, known.seen) = (service.since, self.looks);
        let mut counted = Counted {
            packets: rise(&mut known.packets, service.packets),
            bytes: rise(&mut known.bytes, service.bytes),
            requests: rise(&mut known.requests, service.requests),
            ..Counted::default()
        };
        for member in service.members {
            let (packets, bytes) = known.members.entry(member.gateway).or_default();
            let more = (rise(packets, member.packets), rise(bytes, member.bytes));
            if more != (0, 0) {
                counted.members.insert(NodeId(member.gateway), more);
            }
        }
        for bucket in service.latency {
            let count = known.latency.entry(bucket.from_us).or_default();
            let more = rise(count, bucket.count);
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            counted.latency.add_many(bucket.from_us, more);
        }
        if is_base { Counted::default() } else { counted }
    }
}

/// By how much a sum rose, which is known from now on; 0 if it fell.
fn rise(known: &mut u64, now: u64) -> u64 {
    let more = now.saturating_sub(*known);
    *known = now;
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(epoch: u64, reading: u64, rows: &[(&str, u64, u64)]) -> v1::ListTrafficReply {
        let services = rows.iter().map(|(text, since, bytes)| v1::ServiceTraffic {
            domain: 1,
            name: NameBuf::parse(text).unwrap().as_bytes().to_vec(),
            since: *since,
            packets: bytes / 100,
            bytes: *bytes,
            requests: bytes / 100,
            members: vec![v1::MemberCount {
                gateway: 4,
                packets: bytes / 100,
                bytes: *bytes,
                requests: 0,
            }],
            latency: vec![v1::LatencyBucket {
                from_us: 320,
                to_us: 336,
                count: bytes / 100,
            }],
            ..Default::default()
        });
        v1::ListTrafficReply {
            epoch,
            reading,
            services: services.collect(),
            ..Default::default()
        }
    }

    fn bytes(entered: &Entered) -> Vec<(String, u64)> {
        let all = entered.0.iter();
        all.map(|((_, name), one)| {
            assert_eq!(one.members[&NodeId(4)].1, one.bytes);
            assert_eq!(one.latency.count(), one.packets);
            (name.to_string(), one.bytes)
        })
        .collect()
    }

    #[test]
    fn differences_are_told_and_never_twice() {
        let mut counts = Counts::default();
        let mut take = |pages: &[v1::ListTrafficReply]| bytes(&counts.take(pages.to_vec()));
        let told = |text: &str, bytes| vec![(text.to_owned(), bytes)];
        assert_eq!(take(&[page(7, 50, &[("/a", 3, 1_000)])]), [], "of before");
        assert_eq!(take(&[page(7, 51, &[("/a", 3, 1_500)])]), told("/a", 500));
        assert_eq!(take(&[page(7, 52, &[])]), []);
        assert_eq!(take(&[page(7, 53, &[("/b", 53, 200)])]), told("/b", 200));
        // Forgotten by the dataplane and come again.
        assert_eq!(take(&[page(7, 700, &[("/a", 700, 100)])]), told("/a", 100));
        // Two pages, between which a second went by.
        let two = [
            page(7, 701, &[("/a", 700, 400)]),
            page(7, 702, &[("/b", 53, 300)]),
        ];
        assert_eq!(take(&two), [("/a".to_owned(), 300), ("/b".to_owned(), 100)]);
        // Another process: everything began at 0, whatever it was before.
        assert_eq!(take(&[page(8, 2, &[("/a", 1, 700)])]), told("/a", 700));
        assert_eq!(
            take(&[page(8, 3, &[("/a", 1, 650)])]),
            [],
            "none is negative"
        );
    }
}
