//! Classes where a port has more to send than it may, or than its ring takes: who goes first, who is marked, who is dropped, and that nobody is
//! forgotten when the process ends or is replaced.

use std::time::{Duration, Instant};

use dmsc_proto::v1;
use dmsc_wire::{Class, Ecn, Header, Kind};
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use crate::rig::pair::{over_udp, program, serve, wired_with_pods};
use crate::rig::{Dataplane, Netns, Pod, Scratch, name, need_ports, wait_until};

const AF_PACKET: &str = "kind = \"af_packet\"\ninterface = \"link\"";
const PAYLOAD: [u8; 900] = [7; 900];

/// Gateway 1 with a pod that calls, a link, and gateway 2 with a pod that serves `/sink`.
struct Rig {
    caller: Pod,
    sink: Pod,
    one: Dataplane,
    two: Dataplane,
    _netns: [Netns; 4],
}

fn gateway(netns: &Netns, node: u32, link: &str, more: &str) -> Dataplane {
    let ports = format!(
        r#"
{more}
[[port]]
name = "link"
role = "router"
addresses = ["10.1.0.{}/31"]
{link}
[[port]]
name = "pod"
kind = "af_packet"
interface = "pod"
role = "pod"
addresses = ["10.2.{node}.1/24"]
budget_pps = 1000000
"#,
        node - 1
    );
    Dataplane::start(netns, node, "sg", &ports)
}

impl Rig {
    /// `links`: what stands in the port sections of the link; `more`: other sections of gateway 1.
    fn new(links: [&str; 2], more: &str, hello_ms: u32) -> Rig {
        let netns = wired_with_pods();
        let [left, right, near, far] = &netns;
        let one = gateway(left, 1, links[0], more);
        let two = gateway(right, 2, links[1], "");
        let hello = |local, remote| v1::Adjacency {
            hello_interval_ms: hello_ms,
            hello_multiplier: 20,
            ..over_udp("link", local, remote)
        };
        program(&one, 2, hello("10.1.0.0", "10.1.0.1"));
        program(&two, 1, hello("10.1.0.1", "10.1.0.0"));
        for dataplane in [&one, &two] {
            dataplane.agent.watch().adjacency(1, "up");
        }
        one.agent.apply(serve("/sink", 2));
        let caller = Pod::attach(&one, near, "pod", "10.2.1.2", "10.2.1.1", &[]);
        let sink = Pod::attach(&two, far, "pod", "10.2.2.2", "10.2.2.1", &["/sink"]);
        // All that comes at once fits.
        setsockopt(&sink.socket, RcvBufForce, &(16 << 20)).expect("as root");
        Rig {
            caller,
            sink,
            one,
            two,
            _netns: netns,
        }
    }

    /// Sends `count` calls of a class as fast as it can.
    fn send(&self, class: u8, count: usize) {
        for _ in 0..count {
            self.caller.send(Kind::Request, &name("/sink"), |p| {
                p.class(Class(class)).ecn(Ecn::Ect0).payload(&PAYLOAD)
            });
        }
    }

    /// The next `count` calls that arrive.
    fn arrivals(&self, count: usize) -> Vec<Header> {
        (0..count).map(|_| self.sink.answer().1).collect()
    }

    /// Packets of the caller and of the kernel that found no room on the link, by reason, and as its classes count them.
    fn lost(&self, reason: &str) -> [u64; 2] {
        let agent = &self.one.agent;
        let classes = agent.counters("link").classes;
        [
            agent.drops("pod", reason) + agent.drops("link", reason),
            classes.iter().map(|class| class.dropped).sum(),
        ]
    }

    fn class(&self, class: u32) -> v1::ClassCounters {
        let all = self.one.agent.counters("link").classes.into_iter();
        let mut found = all.filter(|counters| counters.class == class);
        found.next().unwrap_or_default()
    }

    /// Sets the rate of the link while gateway 1 runs.
    fn set_rate(&self, before: u32, after: u32) {
        let text = self.one.agent.config("dump", "").expect("dump").text;
        let (from, to) = (
            format!("rate_mbps = {before}\n"),
            format!("rate_mbps = {after}\n"),
        );
        let reply = self
            .one
            .agent
            .config("apply", &text.replacen(&from, &to, 1));
        let expected = format!("port \"link\".rate_mbps: {before} -> {after}");
        assert_eq!(reply.expect("apply").diff, [expected]);
        assert_eq!(self.one.agent.port("link").rate_mbps, after);
    }
}

