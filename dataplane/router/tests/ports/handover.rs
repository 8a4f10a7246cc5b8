//! A new process takes over from the one that runs, under traffic; and all the ways in which it may not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dmsc_proto::v1;
use dmsc_proto::v1::op::Op;
use dmsc_wire::Kind;
use tonic::Code;

use crate::rig::pair::{over_udp, program, serve, wired_with_pods};
use crate::rig::{Dataplane, Netns, PATIENCE, Pod, name, need_ports, within};

const INTERVAL: Duration = Duration::from_millis(1);

/// Gateways 1 and 2 with a pod each and a veth between them.
struct Pair {
    left: Netns,
    right: Netns,
    near: Netns,
    far: Netns,
    one: Dataplane,
    two: Dataplane,
}

fn gateway(netns: &Netns, node: u32, more: &str) -> Dataplane {
    let ports = format!(
        r#"
[[port]]
name = "link"
kind = "af_packet"
interface = "link"
role = "router"
addresses = ["10.1.0.{}/31", "fd01::{node}/64"]
[[port]]
name = "pod"
kind = "af_packet"
interface = "pod"
role = "pod"
addresses = ["10.2.{node}.1/24"]
{more}"#,
        node - 1
    );
    Dataplane::start(netns, node, "sg", &ports)
}

/// The tables of gateway 1.
fn program_one(one: &Dataplane) {
    program(one, 2, over_udp("link", "10.1.0.0", "10.1.0.1"));
    let mut ops = serve("/shop/b", 2);
    ops.push(Op::PutAccessRule(v1::AccessRule {
        id: 3,
        domain: 1,
        caller: Vec::new(),
        callee: name("/shop/b").as_bytes().to_vec(),
        allow: true,
    }));
    one.agent.apply(ops);
}

fn pair(more: &str) -> Pair {
    let [left, right, near, far] = wired_with_pods();
    let (one, two) = (gateway(&left, 1, more), gateway(&right, 2, ""));
    program_one(&one);
    program(&two, 1, over_udp("link", "10.1.0.1", "10.1.0.0"));
    for dataplane in [&one, &two] {
        dataplane.agent.watch().adjacency(1, "up");
    }
    Pair {
        left,
        right,
        near,
        far,
        one,
        two,
    }
}

/// What became of a stream of calls.
#[derive(Debug, Default)]
struct Stream {
    sent: usize,
    answered: usize,
    twice: usize,
    /// Longest time between two answers.
    dark: Duration,
}

/// Calls `/shop/b` from `caller` every millisecond while `during` runs; `callee` answers.
fn stream(caller: &Pod, callee: &Pod, during: impl FnOnce()) -> Stream {
    let (calling, answering) = (AtomicBool::new(true), AtomicBool::new(true));
    let step = Duration::from_millis(50);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while answering.load(Relaxed) {
                if let Some((request, header)) = callee.answer_within(step) {
                    callee.respond(&request, &header, b"");
                }
            }
        });
        let sent = scope.spawn(|| {
            let (start, mut sent) = (Instant::now(), 0);
            while calling.load(Relaxed) {
                caller.send(Kind::Request, &name("/shop/b/x"), |p| p);
                sent += 1;
                let due = start + INTERVAL * sent;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            sent as usize
        });
        let answers = scope.spawn(|| {
            let (mut stream, mut last) = (Stream::default(), Instant::now());
            let mut answered = std::collections::HashSet::new();
            while answering.load(Relaxed) {
                let Some((_, header)) = caller.answer_within(step) else {
                    continue;
                };
                if header.kind == Kind::Response {
                    stream.dark = stream.dark.max(last.elapsed());
                    last = Instant::now();
                    stream.twice += usize::from(!answered.insert(header.request_id.0));
                }
            }
            stream.answered = answered.len();
            stream
        });
        std::thread::sleep(step * 4);
        during();
        std::thread::sleep(step * 4);
        calling.store(false, Relaxed);
        let sent = sent.join().expect("calls");
        std::thread::sleep(step * 2);
        answering.store(false, Relaxed);
        Stream {
            sent,
            ..answers.join().expect("answers")
        }
    })
}

