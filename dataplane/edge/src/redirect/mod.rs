//! Transparent redirect: TCP connections of a pod's programs to synthetic and configured addresses arrive at the edge instead.
//!
//! One nft table per pod and process, `dmsc-<pid>-<pod>`, in the pod's network namespace; it goes with [`Rules`]. What a process left that was killed is
//! removed by the next one that starts there. Whoever accepts a redirected connection asks [`original_destination`] where it was to go.

mod nft;
mod rules;

pub use nft::NftError;
pub use rules::{Script, ScriptError};

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use socket2::SockRef;
use tokio::net::TcpStream;
use tracing::warn;

use crate::config::PodConfig;

/// Rules of one pod; dropping them removes them, which must happen on a thread of the same namespace.
#[derive(Debug)]
pub struct Rules {
    /// `None`: nothing is redirected.
    table: Option<String>,
}

/// Makes the rules, after removing those that dead processes left. On a thread that is in the pod's namespace.
///
/// # Errors
/// Rules that cannot be, no right, or no nft.
pub fn install(pod: &PodConfig) -> anyhow::Result<Rules> {
    let Some(script) = script(pod) else {
        return Ok(Rules { table: None });
    };
    script.check()?;
    remove_stale()?;
    let table = table_name(std::process::id(), &pod.identity);
    nft::run(&script.table(&table))?;
    if let Some(range) = script.range
        && !has_route((Ipv4Addr::from_bits(range.network.to_bits() + 1), 9).into())
    {
        warn!(pod = pod.identity, %range, "no route to the range in this namespace, so programs cannot connect to it; a default route is enough, or: ip route add {range} dev lo");
    }
    Ok(Rules { table: Some(table) })
}

/// `None`: the pod redirects nothing.
fn script(pod: &PodConfig) -> Option<Script> {
    let outbound = pod.outbound.as_ref()?;
    let to = outbound.tcp?;
    // A gateway with a name is none of these addresses.
    let gateway = pod.gateway.to_string().parse().ok();
    let serves = pod.serves.iter().map(|serve| serve.to);
    Some(Script {
        to,
        range: to.is_ipv4().then_some(outbound.range),
        addresses: pod.redirects.iter().map(|one| one.address).collect(),
        own: serves.chain(gateway).collect(),
    })
}

impl Drop for Rules {
    fn drop(&mut self) {
        if let Some(table) = &self.table
            && let Err(error) = nft::run(&format!("delete table inet {table}\n"))
        {
            warn!(%error, "redirect rules stay; remove them with: nft delete table inet {table}");
        }
    }
}

/// Where a redirected connection was to go. `None`: it came to the listener itself.
///
/// # Errors
/// The connection is gone, or the kernel keeps no track of connections.
pub fn original_destination(stream: &TcpStream) -> std::io::Result<Option<SocketAddr>> {
    let local = stream.local_addr()?;
    let socket = SockRef::from(stream);
    let found = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    match found {
        Ok(address) => Ok(address.as_socket().filter(|original| *original != local)),
        // Not tracked: nothing was redirected.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

const PREFIX: &str = "dmsc-";

/// nft takes letters, digits, `/`, `-`, `_` and `.` in names.
fn table_name(pid: u32, pod: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    let pod: String = pod
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    format!("{PREFIX}{pid}-{pod}")
}

/// The process that a table belongs to, if it is one of ours.
fn owner(table: &str) -> Option<u32> {
    let (pid, _) = table.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

fn remove_stale() -> Result<(), NftError> {
    let all = nft::tables()?;
    let stale = all.iter().filter(|table| owner(table).is_some_and(is_gone));
    for table in stale {
        // Another process may be quicker.
        if nft::run(&format!("delete table inet {table}\n")).is_ok() {
            warn!(table, "removed redirect rules of a process that is gone");
        }
    }
    Ok(())
}

/// Whether no process of this program has that id.
fn is_gone(pid: u32) -> bool {
    let program = |pid: &str| std::fs::read(format!("/proc/{pid}/comm")).ok();
    let theirs = program(&pid.to_string());
    theirs.is_none() || theirs != program(&std::process::id().to_string())
}

/// Asks the kernel; nothing is sent.
fn has_route(to: SocketAddr) -> bool {
    UdpSocket::bind("0.0.0.0:0").is_ok_and(|socket| socket.connect(to).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_say_whose_they_are() {
        let table = table_name(17, "pod1/cürl x");
        assert_eq!(table, "dmsc-17-pod1/c_rl_x");
        assert_eq!(owner(&table), Some(17));
        for other in ["filter", "dmsc-x-y", "dmsc-17", "nat"] {
            assert_eq!(owner(other), None, "{other}");
        }
        assert!(!is_gone(std::process::id()));
        assert!(is_gone(4_194_305), "beyond the largest id");
        assert!(is_gone(1), "alive, and another program");
    }
}
