//! Any bytes as a notice: known or not, by its first two bytes alone; proofs follow, and are judged where `proofs` does; so do replicas, a bounded number.
#![no_main]

use dmsc_http_fuzz::now;
use dmsc_quic::notice::{self, Notice};
use dmsc_quic::replicas::{self, MAX_REPLICAS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let read = now(notice::read(&mut rest));
    match (read, data) {
        (Ok(Notice::Proofs), [1, 1, tail @ ..]) | (Ok(Notice::Drain), [1, 2, tail @ ..]) => {
            assert_eq!(rest, tail);
        }
        (Ok(Notice::Replicas), [1, 3, tail @ ..]) => {
            assert_eq!(rest, tail);
            if let Ok(all) = now(replicas::read(&mut rest)) {
                assert!(all.len() <= MAX_REPLICAS);
                assert_eq!(tail.len() - rest.len(), 2 + 3 * all.len());
            }
        }
        (Ok(Notice::Unknown), [version, kind, ..]) => {
            assert!(*version != 1 || !(1..=3).contains(kind));
        }
        (Err(_), [] | [_]) => {}
        (read, _) => panic!("{read:?}"),
    }
});
