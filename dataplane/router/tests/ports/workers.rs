//! More than one worker: each has its own queues, all of them receive, and their counters add up.

use dmsc_proto::v1;
use dmsc_wire::Kind;

use crate::mistakes::refused;
use crate::rig::{Dataplane, Netns, Pod, Scratch, name, need_ports, wait_until};

const POD_PORT: &str = r#"
[workers]
cores = [0, 1]
[[port]]
name = "pod1"
kind = "af_packet"
interface = "pod1"
role = "pod"
addresses = ["10.1.1.1/24"]
"#;

const ON_ONE_CORE: &str = r#"
[workers]
cores = [1]
[[port]]
name = "null"
kind = "null"
role = "pod"
addresses = ["10.1.1.1/24"]
"#;

/// A line of the kernel's account of a process or thread.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.expect(name).trim()
}

/// Whether a list such as `0-3,8` has a core.
fn has_core(list: &str, core: usize) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().expect("a core");
        (number(first)..=number(last)).contains(&core)
    })
}

fn two_cores() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let allowed = field(&status, "Cpus_allowed_list:");
    let both = has_core(allowed, 0) && has_core(allowed, 1);
    if !both {
        eprintln!("skipped: two workers need cores 0 and 1, and this process has {allowed}");
    }
    both
}

#[test]
fn two_workers_share_the_flows() {
    need_ports!();
    if !two_cores() {
        return;
    }
    let (router, pods) = (Netns::new(), Netns::new());
    router.veth("pod1", &pods, "eth0");
    pods.addresses("eth0", &["10.1.1.2/24"]);
    let dataplane = Dataplane::start(&router, 1, "sg", POD_PORT);
    assert_eq!(dataplane.agent.port("pod1").queues, 2);
    let all: Vec<Pod> = (0..16)
        .map(|_| Pod::attach(&dataplane, &pods, "pod1", "10.1.1.2", "10.1.1.1", &[]))
        .collect();
    let before = dataplane.agent.settled("pod1", 16);
    let workers = dataplane.agent.workers();
    for _ in 0..4 {
        for pod in &all {
            pod.send(Kind::EchoRequest, &name("/dmsc/1"), |p| p);
        }
        for pod in &all {
            assert_eq!(pod.answer().1.kind, Kind::EchoReply);
        }
    }
    let after = dataplane.agent.settled("pod1", before.rx + 64);
    assert_eq!(after.drops, before.drops);
    assert!(after.originated - before.originated >= 64);
    let now = dataplane.agent.workers();
    assert_eq!(now.iter().map(|w| w.core).collect::<Vec<_>>(), [0, 1]);
    let received: Vec<u64> = now
        .iter()
        .zip(&workers)
        .map(|(now, before)| now.packets - before.packets)
        .collect();
    assert!(
        received.iter().all(|n| *n >= 4),
        "both receive: {received:?}"
    );
    assert!(received.iter().sum::<u64>() >= 64);
}

#[test]
fn only_workers_run_on_their_cores() {
    need_ports!();
    if !two_cores() {
        return;
    }
    let router = Netns::new();
    let dataplane = Dataplane::start(&router, 1, "sg", ON_ONE_CORE);
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", dataplane.pid())).expect("tasks");
        let statuses = tasks.flatten().map(|task| task.path().join("status"));
        // One that has ended meanwhile is nobody.
        let statuses = statuses.filter_map(|path| std::fs::read_to_string(path).ok());
        let both = |status: String| {
            ["Name:", "Cpus_allowed_list:"].map(|name| field(&status, name).to_owned())
        };
        statuses.map(both).collect::<Vec<_>>()
    };
    wait_until("the worker to be on its core", || {
        threads().contains(&["worker-0", "1"].map(str::to_owned))
    });
    // One sleeps until the process is told to end.
    let is_other = |[name, _]: &[String; 2]| name != "worker-0" && name != "signals";
    let others: Vec<_> = threads().into_iter().filter(is_other).collect();
    assert!(others.len() >= 5, "{others:?}");
    for [name, cores] in others {
        assert!(!has_core(&cores, 1), "{name} may run on {cores}");
    }
}