/// A TCP connection of the kernels behind two taps.
struct Connection {
    near: TcpStream,
    far: TcpStream,
}

impl Connection {
    fn open(server: &Netns, client: &Netns, address: &str) -> Connection {
        let listener = server.inside(|| TcpListener::bind(address)).expect("bind");
        let near = client
            .inside(|| TcpStream::connect(address))
            .expect("connect");
        let (far, _) = listener.accept().expect("accept");
        for end in [&near, &far] {
            end.set_read_timeout(Some(PATIENCE)).expect("timeout");
        }
        Connection { near, far }
    }

    fn still_carries(&mut self) {
        for (from, to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            let (mut from, mut to, mut byte) = (from, to, [0]);
            from.write_all(b"x").expect("write");
            to.read_exact(&mut byte).expect("read");
        }
    }
}

#[test]
fn a_new_process_goes_on_under_traffic() {
    need_ports!();
    let pair = pair("");
    let Pair {
        left,
        right,
        near,
        far,
        one,
        two,
        ..
    } = pair;
    let caller = Pod::attach(&one, &near, "pod", "10.2.1.2", "10.2.1.1", &["/shop/a"]);
    let callee = Pod::attach(&two, &far, "pod", "10.2.2.2", "10.2.2.1", &["/shop/b"]);
    let gone = Pod::attach(&one, &near, "pod", "10.2.1.2", "10.2.1.1", &[]);
    one.agent.apply(vec![Op::Detach(gone.id.into())]);
    left.ip("route add 10.9.0.0/16 via 10.1.0.1 dev x-link");
    let mut connection = Connection::open(&right, &left, "10.1.0.1:4000");
    let mut old = one;
    within(
        Duration::from_millis(150),
        "dark while another process takes over",
        || {
            let (before, greeted) = (old.agent.dump(), old.agent.greet(1, 1).expect("greet"));
            let tap = left.output(&["cat", "/sys/class/net/x-link/ifindex"]);
            let changes = two.agent.watch().adjacency(1, "up").changes;
            let mut next = None;
            let seen = stream(&caller, &callee, || next = Some(old.successor()));
            let next = next.take().expect("started");
            assert!(old.ended().success());
            eprintln!("{seen:?}");
            assert_eq!(seen.twice, 0, "never twice: {seen:?}");
            assert!(seen.sent - seen.answered <= 200, "{seen:?}");

            // The same router, as far as anybody can see.
            let (after, again) = (next.agent.dump(), next.agent.greet(1, 1).expect("greet"));
            assert_eq!(
                (again.boot_nonce, again.generation),
                (greeted.boot_nonce, greeted.generation)
            );
            assert_eq!(after.prefixes, before.prefixes);
            assert_eq!(after.groups, before.groups);
            assert_eq!(after.gateways, before.gateways);
            assert_eq!(after.access_rules, before.access_rules);
            assert_eq!(after.attachments, before.attachments);
            assert_eq!(
                after.adjacencies[0].changes, before.adjacencies[0].changes,
                "no flap here"
            );
            assert_eq!(
                two.agent.watch().adjacency(1, "up").changes,
                changes,
                "nor there"
            );
            assert_eq!(
                left.output(&["cat", "/sys/class/net/x-link/ifindex"]),
                tap,
                "the same tap"
            );
            assert!(
                left.output(&["ip", "route"]).contains("10.9.0.0/16"),
                "with its routes"
            );
            for peer in ["10.1.0.1", "fd01::2"] {
                let said = left.output(&["ping", "-c1", "-W2", peer]);
                assert!(said.contains("1 received"), "{said}");
            }
            connection.still_carries();

            // And it is programmed as ever: generations go on, and ids still rest.
            let ack = next.agent.apply(vec![Op::DeleteAccessRule(3)]);
            assert_eq!(ack.generation, before.generation + 1);
            let status = next.agent.try_apply(vec![Op::Attach(v1::Attachment {
                id: gone.id.into(),
                port: "pod".into(),
                address: "10.2.1.7".into(),
                udp_port: 7,
                identity: "x".into(),
                ..Default::default()
            })]);
            assert!(status.expect_err("rests").message().contains("rests"));
            next.agent
                .apply(vec![Op::PutAccessRule(before.access_rules[0].clone())]);
            old = next;
            seen.dark
        },
    );
    // With the last process go taps and settings, as with a single one.
    old.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(old.ended().success());
    assert!(!left.output(&["ip", "-br", "link"]).contains("x-link"));
    assert_eq!(left.sysctl("ipv4/conf/link/arp_ignore"), "0");
}

