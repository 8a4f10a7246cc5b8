//! Any bytes as the payload of an error, hello or probe (first byte modulo 3), and as a whole packet: no panic,
//! and what is accepted is encoded again byte by byte.
#![no_main]

use dmsc_wire::*;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Message::parse(data);
    let Some((which, payload)) = data.split_first() else {
        return;
    };
    match which % 3 {
        0 => {
            if let Ok(message) = ErrorMessage::decode(payload) {
                assert_eq!(payload[16..], *message.offender);
                assert_eq!(message.code as u8, payload[0]);
            }
        }
        1 => {
            if let Ok(hello) = Hello::decode(payload) {
                assert_eq!(payload, hello.payload());
                let packet = hello.packet();
                let message = Message::parse(&packet).expect("a hello is a valid packet");
                assert_eq!(message.body, Body::Hello(hello));
            }
        }
        _ => {
            if let Ok(probe) = Probe::decode(payload) {
                assert_eq!(payload, probe.payload());
                let _ = probe.round_trip_ns();
            }
        }
    }
});
