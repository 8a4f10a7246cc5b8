//! Reports merge in any order, and come over the wire as they were, in at most 100 bytes each.

use dmsc_linkstate::action::Topology;
use dmsc_scsc::backlog::{Backlog, Second};
use dmsc_scsc::report::MAX_BYTES;
use dmsc_scsc::stream::{Decoder, Encoder};
use dmsc_scsc::{Health, Histogram, LinkKey, Pair, Report};
use dmsc_wire::{NodeId, PortId};
use proptest::prelude::*;

fn histogram() -> impl Strategy<Value = Histogram> {
    let times = prop::collection::vec(prop_oneof![0..100u32, 0..200_000u32, any::<u32>()], 0..200);
    (times, 0..4usize).prop_map(|(times, coarser)| {
        let mut histogram = Histogram::default();
        times.into_iter().for_each(|time| histogram.add(time));
        for _ in 0..coarser {
            histogram.coarsen();
        }
        histogram
    })
}

fn report() -> impl Strategy<Value = Report> {
    let health = prop_oneof![
        Just(Health::Healthy),
        Just(Health::Draining),
        Just(Health::Overloaded)
    ];
    let gauges = (
        any::<u64>(),
        any::<u64>(),
        any::<u32>(),
        any::<u16>(),
        0..2_000u32,
        health,
    );
    (histogram(), histogram(), any::<u16>(), 0..20u32, gauges).prop_map(
        |(delay, variation, span, lost, (bytes, available, node, port, load, health))| {
            let answered = delay.count() as u32;
            Report {
                span_ms: span.into(),
                sent: answered + lost,
                answered,
                delay,
                variation,
                bytes: bytes >> 1,
                available_kbps: available,
                narrowest: LinkKey {
                    node: NodeId(node),
                    port: PortId(port),
                },
                load_permille: load,
                health,
            }
        },
    )
}

fn pair(member: u32, topology: Topology) -> Pair {
    Pair {
        gateway: NodeId(1),
        member: NodeId(member),
        topology,
    }
}

fn merged(reports: &[&Report]) -> Report {
    let mut all = Report::default();
    reports.iter().for_each(|report| all.merge(report));
    all
}

/// What survives that histograms may be coarsened on the way.
fn counts(report: &Report) -> (u32, u32, u64, u64, u64, u64) {
    let (delay, variation) = (report.delay.count(), report.variation.count());
    let gauges = (report.bytes, report.available_kbps);
    (
        report.sent,
        report.answered,
        delay,
        variation,
        gauges.0,
        gauges.1,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merging_is_associative_and_commutative(a in report(), b in report(), c in report()) {
        let left = merged(&[&merged(&[&a, &b]), &c]);
        let right = merged(&[&a, &merged(&[&b, &c])]);
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(&left, &merged(&[&c, &b, &a]));
        prop_assert_eq!(&merged(&[&a]), &a);
    }

    #[test]
    fn a_stream_says_what_was_measured(
        reports in prop::collection::vec((1..5u32, any::<bool>(), report()), 1..40),
        batch in 1..10usize,
    ) {
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new(NodeId(1));
        for reports in reports.chunks(batch) {
            let mut bytes = Vec::new();
            for (member, by_delay, report) in reports {
                let topology = if *by_delay { Topology::Delay } else { Topology::Metric };
                let before = bytes.len();
                encoder.push(pair(*member, topology), report, &mut bytes).unwrap();
                prop_assert!(bytes.len() - before <= MAX_BYTES, "{}", bytes.len() - before);
            }
            let mut read = Vec::new();
            decoder.read(&bytes, |pair, report| read.push((pair, report.clone()))).unwrap();
            prop_assert_eq!(read.len(), reports.len());
            for ((pair, read), (member, _, sent)) in read.iter().zip(reports) {
                prop_assert_eq!(pair.member, NodeId(*member));
                prop_assert_eq!(counts(read), counts(sent));
                let middle = |report: &Report| report.delay.quantile(500);
                prop_assert_eq!(middle(read).is_some(), middle(sent).is_some());
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = Decoder::new(NodeId(1));
        let mut read = 0;
        let done = decoder.read(&bytes, |_, report| {
            read += 1;
            // Whatever was accepted can be asked and merged.
            let mut twice = report.clone();
            twice.merge(report);
            let _ = (twice.delay.quantile(990), twice.delay.mean());
        });
        prop_assert!(done.is_ok() || read <= bytes.len());
    }

    #[test]
    fn a_backlog_without_room_loses_no_probe(
        reports in prop::collection::vec((1..4u32, report()), 1..60),
        room in 2..8usize,
    ) {
        let mut backlog = Backlog::new(room);
        let mut sent = 0u64;
        for (member, report) in &reports {
            sent += u64::from(report.sent);
            let second = Second::from([(pair(*member, Topology::Metric), report.clone())]);
            backlog.push(second);
        }
        prop_assert!(backlog.iter().count() <= room);
        let left: u64 = backlog
            .iter()
            .flat_map(|(_, second)| second.values())
            .map(|report| u64::from(report.sent))
            .sum();
        prop_assert_eq!(left, sent);
        prop_assert_eq!(backlog.merged() as usize, reports.len().saturating_sub(room));
        backlog.acknowledge(reports.len() as u64);
        prop_assert_eq!(backlog.iter().count(), 0);
    }
}

#[test]
fn a_quiet_pair_costs_a_few_bytes_a_second() {
    let mut encoder = Encoder::new();
    let mut bytes = Vec::new();
    let mut before = None;
    for second in 0..60u32 {
        let mut report = Report {
            span_ms: 1_000,
            bytes: 1_250_000 + u64::from(second * 7_919 % 10_000),
            available_kbps: 9_000_000 - u64::from(second * 104_729 % 50_000),
            ..Report::default()
        };
        let micros = 20_000 + second * 1_299_709 % 300;
        report.answer(micros, before.replace(micros));
        let pair = pair(2, Topology::Metric);
        encoder.push(pair, &report, &mut bytes).unwrap();
    }
    assert!(
        bytes.len() / 60 <= 20,
        "{} bytes a second",
        bytes.len() / 60
    );
}
