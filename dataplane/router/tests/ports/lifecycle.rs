//! What a dataplane leaves behind: nothing.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use nix::unistd::Pid;

use crate::rig::process::{PROGRAM, configuration};
use crate::rig::{Dataplane, Netns, PATIENCE, Scratch, need_ports, within};

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

#[test]
fn systemd_is_told_of_start_succession_and_end() {
    need_ports!();
    let scratch = Scratch::new();
    let (config, notify) = (scratch.path("dataplane.toml"), scratch.path("notify"));
    let prefix = format!("dmsct-{}-sd", std::process::id());
    let null =
        "[[port]]\nname = \"n\"\nkind = \"null\"\nrole = \"router\"\n[workers]\nidle = \"block\"\n";
    let text = configuration(1, "sr", &scratch.path("agent.sock"), &prefix, null);
    std::fs::write(&config, text).expect("write");
    let systemd = UnixDatagram::bind(&notify).expect("socket");
    systemd.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let told = || {
        let mut buffer = [0; 256];
        let length = systemd.recv(&mut buffer).expect("told");
        String::from_utf8_lossy(&buffer[..length])
            .trim()
            .to_string()
    };
    let start = |more: &[&str]| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--pdeathsig", "KILL", PROGRAM]).args(more);
        setpriv.arg("--config").arg(&config);
        setpriv.env("NOTIFY_SOCKET", &notify).env("DMSC_LOG", "off");
        setpriv.spawn().expect("setpriv (util-linux)")
    };
    let mut first = start(&[]);
    assert_eq!(told(), "READY=1");
    let mut second = start(&["--takeover"]);
    // Before the first one ends, and that says nothing: the service goes on.
    assert_eq!(told(), format!("MAINPID={}", second.id()));
    assert_eq!(told(), "READY=1");
    assert!(first.wait().expect("wait").success());
    let pid = Pid::from_raw(second.id() as i32);
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("kill");
    assert_eq!(told(), "STOPPING=1");
    assert!(second.wait().expect("wait").success());
}
