//! NUMA nodes, and from which of them a thread takes its memory.

use std::fmt;
use std::fs;
use std::io;

use libc::{c_int, c_ulong};

/// Where the kernel tells of nodes.
const NODES: &str = "/sys/devices/system/node";
/// Bits of a word of a node mask.
const WORD: usize = c_ulong::BITS as usize;
/// Words of a node mask: for 1024 nodes, which is the most that a kernel is built for.
const WORDS: usize = 1024 / WORD;

/// A NUMA node of this machine, by the kernel's number, which is DPDK's socket id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NumaNode(pub u16);

impl fmt::Display for NumaNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl NumaNode {
    /// The command that gives this node so many MiB of hugepages more than it has.
    pub(crate) fn more_hugepages(self, mib: u64) -> String {
        let file = format!("{NODES}/node{self}/hugepages/hugepages-2048kB/nr_hugepages");
        let there: u64 = fs::read_to_string(&file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        format!(
            "hugepages on node {self}: echo {} > {file}",
            there + mib.div_ceil(2)
        )
    }
}

/// Where the pages are that a thread touches first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum MemoryPolicy {
    /// On the node of the core that it runs on at that moment (`MPOL_DEFAULT`).
    #[default]
    Local,
    /// On this node, elsewhere only if it is full (`MPOL_PREFERRED`).
    Prefer(NumaNode),
    /// On these nodes in turn (`MPOL_INTERLEAVE`).
    Interleave(Vec<NumaNode>),
}

impl MemoryPolicy {
    /// Sets this for the calling thread, and for threads that it starts from then on.
    ///
    /// # Errors
    /// `EPERM` or `ENOSYS` where a container or the kernel does not allow it, `EINVAL` where a node has no memory.
    pub fn apply(&self) -> io::Result<()> {
        let (mode, nodes) = match self {
            Self::Local => (libc::MPOL_DEFAULT, &[][..]),
            Self::Prefer(node) => (libc::MPOL_PREFERRED, std::slice::from_ref(node)),
            Self::Interleave(nodes) => (libc::MPOL_INTERLEAVE, nodes.as_slice()),
        };
        let mut mask: [c_ulong; WORDS] = [0; WORDS];
        for node in nodes {
            let word = mask
                .get_mut(usize::from(node.0) / WORD)
                .ok_or(io::ErrorKind::InvalidInput)?;
            *word |= 1 << (usize::from(node.0) % WORD);
        }
        let (mask, bits): (*const c_ulong, usize) = match self {
            Self::Local => (std::ptr::null(), 0),
            // The kernel takes one bit less than it is told.
            _ => (mask.as_ptr(), WORDS * WORD + 1),
        };
        // SAFETY: the kernel reads a mask of WORDS words that lives through the call, or none; it changes nothing of this process but
        // where new pages of this thread come from.
        match unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether the calling thread has no policy of its own: nobody has started the process with one (`numactl`, `NUMAPolicy=`).
    ///
    /// # Errors
    /// As [`MemoryPolicy::apply`].
    pub fn is_unset() -> io::Result<bool> {
        let mut mode: c_int = 0;
        let no_mask = std::ptr::null_mut::<c_ulong>();
        let no_address = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: the kernel writes one integer, which lives through the call; there is no mask to write and no address to look at.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_get_mempolicy,
                &raw mut mode,
                no_mask,
                0_usize,
                no_address,
                0_usize,
            )
        };
        match ret {
            0 => Ok(mode == libc::MPOL_DEFAULT),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_the_threads_own_and_its_childrens() {
        let apart = std::thread::spawn(|| {
            if let Err(error) = MemoryPolicy::Prefer(NumaNode(0)).apply() {
                eprintln!("skipped: no memory policy may be set here: {error}");
                return;
            }
            assert!(!MemoryPolicy::is_unset().unwrap());
            let child = std::thread::spawn(|| MemoryPolicy::is_unset().unwrap());
            assert!(!child.join().unwrap());
            MemoryPolicy::Interleave(vec![NumaNode(0)]).apply().unwrap();
            assert!(!MemoryPolicy::is_unset().unwrap());
            MemoryPolicy::Local.apply().unwrap();
            assert!(MemoryPolicy::is_unset().unwrap());
            for nowhere in [NumaNode(1023), NumaNode(1024), NumaNode(u16::MAX)] {
                assert!(MemoryPolicy::Prefer(nowhere).apply().is_err());
            }
            assert!(MemoryPolicy::is_unset().unwrap());
        });
        apart.join().unwrap();
    }

    #[test]
    fn the_command_counts_what_is_there() {
        // No machine has this node, so nothing is there.
        assert_eq!(
            NumaNode(1023).more_hugepages(77),
            "hugepages on node 1023: echo 39 > /sys/devices/system/node/node1023/hugepages/hugepages-2048kB/nr_hugepages"
        );
    }
}
