//! Any bytes as a notice: known or not, by its first two bytes alone; proofs follow, and are judged where `proofs` does.
#![no_main]

use dmsc_http_fuzz::now;
use dmsc_quic::notice::{self, Notice};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let read = now(notice::read(&mut rest));
    match (read, data) {
        (Ok(Notice::Proofs), [1, 1, tail @ ..]) | (Ok(Notice::Drain), [1, 2, tail @ ..]) => {
            assert_eq!(rest, tail);
        }
        (Ok(Notice::Unknown), [version, kind, ..]) => {
            assert!(*version != 1 || !(1..=2).contains(kind));
        }
        (Err(_), [] | [_]) => {}
        (read, _) => panic!("{read:?}"),
    }
});
