//! Traffic by prefix, member and next hop, in pages.

use dmsc_proto::v1;
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
        }
    };
    Ok(collector.ask(page).await)
}

fn service(((domain, name), account): (&(Domain, NameBuf), &Account)) -> v1::ServiceTraffic {
    let members = account.members.iter();
    let latency = account.latency.buckets();
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
        latency: latency
            .map(|(from_us, to_us, count)| v1::LatencyBucket {
                from_us,
                to_us,
                count,
            })
            .collect(),
    }
}

fn next_hop(((gateway, hop), sum): (&(NodeId, NextHop), &Sum)) -> v1::NextHopCount {
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