#[test]
fn what_only_one_process_can_have_is_handed_over_too() {
    need_ports!();
    let pair =
        pair("[[port]]\nname = \"own\"\nkind = \"tap\"\ninterface = \"own0\"\nrole = \"router\"\n");
    let caller = Pod::attach(&pair.one, &pair.near, "pod", "10.2.1.2", "10.2.1.1", &[]);
    let callee = Pod::attach(
        &pair.two,
        &pair.far,
        "pod",
        "10.2.2.2",
        "10.2.2.1",
        &["/shop/b"],
    );
    let mut old = pair.one;
    within(Duration::from_millis(500), "dark with a tap port", || {
        let mac = old.agent.port("own").mac;
        let mut next = None;
        let seen = stream(&caller, &callee, || next = Some(old.successor()));
        assert!(old.ended().success());
        old = next.take().expect("started");
        assert_eq!(seen.twice, 0, "{seen:?}");
        assert_eq!(old.agent.port("own").mac, mac);
        seen.dark
    });
}

#[test]
fn one_that_dies_right_after_it_took_over_leaves_nothing_in_the_way_of_the_next() {
    need_ports!();
    let Pair {
        left,
        right: _right,
        near,
        far,
        one: mut old,
        two,
    } = pair("");
    let callee = Pod::attach(&two, &far, "pod", "10.2.2.2", "10.2.2.1", &["/shop/b"]);
    let boot = old.agent.greet(1, 1).expect("greet").boot_nonce;
    let mut next = old.successor();
    next.signal(nix::sys::signal::Signal::SIGKILL);
    next.ended();
    assert!(old.ended().success());
    // As the unit does it, and the control plane, which sees another boot with empty tables.
    let again = old.again();
    let greeted = again.agent.greet(1, 1).expect("greet");
    assert_ne!(greeted.boot_nonce, boot);
    assert_eq!(again.agent.dump().prefix_count, 0);
    program_one(&again);
    again.agent.watch().adjacency(1, "up");
    two.agent.watch().adjacency(1, "up");
    let caller = Pod::attach(&again, &near, "pod", "10.2.1.2", "10.2.1.1", &["/shop/a"]);
    let seen = stream(&caller, &callee, || ());
    assert_eq!((seen.twice, seen.sent), (0, seen.answered), "{seen:?}");
    assert!(left.output(&["ip", "-br", "link"]).contains("x-link"));
}

