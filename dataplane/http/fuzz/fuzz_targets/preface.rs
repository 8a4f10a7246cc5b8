//! Any bytes as a stream: read as a preface or not, as a plain reading of the format says, and not a byte of the program's with it.
#![no_main]

use dmsc_http::preface::{self, Kind};
use dmsc_http_fuzz::now;
use libfuzzer_sys::fuzz_target;

/// Extensions up to this are read over.
const EXTENSION: usize = 1_024;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let read = now(preface::read(&mut rest));
    let whole = match data {
        [1, 0, high, low, tail @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            tail.get(length..).map(|program| (length, program))
        }
        _ => None,
    };
    match (read, whole) {
        (Ok(Kind::Bytes), Some((_, program))) => assert_eq!(rest, program),
        (Err(_), Some((length, _))) => assert!(length > EXTENSION, "{length}"),
        (Err(_), None) => {}
        (Ok(kind), None) => panic!("{kind:?} of an incomplete preface"),
    }
});
