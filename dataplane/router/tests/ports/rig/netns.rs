//! Network namespaces and the veths between them, gone when dropped.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nix::sched::{CloneFlags, setns};

static NEXT: AtomicU32 = AtomicU32::new(0);
/// Where DPDK keeps a folder per process.
const DPDK: &str = "/var/run/dpdk";

/// A network namespace of this test process.
pub struct Netns {
    name: String,
}

impl Netns {
    /// An empty one, with its loopback up.
    pub fn new() -> Netns {
        if NEXT.load(Relaxed) == 0 {
            sweep();
        }
        let name = format!(
            "dmsct-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let netns = Netns { name };
        run("ip", &["netns", "add", &netns.name]);
        netns.ip("link set lo up");
        netns
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip -n NAME …`, which must succeed.
    pub fn ip(&self, arguments: &str) {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        run("ip", &all);
    }

    /// What a command prints that runs inside, whatever its exit status.
    pub fn output(&self, command: &[&str]) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.name])
            .args(command)
            .output()
            .expect("ip netns exec");
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    /// A veth from here to `other`, both ends up, with complete checksums: a packet socket must not see partial ones.
    pub fn veth(&self, interface: &str, other: &Netns, peer: &str) {
        // Ends of different index: the kernel tells a loss of carrier at once only where an interface is not its own lower one, and
        // compares indexes without looking at the namespace.
        let index = 100 + 2 * NEXT.fetch_add(1, Relaxed);
        self.ip(&format!(
            "link add name {interface} index {index} type veth peer name {peer} index {} netns {}",
            index + 1,
            other.name
        ));
        for (netns, interface) in [(self, interface), (other, peer)] {
            netns.output(&[
                "ethtool", "-K", interface, "tx", "off", "tso", "off", "gso", "off",
            ]);
            netns.ip(&format!("link set dev {interface} up"));
        }
    }

    /// Addresses of an interface, usable at once.
    pub fn addresses(&self, interface: &str, addresses: &[&str]) {
        for address in addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            self.ip(&format!("addr add {address} dev {interface}{nodad}"));
        }
    }

    /// Calls `make` on a thread inside: sockets that it opens stay in here.
    pub fn inside<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).expect("namespace");
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("setns");
                make()
            });
            inside.join().expect("inside the namespace")
        })
    }

    /// The value of a file below `/proc/sys/net`.
    pub fn sysctl(&self, path: &str) -> String {
        self.inside(|| std::fs::read_to_string(format!("/proc/sys/net/{path}")))
            .expect("sysctl")
            .trim()
            .to_string()
    }

    /// The MAC address of an interface, text.
    pub fn mac(&self, interface: &str) -> String {
        let listed = self.output(&["ip", "-br", "link", "show", interface]);
        listed.split_whitespace().nth(2).expect("MAC").to_string()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // With the namespace go its interfaces, unless somebody still has a socket there: then the sweep of the next run finds it.
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// Removes what test processes that were killed left behind: namespaces, and the folders of their dataplanes' DPDK.
fn sweep() {
    for name in left_in("/run/netns") {
        let _ = Command::new("ip").args(["netns", "del", &name]).status();
    }
    for name in left_in(DPDK) {
        let _ = std::fs::remove_dir_all(std::path::Path::new(DPDK).join(name));
    }
}

/// Names in a folder that belong to test processes which are not there any more: `dmsct-PID-NUMBER`.
fn left_in(folder: &str) -> Vec<String> {
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            let owner = name
                .strip_prefix("dmsct-")
                .and_then(|n| n.split('-').next());
            owner.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists())
        })
        .collect()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
