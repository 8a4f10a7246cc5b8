//! `show traffic`: what enters here of calls, by service prefix, member and next hop, as the difference of two readings.

use std::collections::BTreeMap;
use std::time::Duration;

use dmsc_proto::Page as _;
use dmsc_proto::v1::{
    ListTrafficReply, ListTrafficRequest, MemberCount, NextHopCount, ServiceTraffic,
};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::cli::TrafficArgs;
use crate::failure::Failure;
use crate::output::{Grid, Output};
use crate::text::{self, figure};

/// JSON of `show traffic`.
#[derive(Debug, PartialEq, Serialize)]
pub struct TrafficView {
    interval_s: f64,
    prefixes: Vec<PrefixView>,
    /// Calls whose prefix or member found no room in the counters, in the interval.
    other_packets: u64,
    other_bytes: u64,
    /// Of the calls whose answers were looked out for, one in 64, and of those over QUIC; since the start.
    answers: AnswersView,
}

/// One prefix over the interval.
#[derive(Debug, PartialEq, Serialize)]
struct PrefixView {
    domain: u32,
    prefix: String,
    packets: u64,
    bytes: u64,
    requests: u64,
    packets_per_second: f64,
    members: Vec<MemberView>,
    /// The same again, by the next hop by which it left.
    next_hops: Vec<NextHopView>,
    #[serde(flatten)]
    times: TimesView,
}

/// From request to response at this gateway, or, over QUIC, at its pods; `null`: none was measured.
#[derive(Debug, Default, PartialEq, Serialize)]
struct TimesView {
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    answers: u64,
}

/// One member of it.
#[derive(Debug, PartialEq, Serialize)]
struct MemberView {
    gateway: u32,
    #[serde(flatten)]
    count: CountView,
}

/// What left for one member by one next hop.
#[derive(Debug, PartialEq, Serialize)]
struct NextHopView {
    gateway: u32,
    /// `null`: to a pod here.
    adjacency: Option<u32>,
    /// Node at its other end.
    peer: Option<u32>,
    #[serde(flatten)]
    count: CountView,
}

/// How much it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct CountView {
    packets: u64,
    bytes: u64,
    requests: u64,
    packets_per_second: f64,
}

/// What became of the calls that were looked out for.
#[derive(Debug, PartialEq, Serialize)]
struct AnswersView {
    matched: u64,
    /// Received by another worker than the request, or for the second time.
    unmatched: u64,
    unanswered: u64,
    /// Without room.
    crowded: u64,
    /// Over QUIC, as pods here told how long they took: all of them.
    told: u64,
}

/// Reads, waits, reads again and prints.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(
    agent: &mut Agent,
    args: &TrafficArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let before = read(agent).await?;
    sleep(args.interval.max(Duration::from_millis(1))).await;
    let view = difference(&before, &read(agent).await?);
    if output.is_json() {
        return Ok(output.document(&view)?);
    }
    output.table(&grid(&view), "no calls entered here in the interval")?;
    if view.other_packets > 0 {
        output.line(&format!(
            "{} packets of other prefixes: more had traffic than are counted apart",
            view.other_packets
        ))?;
    }
    Ok(())
}

async fn read(agent: &mut Agent) -> Result<ListTrafficReply, Failure> {
    let mut request = ListTrafficRequest::default();
    let mut all = agent.client.list_traffic(request.clone()).await?;
    let all = all.get_mut();
    loop {
        request.after = all.take_next();
        if request.after.is_empty() {
            return Ok(std::mem::take(all));
        }
        let next = agent.client.list_traffic(request.clone()).await?;
        let mut next = next.into_inner();
        let rest = next.take_next();
        all.append(next);
        all.next = rest;
    }
}

fn difference(before: &ListTrafficReply, now: &ListTrafficReply) -> TrafficView {
    let none = ListTrafficReply::default();
    // Another process of the dataplane: all that it has came in the meantime.
    let before = if before.epoch == now.epoch {
        before
    } else {
        &none
    };
    let seconds = match now.read_ns.checked_sub(before.read_ns) {
        Some(ns) if before.read_ns > 0 && ns > 0 => ns as f64 / 1e9,
        _ => 1.0,
    };
    let key = |one: &ServiceTraffic| (one.domain, one.name.clone());
    let known: BTreeMap<_, _> = before.services.iter().map(|one| (key(one), one)).collect();
    let silent = ServiceTraffic::default();
    let of = |one: &ServiceTraffic| {
        let known = known.get(&key(one)).copied();
        let known = known.filter(|known| known.since == one.since);
        prefix(known.unwrap_or(&silent), one, seconds)
    };
    let prefixes = now.services.iter().map(of);
    TrafficView {
        interval_s: seconds,
        prefixes: prefixes.filter(|one| one.packets > 0).collect(),
        other_packets: now.other_packets.saturating_sub(before.other_packets),
        other_bytes: now.other_bytes.saturating_sub(before.other_bytes),
        answers: AnswersView {
            matched: now.answers_matched,
            unmatched: now.answers_unmatched,
            unanswered: now.calls_unanswered,
            crowded: now.calls_crowded,
            told: now.answers_told,
        },
    }
}

