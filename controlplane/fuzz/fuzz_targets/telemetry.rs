//! Any bytes as the telemetry of a gateway, in several messages: read or refused, without a panic; what is read is encoded and read again as the same, and
//! whatever it says, the engine keeps shares whole.
#![no_main]

use std::time::Duration;

use dmsc_scsc::stream::{Decoder, Encoder};
use dmsc_scsc::{Level, Scsc, ScscConfig, Thresholds};
use dmsc_wire::{Domain, NameBuf, NodeId};
use libfuzzer_sys::fuzz_target;

const GATEWAY: NodeId = NodeId(9);

fn engine() -> Scsc {
    let level = |raise, clear| Some(Level { raise, clear });
    let thresholds = Thresholds {
        delay_us: level(20_000, 10_000),
        variation_us: level(20_000, 10_000),
        loss_ppm: level(20_000, 5_000),
        available_kbps: level(1_000, 2_000),
        load_permille: level(800, 600),
    };
    let config = ScscConfig { step_permille: 1_000, ..ScscConfig::default() };
    let mut engine = Scsc::new(config).expect("good numbers");
    let group = engine.group(Domain(1), NameBuf::parse("/a").expect("a name"), thresholds);
    engine.caller(group, GATEWAY, &[NodeId(1), NodeId(2), NodeId(3)], &[NodeId(1)]);
    engine.traffic(group, GATEWAY, 1_000);
    engine
}

fuzz_target!(|data: &[u8]| {
    let mut engine = engine();
    let (mut first, mut second) = (Decoder::new(GATEWAY), Decoder::new(GATEWAY));
    let mut encoder = Encoder::new();
    let mut now = Duration::from_secs(1);
    let mut rest = data;
    while let Some((&length, tail)) = rest.split_first() {
        let (message, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        now += Duration::from_millis(700);
        let mut reports = Vec::new();
        let read = first.read(message, |pair, report| reports.push((pair, report.clone())));
        let mut again = Vec::new();
        for (pair, report) in &reports {
            let before = again.len();
            encoder.push(*pair, report, &mut again).expect("few pairs");
            assert!(again.len() - before <= dmsc_scsc::report::MAX_BYTES);
            engine.report(now, *pair, report);
        }
        let mut at = 0;
        second
            .read(&again, |pair, report| {
                assert_eq!(pair, reports[at].0);
                assert_eq!(report.answered, reports[at].1.answered);
                assert_eq!(report.delay.count(), reports[at].1.delay.count());
                at += 1;
            })
            .expect("what an encoder wrote");
        assert_eq!(at, reports.len());
        for order in engine.step(now) {
            let sum: u32 = order.policy.shares.iter().map(|share| u32::from(share.weight)).sum();
            assert!(order.policy.ttl.is_zero() || sum == 1_000);
        }
        if read.is_err() {
            return;
        }
    }
});
