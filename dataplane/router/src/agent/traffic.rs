//! Traffic by prefix, member and next hop, in pages, and answers that pods tell.

use dmsc_proto::{
    ANSWERED_BUCKETS as BUCKETS, ANSWERED_CALLS as CALLS, ANSWERED_NAMES as NAMES, Latency, v1,
};
use dmsc_wire::{Domain, NameBuf, NodeId};
use tonic::Status;

use crate::traffic::{Account, Accounts, Collector, NextHop, Sum};

/// Most prefixes of a page.
const PAGE: usize = 4_096;

/// One page.
///
/// # Errors
/// When the mark of the page before is none.
pub(super) async fn list(
    collector: &Collector,
    request: &v1::ListTrafficRequest,
) -> Result<v1::ListTrafficReply, Status> {
    let after = match request.after.as_slice() {
        [] => None,
        mark => Some(read_mark(mark)?),
    };
    let most = match request.limit as usize {
        0 => PAGE,
        limit => limit.min(PAGE),
    };
    let page = |accounts: &Accounts| {
        let mut changed = accounts.changed(request.changed_since, after.as_ref());
        let services: Vec<_> = changed.by_ref().take(most).map(service).collect();
        let next = match (changed.next(), services.last()) {
            (Some(_), Some(last)) => mark(last),
            _ => Vec::new(),
        };
        let (other, answers) = (accounts.other(), accounts.answers());
        v1::ListTrafficReply {
            epoch: collector.epoch(),
            reading: accounts.reading(),
            read_ns: accounts.read_ns(),
            services,
            next,
            other_packets: other.packets,
            other_bytes: other.bytes,
            answers_matched: answers.matched,
            answers_unmatched: answers.unmatched,
            calls_unanswered: answers.unanswered,
            calls_crowded: answers.crowded,
            answers_told: answers.told,
        }
    };
    Ok(collector.ask(page).await)
}

/// Adds answers of which pods tell.
///
/// # Errors
/// What is wrong with the request, of which nothing is added then.
pub(super) async fn add_answers(
    collector: &Collector,
    request: &v1::AddAnswersRequest,
) -> Result<v1::AddAnswersReply, Status> {
    if request.calls.len() > NAMES {
        return Err(Status::invalid_argument(format!(
            "calls: {} names; at most {NAMES} at a time",
            request.calls.len()
        )));
    }
    let calls = request.calls.iter().enumerate().map(told);
    let calls = calls.collect::<Result<Vec<_>, _>>()?;
    let add = |accounts: &mut Accounts| {
        let domain = Domain(request.domain);
        let added = calls
            .iter()
            .filter(|(name, latency)| accounts.tell(domain, name.as_name(), latency));
        added.map(|(_, latency)| latency.count()).sum()
    };
    let added = collector.tell(add).await;
    Ok(v1::AddAnswersReply { added })
}

fn told((at, calls): (usize, &v1::AnsweredCalls)) -> Result<(NameBuf, Latency), Status> {
    let wrong = |what: String| Status::invalid_argument(format!("calls[{at}]: {what}"));
    let name = NameBuf::from_bytes(&calls.name);
    let name = name.map_err(|error| wrong(format!("name: not canonical: {error}")))?;
    if calls.latency.len() > BUCKETS {
        let count = calls.latency.len();
        return Err(wrong(format!(
            "latency: {count} buckets; at most {BUCKETS}"
        )));
    }
    let mut latency = Latency::default();
    for bucket in &calls.latency {
        if bucket.count > CALLS {
            let count = bucket.count;
            return Err(wrong(format!(
                "latency: {count} calls in a bucket; at most {CALLS}"
            )));
        }
        latency.add_many(bucket.from_us, bucket.count);
    }
    Ok((name, latency))
}

fn service(((domain, name), account): (&(Domain, NameBuf), &Account)) -> v1::ServiceTraffic {
    let members = account.members.iter();
    v1::ServiceTraffic {
        domain: domain.0,
        name: name.as_bytes().to_vec(),
        since: account.since,
        packets: account.sum.packets,
        bytes: account.sum.bytes,
        requests: account.sum.requests,
        members: members
            .map(|(gateway, sum)| v1::MemberCount {
                gateway: gateway.0,
                packets: sum.packets,
                bytes: sum.bytes,
                requests: sum.requests,
            })
            .collect(),
        next_hops: account.ways.iter().map(next_hop).collect(),
        latency: account.latency.to_proto(),
    }
}

fn next_hop(((gateway, hop), sum): &((NodeId, NextHop), Sum)) -> v1::NextHopCount {
    v1::NextHopCount {
        gateway: gateway.0,
        adjacency: hop.adjacency.0.into(),
        peer: hop.peer.0,
        packets: sum.packets,
        bytes: sum.bytes,
        requests: sum.requests,
    }
}

/// Domain and name of the last of a page.
fn mark(last: &v1::ServiceTraffic) -> Vec<u8> {
    [&last.domain.to_be_bytes(), last.name.as_slice()].concat()
}

fn read_mark(mark: &[u8]) -> Result<(Domain, NameBuf), Status> {
    let wrong = || Status::invalid_argument("after: give the field next of the page before");
    let (domain, name) = mark.split_first_chunk().ok_or_else(wrong)?;
    let name = NameBuf::from_bytes(name).map_err(|_| wrong())?;
    Ok((Domain(u32::from_be_bytes(*domain)), name))
}