fn prefix(before: &ServiceTraffic, now: &ServiceTraffic, seconds: f64) -> PrefixView {
    let member = |now: &MemberCount| {
        let mut known = before.members.iter();
        let known = known.find(|known| known.gateway == now.gateway);
        let sums = |one: &MemberCount| [one.packets, one.bytes, one.requests];
        MemberView {
            gateway: now.gateway,
            count: count(known.map(sums), sums(now), seconds),
        }
    };
    let members = now.members.iter().map(member);
    let next_hop = |now: &NextHopCount| {
        let way = |one: &NextHopCount| (one.gateway, one.adjacency, one.peer);
        let known = before.next_hops.iter().find(|known| way(known) == way(now));
        let sums = |one: &NextHopCount| [one.packets, one.bytes, one.requests];
        let some = |id: u32| (id != 0).then_some(id);
        NextHopView {
            gateway: now.gateway,
            adjacency: some(now.adjacency),
            peer: some(now.peer),
            count: count(known.map(sums), sums(now), seconds),
        }
    };
    let next_hops = now.next_hops.iter().map(next_hop);
    let packets = now.packets.saturating_sub(before.packets);
    PrefixView {
        domain: now.domain,
        prefix: text::name(&now.name),
        packets,
        bytes: now.bytes.saturating_sub(before.bytes),
        requests: now.requests.saturating_sub(before.requests),
        packets_per_second: packets as f64 / seconds,
        members: members.filter(|one| one.count.packets > 0).collect(),
        next_hops: next_hops.filter(|one| one.count.packets > 0).collect(),
        times: times(before, now),
    }
}

/// Packets, bytes and requests over the interval.
fn count(before: Option<[u64; 3]>, now: [u64; 3], seconds: f64) -> CountView {
    let before = before.unwrap_or_default();
    let more = |at: usize| now[at].saturating_sub(before[at]);
    CountView {
        packets: more(0),
        bytes: more(1),
        requests: more(2),
        packets_per_second: more(0) as f64 / seconds,
    }
}

/// Of the answers of the interval, each in the middle of its bucket.
fn times(before: &ServiceTraffic, now: &ServiceTraffic) -> TimesView {
    // Three digits, many more than buckets have; the bounds are constants that it takes.
    let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, u32::MAX.into(), 3) else {
        return TimesView::default();
    };
    for bucket in &now.latency {
        let known = before.latency.iter();
        let mut known = known.filter(|known| known.from_us == bucket.from_us);
        let known = known.next().map_or(0, |known| known.count);
        let middle = u64::from(bucket.from_us).midpoint(bucket.to_us.into());
        histogram.saturating_record_n(middle, bucket.count.saturating_sub(known));
    }
    let at = |share| (!histogram.is_empty()).then(|| histogram.value_at_quantile(share));
    TimesView {
        p50_us: at(0.5),
        p99_us: at(0.99),
        answers: histogram.len(),
    }
}

fn grid(view: &TrafficView) -> Grid {
    let mut grid = Grid::new(&[
        ">domain",
        "prefix",
        ">member",
        "next hop",
        ">packets/s",
        ">bytes",
        ">p50 us",
        ">p99 us",
    ]);
    for prefix in &view.prefixes {
        // Times are known of the prefix, not of each way: they stand in its first row.
        let times = [prefix.times.p50_us, prefix.times.p99_us];
        let mut times = times.map(|time| figure(time.map(|us| us as f64), 0));
        for (gateway, next_hop, count) in rows(prefix) {
            let [p50, p99] = std::mem::take(&mut times);
            grid.row([
                prefix.domain.to_string(),
                prefix.prefix.clone(),
                gateway.to_string(),
                next_hop,
                format!("{:.0}", count.packets_per_second),
                count.bytes.to_string(),
                p50,
                p99,
            ]);
        }
    }
    grid
}

