//! Redirect in a network namespace of its own, with the real nft and programs that connect to addresses.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use dmsc_edge::config::{Config, PodConfig};
use dmsc_edge::netns;
use dmsc_edge::redirect::{install, original_destination};

/// A namespace with a loopback and a default route; gone when dropped.
struct Netns {
    name: String,
}

impl Netns {
    /// `None`: it cannot be made here, which is said.
    fn new(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        if Command::new("nft").arg("--version").output().is_err() {
            eprintln!("skipped: nft is not here; install nftables");
            return None;
        }
        let netns = Self {
            name: format!("dmsce-{}-{name}", std::process::id()),
        };
        run("ip", &["netns", "add", &netns.name]);
        for words in [
            "link set lo up",
            "addr add 10.7.0.2/24 dev lo",
            "route add default dev lo",
        ] {
            let words: Vec<&str> = ["-n", &netns.name]
                .into_iter()
                .chain(words.split(' '))
                .collect();
            run("ip", &words);
        }
        Some(netns)
    }

    fn path(&self) -> PathBuf {
        format!("/run/netns/{}", self.name).into()
    }

    /// On a thread inside.
    fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                netns::enter(&self.path()).unwrap();
                what()
            });
            thread.join().unwrap()
        })
    }

    fn tables(&self) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.name, "nft", "list", "tables"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

fn run(program: &str, words: &[&str]) {
    let status = Command::new(program).args(words).status().unwrap();
    assert!(status.success(), "{program} {words:?}");
}

fn pod(extra: &str) -> PodConfig {
    let text = format!(
        r#"
[[pod]]
identity = "pod1/curl"
credentials = "/nowhere"
gateway = "10.7.0.1"
  [pod.outbound]
  tcp = "127.0.0.1:15002"
  [[pod.redirect]]
  address = "10.96.0.10:80"
  name = "/shop/web"
{extra}"#
    );
    let config = Config::parse(&text, std::path::Path::new("edge.toml")).unwrap();
    config.pods.into_iter().next().unwrap()
}

/// Connects, and says where the listener learns that it was to go.
fn ask(listener: &TcpListener, to: &str) -> Option<SocketAddr> {
    let to: SocketAddr = to.parse().unwrap();
    let mut program = TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
    let (mut edge, _) = listener.accept().unwrap();
    program.write_all(b"x").unwrap();
    edge.read_exact(&mut [0]).unwrap();
    edge.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    original_destination(&tokio::net::TcpStream::from_std(edge).unwrap()).unwrap()
}

#[test]
fn connections_arrive_and_say_where_they_were_to_go() {
    let Some(netns) = Netns::new("arrive") else {
        return;
    };
    netns.inside(|| {
        let rules = install(&pod("")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:15002").unwrap();
        for to in ["198.18.0.5:80", "198.18.200.1:5432", "10.96.0.10:80"] {
            assert_eq!(ask(&listener, to), Some(to.parse().unwrap()));
        }
        assert_eq!(ask(&listener, "127.0.0.1:15002"), None, "meant itself");
        // Others are left alone.
        let other = TcpListener::bind("10.7.0.2:80").unwrap();
        assert_eq!(ask(&other, "10.7.0.2:80"), None);
        drop(rules);
    });
    assert_eq!(netns.tables(), "", "removed");
}

#[test]
fn rules_of_dead_processes_are_removed_and_those_of_the_living_are_not() {
    let Some(netns) = Netns::new("stale") else {
        return;
    };
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let living = std::process::id();
    let foreign = format!("table inet dmsc-{living}-other");
    let tables = [
        format!("table inet dmsc-{}-pod1/curl", dead.id()),
        foreign.clone(),
        "table inet filter".to_owned(),
    ];
    netns.inside(|| {
        for table in &tables {
            let words = format!("add {table}");
            run("nft", &[&words]);
        }
        let _rules = install(&pod("")).unwrap();
        let now = netns.tables();
        assert!(!now.contains(&tables[0]), "{now}");
        assert!(
            now.contains(&foreign) && now.contains("inet filter"),
            "{now}"
        );
        assert!(now.contains(&format!("dmsc-{living}-pod1/curl")), "{now}");
    });
}

#[test]
fn mistakes_name_the_remedy() {
    let serve = "  [[pod.serve]]\n  prefix = \"/shop/cart\"\n  to = \"10.96.0.10:80\"\n";
    let error = install(&pod(serve)).unwrap_err().to_string();
    assert!(
        error.contains("10.96.0.10:80") && error.contains("redirect another"),
        "{error}"
    );
    let Some(netns) = Netns::new("rights") else {
        return;
    };
    // As a user without the right.
    let words = [
        "netns",
        "exec",
        &netns.name,
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        "--bounding-set=-all",
    ];
    let said = Command::new("ip")
        .args(words)
        .args(["nft", "list", "tables"])
        .output();
    let Ok(said) = said else { return };
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains("Operation not permitted"),
        "nft says something else: {said}"
    );
}
