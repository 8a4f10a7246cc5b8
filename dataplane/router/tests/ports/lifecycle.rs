//! What a dataplane leaves behind: nothing.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::rig::{Dataplane, Netns, need_ports, within};

const SETTINGS: [&str; 3] = [
    "ipv4/conf/pod1/rp_filter",
    "ipv4/conf/pod1/arp_ignore",
    "ipv6/conf/pod1/disable_ipv6",
];
const PORTS: &str = r#"
[[port]]
name = "pod1"
kind = "af_packet"
interface = "pod1"
role = "pod"
addresses = ["10.1.1.1/24", "fd01:1::1/64"]
[[port]]
name = "own"
kind = "tap"
interface = "own0"
role = "router"
exception = "none"
"#;

#[test]
fn sigterm_ends_it_without_a_trace() {
    need_ports!();
    within(Duration::from_millis(1500), "end after SIGTERM", || {
        let (router, pods) = (Netns::new(), Netns::new());
        router.veth("pod1", &pods, "eth0");
        let settings = || SETTINGS.map(|s| router.sysctl(s));
        let links = || router.output(&["ip", "-br", "link"]);
        let before = settings();
        let mut dataplane = Dataplane::start(&router, 1, "sg", PORTS);
        let dpdk = std::path::Path::new("/var/run/dpdk").join(&dataplane.prefix);
        assert_eq!(settings(), ["1", "8", "1"]);
        assert!(
            links().contains("x-pod1") && links().contains("own0"),
            "{}",
            links()
        );
        // Somebody still listens: that must not keep it.
        let mut events = dataplane.agent.watch();
        assert!(events.next(Duration::from_secs(5)).is_some());
        let start = Instant::now();
        dataplane.signal(Signal::SIGTERM);
        let status = dataplane.ended();
        let time = start.elapsed();
        assert_eq!(status.code(), Some(0));
        assert_eq!(settings(), before);
        assert!(
            !links().contains("x-pod1") && !links().contains("own0"),
            "{}",
            links()
        );
        assert!(!dataplane.socket.exists(), "the socket is gone");
        assert!(!dpdk.exists(), "{} is gone", dpdk.display());
        time
    });
}

#[test]
fn it_starts_where_a_killed_one_left_things() {
    need_ports!();
    let (router, pods) = (Netns::new(), Netns::new());
    router.veth("pod1", &pods, "eth0");
    pods.addresses("eth0", &["10.1.1.2/24"]);
    let mut first = Dataplane::start(&router, 1, "sg", PORTS);
    let boot = first.agent.greet(1, 1).expect("greet").boot_nonce;
    first.signal(Signal::SIGKILL);
    first.ended();
    let second = Dataplane::start(&router, 1, "sg", PORTS);
    assert_ne!(second.agent.greet(1, 1).expect("greet").boot_nonce, boot);
    let said = pods.output(&["ping", "-c1", "-W2", "10.1.1.1"]);
    assert!(said.contains("1 received"), "{said}");
}
