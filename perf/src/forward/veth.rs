//! Two kernel interfaces that are joined to each other, for the ports of one process.

use anyhow::bail;

use crate::torture::net;

/// What the ends of a pair are called.
#[derive(Debug, Clone)]
pub struct Ends {
    /// Names of both.
    pub interfaces: [String; 2],
    /// Their Ethernet addresses.
    pub macs: [String; 2],
}

impl Ends {
    /// By the name of the pair.
    pub fn of(name: &str) -> Ends {
        Ends {
            interfaces: [0, 1].map(|end| format!("{name}{end}")),
            macs: ["a", "b"].map(|end| format!("02:00:00:00:00:0{end}")),
        }
    }
}

/// A veth pair; removed when this value goes.
#[derive(Debug)]
pub struct Pair(pub Ends);

impl Pair {
    /// Makes it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make(name: &str, mtu: u16) -> anyhow::Result<Pair> {
        let pair = Pair(Ends::of(name));
        let ends = &pair.0;
        let end = |n: usize| (ends.interfaces[n].as_str(), Some(ends.macs[n].as_str()));
        net::veth_pair(end(0), end(1), mtu)?;
        Ok(pair)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        net::unveth(&self.0.interfaces[0]);
    }
}

/// Moves this process into a network namespace of its own; to be called before it has threads.
///
/// # Errors
/// Without root.
pub fn enter_namespace() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this makes a network namespace and interfaces and needs root: run it with sudo");
    }
    net::enter_namespace()
}
