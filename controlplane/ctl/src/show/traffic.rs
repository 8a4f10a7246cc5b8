//! `show traffic`: what enters here of calls, by service prefix and member, as the difference of two readings.

use std::collections::BTreeMap;
use std::time::Duration;

use dmsc_proto::Page as _;
use dmsc_proto::v1::{ListTrafficReply, ListTrafficRequest, ServiceTraffic};
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
    /// Of the calls whose answers were looked out for, one in 64; since the start.
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
    #[serde(flatten)]
    times: TimesView,
}

/// From request to response at this gateway; `null`: none was measured.
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
        },
    }
}

fn prefix(before: &ServiceTraffic, now: &ServiceTraffic, seconds: f64) -> PrefixView {
    let member = |now: &dmsc_proto::v1::MemberCount| {
        let known = before.members.iter();
        let mut known = known.filter(|known| known.gateway == now.gateway);
        let known = known.next().cloned().unwrap_or_default();
        let packets = now.packets.saturating_sub(known.packets);
        MemberView {
            gateway: now.gateway,
            packets,
            bytes: now.bytes.saturating_sub(known.bytes),
            requests: now.requests.saturating_sub(known.requests),
            packets_per_second: packets as f64 / seconds,
        }
    };
    let members = now.members.iter().map(member);
    let packets = now.packets.saturating_sub(before.packets);
    PrefixView {
        domain: now.domain,
        prefix: text::name(&now.name),
        packets,
        bytes: now.bytes.saturating_sub(before.bytes),
        requests: now.requests.saturating_sub(before.requests),
        packets_per_second: packets as f64 / seconds,
        members: members.filter(|one| one.packets > 0).collect(),
        times: times(before, now),
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
        ">packets/s",
        ">bytes",
        ">p50 us",
        ">p99 us",
    ]);
    for prefix in &view.prefixes {
        // Times are known of the prefix, not of each member: they stand in its first row.
        let times = [prefix.times.p50_us, prefix.times.p99_us];
        let mut times = times.map(|time| figure(time.map(|us| us as f64), 0));
        for member in &prefix.members {
            let [p50, p99] = std::mem::take(&mut times);
            grid.row([
                prefix.domain.to_string(),
                prefix.prefix.clone(),
                member.gateway.to_string(),
                format!("{:.0}", member.packets_per_second),
                member.bytes.to_string(),
                p50,
                p99,
            ]);
        }
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_proto::v1::{LatencyBucket, MemberCount};

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
        assert_eq!(prefix.members[0].bytes, 100_000);
        // The prefix was forgotten and came again; the dataplane began anew.
        for now in [reading(7, 9, 150, 3_000_000_000), reading(8, 3, 150, 5)] {
            assert_eq!(difference(&before, &now).prefixes[0].packets, 150);
        }
        let quiet = difference(&before, &before);
        assert_eq!(quiet.prefixes, []);
        let silent = ServiceTraffic::default();
        assert_eq!(times(&silent, &silent), TimesView::default());
    }
}