#[test]
fn a_higher_class_overtakes_on_a_slow_port_and_the_lower_one_is_marked() {
    need_ports!();
    let rig = Rig::new([AF_PACKET, AF_PACKET], "", 100);
    // Without a rate nobody waits, and nothing is counted.
    rig.send(0, 20);
    assert_eq!(rig.arrivals(20).len(), 20);
    assert_eq!(rig.one.agent.counters("link").classes, []);
    rig.set_rate(0, 8);
    let start = Instant::now();
    rig.send(0, 150);
    rig.send(5, 1);
    let all = rig.arrivals(151);
    let took = start.elapsed();
    let place = all.iter().position(|header| header.class.0 == 5);
    // A call takes a millisecond. Sending takes a few, and more on a busy machine, but not all of them.
    assert!(place.expect("it came") < 120, "{place:?}");
    assert!(took > Duration::from_millis(120), "{took:?}");
    let marks = all.iter().filter(|header| header.ecn == Ecn::Ce);
    let marks: Vec<_> = marks.map(|header| header.class.0).collect();
    assert!(marks.iter().all(|class| *class == 0), "{marks:?}");
    let (low, high) = (rig.class(0), rig.class(5));
    // The kernel says something of its own now and then, in class 0.
    assert!(
        low.came >= 150 && low.sent >= 150 && low.dropped == 0,
        "{low:?}"
    );
    assert_eq!(low.marked, marks.len() as u64);
    assert_eq!((high.came, high.sent, high.marked), (1, 1, 0));
    // Hellos are class 7, and go through the same queues.
    wait_until("hellos", || rig.class(7).sent > 0);
    rig.one.agent.settled("pod", 171);

    // Far too much: what finds no room is dropped, and each packet is in one counter. A busy machine loses some before they come in.
    wait_until("class 0 is dropped", || {
        rig.send(0, 500);
        rig.class(0).dropped > 0
    });
    wait_until("drops are counted alike at both ends", || {
        let [lost, counted] = rig.lost("over-rate");
        lost == counted && rig.one.agent.settled("pod", 171).rx == rig.one.agent.counters("pod").rx
    });
    assert!(rig.class(0).marked > 0);

    // Without a rate again, what comes passes by.
    rig.set_rate(8, 0);
    let (came, before) = (rig.class(0).came, rig.one.agent.settled("pod", 171).rx);
    rig.send(0, 20);
    rig.one.agent.settled("pod", before + 20);
    assert_eq!(rig.class(0).came, came);
}

#[test]
fn who_waits_when_the_process_ends_or_is_replaced_is_sent() {
    need_ports!();
    for take_over in [false, true] {
        let slow = format!("{AF_PACKET}\nrate_mbps = 1");
        let mut rig = Rig::new([&slow, AF_PACKET], "", 100);
        rig.send(0, 80);
        wait_until("all 80 came to the queue", || rig.class(0).came >= 80);
        let low = rig.class(0);
        assert!(low.came - low.sent > 40, "a call takes 8 ms: {low:?}");
        let next = if take_over {
            Some(rig.one.successor())
        } else {
            rig.one.signal(Signal::SIGTERM);
            None
        };
        assert_eq!(rig.one.ended().code(), Some(0));
        assert_eq!(rig.arrivals(80).len(), 80, "take over: {take_over}");
        drop(next);
    }
}

#[test]
fn a_full_ring_makes_classes_wait() {
    need_ports!();
    let scratch = Scratch::new();
    let memif = |node: u32| {
        format!(
            "kind = \"memif\"\nsocket = {:?}\nserver = {}\nmac = \"02:00:00:00:00:0{node}\"",
            scratch.path("memif.sock"),
            node == 1
        )
    };
    let rig = Rig::new([&memif(1), &memif(2)], "", 1_000);
    // Gateway 2 stands still: its ring fills up, then the queue.
    rig.two.signal(Signal::SIGSTOP);
    let mut sent = 0;
    wait_until("the queue of class 0 is full", || {
        rig.send(0, 100);
        sent += 100;
        rig.class(0).dropped > 0
    });
    rig.send(5, 10);
    wait_until("class 5 waits", || rig.class(5).came == 10);
    let low = rig.class(0);
    assert_eq!(rig.class(5).dropped, 0);
    assert!(
        (256..272).contains(&(low.came - low.sent - low.dropped)),
        "as many as there is room for: {low:?}"
    );
    rig.two.signal(Signal::SIGCONT);
    let [lost, counted] = rig.lost("tx-ring-full");
    assert!(lost > 0 && lost == counted, "{lost} {counted}");
    let all = rig.arrivals(sent + 10 - rig.one.agent.drops("pod", "tx-ring-full") as usize);
    let place = |class| all.iter().position(|header| header.class.0 == class);
    let last_low = all.iter().rposition(|header| header.class.0 == 0);
    assert!(place(5) < last_low, "it overtook what waited");
    let before = rig.one.agent.settled("pod", sent as u64 + 10).rx;
    // Nothing waits any more: what comes passes by.
    let came = rig.class(0).came;
    rig.send(0, 5);
    rig.one.agent.settled("pod", before + 5);
    assert_eq!(rig.class(0).came, came);
}