/// Of a prefix by member and next hop; by member alone where a dataplane does not tell more.
fn rows(prefix: &PrefixView) -> Vec<(u32, String, CountView)> {
    if prefix.next_hops.is_empty() {
        let members = prefix.members.iter();
        return members
            .map(|one| (one.gateway, "-".to_owned(), one.count))
            .collect();
    }
    let row = |one: &'_ NextHopView| match (one.adjacency, one.peer) {
        (Some(adjacency), peer) => format!("{adjacency} (node {})", peer.unwrap_or(0)),
        (None, _) => "a pod here".to_owned(),
    };
    let next_hops = prefix.next_hops.iter();
    let mut rows: Vec<_> = next_hops
        .map(|one| (one.gateway, row(one), one.count))
        .collect();
    // More than a dataplane tells apart.
    for member in &prefix.members {
        let mut rest = member.count;
        for (_, _, count) in rows.iter().filter(|row| row.0 == member.gateway) {
            rest.packets = rest.packets.saturating_sub(count.packets);
            rest.bytes = rest.bytes.saturating_sub(count.bytes);
            rest.packets_per_second -= count.packets_per_second;
        }
        if rest.packets > 0 {
            rows.push((member.gateway, "others".to_owned(), rest));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_proto::v1::LatencyBucket;

    fn reading(epoch: u64, since: u64, calls: u64, read_ns: u64) -> ListTrafficReply {
        let name = b"\x01a".to_vec();
        ListTrafficReply {
            epoch,
            read_ns,
            services: vec![ServiceTraffic {
                domain: 1,
                name,
                since,
                packets: calls,
                bytes: calls * 100,
                requests: calls,
                members: vec![MemberCount {
                    gateway: 4,
                    packets: calls,
                    bytes: calls * 100,
                    requests: calls,
                }],
                next_hops: [(1, 5, calls - calls / 4), (2, 6, calls / 4)]
                    .map(|(adjacency, peer, calls)| NextHopCount {
                        gateway: 4,
                        adjacency,
                        peer,
                        packets: calls,
                        bytes: calls * 100,
                        requests: calls,
                    })
                    .into(),
                latency: vec![
                    LatencyBucket {
                        from_us: 96,
                        to_us: 100,
                        count: calls,
                    },
                    LatencyBucket {
                        from_us: 1_000,
                        to_us: 1_064,
                        count: calls / 10,
                    },
                ],
            }],
            ..ListTrafficReply::default()
        }
    }

    #[test]
    fn rates_are_differences_of_one_beginning() {
        let before = reading(7, 3, 100, 1_000_000_000);
        let view = difference(&before, &reading(7, 3, 1_100, 3_000_000_000));
        let [prefix] = &view.prefixes[..] else {
            panic!("{view:?}")
        };
        assert_eq!(prefix.prefix, "/a");
        assert_eq!((prefix.packets, prefix.packets_per_second), (1_000, 500.0));
        let told = &prefix.times;
        assert_eq!((told.p50_us, told.p99_us), (Some(98), Some(1_032)));
        assert_eq!(told.answers, 1_100);
        assert_eq!(prefix.members[0].count.bytes, 100_000);
        let hops = prefix.next_hops.iter();
        let hops: Vec<_> = hops
            .map(|one| (one.adjacency, one.peer, one.count.packets))
            .collect();
        assert_eq!(
            hops,
            [(Some(1), Some(5), 750), (Some(2), Some(6), 250)],
            "together what the member has"
        );
        // The prefix was forgotten and came again; the dataplane began anew.
        for now in [reading(7, 9, 150, 3_000_000_000), reading(8, 3, 150, 5)] {
            assert_eq!(difference(&before, &now).prefixes[0].packets, 150);
        }
        // An adjacency with the same id that leads elsewhere by now is another.
        let mut elsewhere = reading(7, 3, 1_100, 3_000_000_000);
        elsewhere.services[0].next_hops[1].peer = 9;
        let view = difference(&before, &elsewhere);
        assert_eq!(view.prefixes[0].next_hops[1].count.packets, 275);
        // A dataplane that knows nothing of next hops.
        elsewhere.services[0].next_hops.clear();
        let view = difference(&before, &elsewhere);
        let [(4, hop, count)] = &rows(&view.prefixes[0])[..] else {
            panic!("{view:?}")
        };
        assert_eq!((hop.as_str(), count.packets), ("-", 1_000));
        let quiet = difference(&before, &before);
        assert_eq!(quiet.prefixes, []);
        let silent = ServiceTraffic::default();
        assert_eq!(times(&silent, &silent), TimesView::default());
    }
}
