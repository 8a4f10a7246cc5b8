//! How fast a router sees that its neighbour is gone.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::rig::pair::{assert_echoes, join, on_veth, routers, wired};
use crate::rig::{need_ports, within};

#[test]
fn a_killed_neighbour() {
    need_ports!();
    within(
        Duration::from_millis(250),
        "down after kill -9 of the neighbour",
        || {
            let (left, right) = wired();
            let (a, mut b) = routers(&left, &right);
            let (at_a, at_b) = on_veth();
            join(&a, &b, at_a, at_b);
            let mut events = a.agent.watch();
            events.adjacency(1, "up");
            let start = Instant::now();
            b.signal(Signal::SIGKILL);
            events.adjacency(1, "down");
            let time = start.elapsed();
            b.ended();
            time
        },
    );
}

#[test]
fn a_neighbour_that_says_farewell() {
    need_ports!();
    within(
        Duration::from_millis(60),
        "down after SIGTERM of the neighbour",
        || {
            let (left, right) = wired();
            let (a, mut b) = routers(&left, &right);
            let (at_a, at_b) = on_veth();
            join(&a, &b, at_a, at_b);
            let mut events = a.agent.watch();
            events.adjacency(1, "up");
            let start = Instant::now();
            b.signal(Signal::SIGTERM);
            events.adjacency(1, "down");
            let time = start.elapsed();
            assert!(b.ended().success());
            time
        },
    );
}

#[test]
fn a_link_that_loses_its_carrier() {
    need_ports!();
    let (left, right) = wired();
    let (a, b) = routers(&left, &right);
    let (at_a, at_b) = on_veth();
    join(&a, &b, at_a, at_b);
    let mut events = a.agent.watch();
    events.adjacency(1, "up");
    // One `ip` that waits for orders: starting it is not part of the time.
    let mut ip = Command::new("ip")
        .args(["-n", right.name(), "-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("ip");
    let mut orders = ip.stdin.take().expect("piped");
    within(
        Duration::from_millis(60),
        "down after loss of carrier",
        || {
            let start = Instant::now();
            writeln!(orders, "link set dev link down").expect("order");
            events.adjacency(1, "down");
            let time = start.elapsed();
            assert!(!a.agent.port("link").carrier);
            writeln!(orders, "link set dev link up").expect("order");
            events.adjacency(1, "up");
            assert!(a.agent.port("link").carrier);
            time
        },
    );
    drop(orders);
    assert!(ip.wait().expect("ip").success());
    // And it carries again.
    b.agent.watch().adjacency(1, "up");
    assert_echoes(&a, &b);
}