#[test]
fn calls_are_counted_exactly_whichever_worker_has_them() {
    need_ports!();
    if !two_cores() {
        return;
    }
    const ROUNDS: u64 = 100;
    let (router, pods) = (Netns::new(), Netns::new());
    router.veth("pod1", &pods, "eth0");
    pods.addresses("eth0", &["10.1.1.2/24"]);
    let dataplane = Dataplane::start(&router, 1, "sg", POD_PORT);
    let attach =
        |serves: &[&str]| Pod::attach(&dataplane, &pods, "pod1", "10.1.1.2", "10.1.1.1", serves);
    let (server, callers) = (attach(&["/shop/b"]), [(); 16].map(|()| attach(&[])));
    let call = |rounds: u64| {
        let mut bytes = 0;
        for _ in 0..rounds {
            for caller in &callers {
                caller.send(Kind::Request, &name("/shop/b/cart"), |p| p.payload(b"two"));
                let (request, header) = server.answer();
                bytes += request.len() as u64;
                server.respond(&request, &header, b"socks");
                assert_eq!(caller.answer().1.kind, Kind::Response);
            }
        }
        bytes
    };
    let counted = |dataplane: &Dataplane, packets: u64| {
        let mut found = None;
        wait_until("all that was sent to be counted", || {
            let traffic = dataplane.agent.traffic();
            let sum: u64 = traffic.services.iter().map(|one| one.packets).sum();
            assert!(sum <= packets, "{traffic:?}");
            let is_all = sum == packets;
            found = is_all.then_some(traffic);
            is_all
        });
        found.expect("counted")
    };
    let before = counted(&dataplane, 0);
    let bytes = call(ROUNDS);
    let traffic = counted(&dataplane, 16 * ROUNDS);
    assert_eq!(traffic.epoch, before.epoch);
    assert_eq!((traffic.other_packets, traffic.services.len()), (0, 1));
    let service = &traffic.services[0];
    assert_eq!(service.name, name("/shop/b").as_bytes());
    assert_eq!((service.bytes, service.requests), (bytes, 16 * ROUNDS));
    let [member] = &service.members[..] else {
        panic!("{service:?}")
    };
    let sums = (member.gateway, member.packets, member.bytes);
    assert_eq!(sums, (1, 16 * ROUNDS, bytes));
    let [here] = &service.next_hops[..] else {
        panic!("{service:?}")
    };
    assert_eq!((here.gateway, here.adjacency, here.peer), (1, 0, 0));
    assert_eq!((here.packets, here.bytes), (16 * ROUNDS, bytes));
    // An answer that came to the other worker than its request is known as such, and none is lost.
    let latencies: u64 = service.latency.iter().map(|bucket| bucket.count).sum();
    assert_eq!(latencies, traffic.answers_matched);
    let looked_out_for = traffic.answers_matched + traffic.answers_unmatched;
    assert!((8..=64).contains(&looked_out_for), "{traffic:?}");
    assert_eq!((traffic.calls_unanswered, traffic.calls_crowded), (0, 0));

    told_answers(&dataplane, &traffic);

    // Whoever takes over begins at 0, and says so.
    let successor = dataplane.successor();
    let begun = counted(&successor, 0);
    assert_ne!(begun.epoch, traffic.epoch);
    let bytes = call(1);
    assert_eq!(counted(&successor, 16).services[0].bytes, bytes);
}

/// What pods say of calls of which only they know which answers which.
fn told_answers(dataplane: &Dataplane, before: &v1::ListTrafficReply) {
    let bucket = |from_us, count| v1::LatencyBucket {
        from_us,
        to_us: 0,
        count,
    };
    let calls = |text: &str, latency: Vec<v1::LatencyBucket>| v1::AnsweredCalls {
        name: name(text).as_bytes().to_vec(),
        latency,
    };
    let add = |domain, calls| {
        let request = v1::AddAnswersRequest { domain, calls };
        dataplane.agent.add_answers(request)
    };
    // For the prefix that calls of the name were counted for; nothing is kept of what nobody called, or of another tenant.
    let many = vec![
        calls(
            "/shop/b/cart",
            vec![bucket(700_000, 40), bucket(711_111, 2)],
        ),
        calls("/shop", vec![bucket(5, 9)]),
        calls("/nobody", vec![bucket(5, 9)]),
    ];
    let domain = before.services[0].domain;
    assert_eq!(add(domain, many.clone()).unwrap(), 42);
    assert_eq!(add(domain + 1, many).unwrap(), 0);
    let now = dataplane.agent.traffic();
    assert_eq!((now.services.len(), now.answers_told), (1, 42));
    let told = now.services[0].latency.iter();
    let told: Vec<_> = told.filter(|one| one.from_us > 500_000).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].from_us, told[0].count), (688_128, 42));
    // Nothing of what has a mistake in it.
    let good = || calls("/shop/b", vec![bucket(9, 1)]);
    let bad = [
        vec![good(), calls("/shop/b", vec![bucket(9, 1_000_001)])],
        vec![good(), calls("/shop/b", vec![bucket(9, 1); 513])],
        vec![good(); 257],
        vec![
            good(),
            v1::AnsweredCalls {
                name: b"/shop/b".to_vec(),
                latency: vec![],
            },
        ],
    ];
    for calls in bad {
        let status = add(domain, calls).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
        assert!(status.message().starts_with("calls"), "{status}");
    }
    assert_eq!(dataplane.agent.traffic().answers_told, 42);
}

#[test]
fn more_workers_than_queues_are_refused() {
    need_ports!();
    if !two_cores() {
        return;
    }
    let (here, scratch) = (Netns::new(), Scratch::new());
    let file = scratch.path("sent.pcap");
    let ports = format!(
        "[workers]\ncores = [0, 1]\n[[port]]\nname = \"file\"\nkind = \"pcap\"\ntx_file = {file:?}\nrole = \"router\"\n"
    );
    let (said, _) = refused(&here, &scratch, &ports);
    assert!(
        said.contains("\"file\"") && said.contains("2 workers") && said.contains("[workers]"),
        "{said}"
    );
}

#[test]
fn cores_that_cannot_be_are_refused() {
    need_ports!();
    let (here, scratch) = (Netns::new(), Scratch::new());
    for (cores, expected) in [
        ("[0, 0]", "workers.cores: names a core twice"),
        ("[4000]", "workers.cores: core 4000"),
    ] {
        let ports = format!(
            "[workers]\ncores = {cores}\n[[port]]\nname = \"n\"\nkind = \"null\"\nrole = \"router\"\n"
        );
        let (said, line) = refused(&here, &scratch, &ports);
        assert!(said.contains(expected), "{said}");
        assert_eq!(line, 12, "the line of the mistake: {said}");
    }
}
