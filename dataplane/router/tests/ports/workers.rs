//! More than one worker: each has its own queues, all of them receive, and their counters add up.

use dmsc_wire::Kind;

use crate::mistakes::refused;
use crate::rig::{Dataplane, Netns, Pod, Scratch, name, need_ports};

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

fn two_cores() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        eprintln!("skipped: two workers need two cores");
    }
    cores >= 2
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