#[test]
fn who_may_not_take_over_is_told_why_and_changes_nothing() {
    need_ports!();
    let pair = pair("");
    let pod = Pod::attach(&pair.one, &pair.near, "pod", "10.2.1.2", "10.2.1.1", &[]);
    let callee = Pod::attach(
        &pair.two,
        &pair.far,
        "pod",
        "10.2.2.2",
        "10.2.2.1",
        &["/shop/b"],
    );
    let one = &pair.one;
    let good = std::fs::read_to_string(one.config()).expect("configuration");
    let seen = stream(&pod, &callee, || {
        let said = one.refuses(&good.replace("id = 1", "id = 5"));
        assert!(
            said.contains("node 1 (sg)") && said.contains("node 5 (sg)"),
            "{said}"
        );
        let said = one.refuses(&good.replace("agent.sock", "nobody.sock"));
        assert!(
            said.contains("nobody.sock") && said.contains("without --takeover"),
            "{said}"
        );
        let said = one.refuses(&good.replace("10.2.1.1/24", "10.3.1.1/24"));
        assert!(
            said.contains("does not fit") && said.contains("10.2.1.2"),
            "{said}"
        );
        let said = one.refuses(&good.replace("interface = \"pod\"", "interface = \"nosuch\""));
        assert!(said.contains("nosuch"), "{said}");
    });
    assert_eq!((seen.twice, seen.sent), (0, seen.answered), "{seen:?}");

    // Half a conversation: transactions wait, and go on when the asker has gone.
    let refused = |result: Result<_, tonic::Status>| {
        let status = result.err().expect("must be refused");
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        status.message().to_string()
    };
    assert!(refused(one.agent.handover(1, true)).contains("begin again"));
    assert!(refused(one.agent.handover(2, false)).contains("node 2"));
    let mut given = one.agent.handover(1, false).expect("state");
    let state = given.until("state", |reply| (reply.stage == "state").then_some(reply));
    assert_eq!(state.generation, one.agent.dump().generation);
    assert!(refused(one.agent.handover(1, false)).contains("another process"));
    std::thread::scope(|scope| {
        let applied = scope.spawn(|| one.agent.apply(vec![Op::DeleteAccessRule(3)]));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!applied.is_finished(), "it waits");
        drop(given);
        assert_eq!(
            applied.join().expect("applied").generation,
            state.generation + 1
        );
    });
    let next = one.agent.handover(1, false).expect("again");
    drop(next);
}

#[test]
fn more_prefixes_than_one_message_carries() {
    need_ports!();
    let here = Netns::new();
    let null = "[[port]]\nname = \"n\"\nkind = \"null\"\nrole = \"router\"\nsize = 64\n[workers]\nidle = \"block\"\n";
    let mut old = Dataplane::start(&here, 1, "sg", null);
    old.agent.apply(vec![Op::PutGroup(v1::Group {
        id: 1,
        members: Vec::new(),
        weighted: false,
    })]);
    let prefix = |n: u32| {
        Op::PutPrefix(v1::Prefix {
            domain: 1,
            name: name(&format!("/many/{n}")).as_bytes().to_vec(),
            group: 1,
        })
    };
    for portion in [0..65_536, 65_536..70_000] {
        old.agent.apply(portion.map(prefix).collect());
    }
    let next = old.successor();
    assert!(old.ended().success());
    let dump = next.agent.dump();
    assert_eq!((dump.prefix_count, dump.generation), (70_000, 4));
}

#[test]
fn a_successor_brings_its_own_configuration() {
    need_ports!();
    let (router, pods) = (Netns::new(), Netns::new());
    router.veth("pod", &pods, "eth0");
    let port = r#"
[[port]]
name = "pod"
kind = "af_packet"
interface = "pod"
role = "pod"
addresses = ["10.1.1.1/24", "10.5.5.1/24", "fd05::1/64"]
[[port]]
name = "other"
kind = "null"
role = "router"
addresses = ["10.7.7.1/24"]
# more
[workers]
idle = "block"
"#;
    let mut old = Dataplane::start(&router, 1, "sg", port);
    let text = std::fs::read_to_string(old.config()).expect("file");
    let text = text
        .replace("10.5.5.1", "10.6.6.1")
        .replace("fd05::1", "fd06::1")
        .replace("# more", "exception = \"none\"");
    std::fs::write(old.config(), text).expect("write");
    let links = || router.output(&["ip", "-br", "link"]);
    assert!(links().contains("x-other"), "{}", links());
    let next = old.successor();
    assert!(old.ended().success());
    assert!(!links().contains("x-other"), "{}", links());
    let addresses = ["10.1.1.1/24", "10.6.6.1/24", "fd06::1/64"];
    assert_eq!(next.agent.port("pod").addresses, addresses);
    let there = router.output(&["ip", "-br", "addr", "show", "x-pod"]);
    assert!(addresses.iter().all(|a| there.contains(a)), "{there}");
    assert!(
        !there.contains("10.5.5.1") && !there.contains("fd05::1"),
        "{there}"
    );
}
