use std::net::SocketAddr;

use super::*;
use crate::http::column::{Protocol, host};
use crate::http::server;

/// A server on a thread of its own, for the life of the test process.
fn serve(size: usize) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let listen = "127.0.0.1:0".parse().expect("an address");
        server::run(listen, size, |address| {
            tell.send(address).expect("a test waits")
        })
    });
    told.recv().expect("the server listens")
}

fn load(target: SocketAddr, protocol: Protocol, pace: Pace) -> Load {
    Load {
        target: Target::Address(target),
        question: Question {
            protocol,
            hosts: vec![host(0), host(1)],
            size: 1_024,
        },
        pace,
        warm_up: 0.05,
        seconds: 0.3,
    }
}

#[test]
fn both_loops_get_right_answers_of_both_protocols() {
    let target = serve(1_024);
    for protocol in Protocol::ALL {
        let loaded = run(&load(target, protocol, Pace::Closed(4)), || ()).expect("closed");
        assert!(loaded.seen.answered > 10, "{protocol:?} {:?}", loaded.seen);
        assert_eq!(loaded.seen.failed, 0, "{:?}", loaded.seen.reasons);
        let loaded = run(&load(target, protocol, Pace::Open(500)), || ()).expect("open");
        let seen = &loaded.seen;
        assert_eq!(seen.answered + seen.unanswered, 150, "{seen:?}");
        assert_eq!(seen.failed, 0, "{:?}", seen.reasons);
    }
}

#[test]
fn an_answer_of_the_wrong_length_is_a_failure() {
    let target = serve(10);
    for protocol in Protocol::ALL {
        let load = load(target, protocol, Pace::Closed(1));
        let error = run(&load, || ()).expect_err("no right answer").to_string();
        assert!(error.contains("another length"), "{error}");
        probe(&load.target, &load.question).expect_err("no right answer");
    }
}

#[test]
fn nobody_there_is_said() {
    let target = "127.0.0.1:1".parse().expect("an address");
    let load = load(target, Protocol::H1, Pace::Closed(1));
    let error = format!("{:#}", run(&load, || ()).expect_err("nobody"));
    assert!(error.contains("cannot reach 127.0.0.1:1"), "{error}");
}
