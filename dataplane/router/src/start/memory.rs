//! From which NUMA node the threads of a dataplane take their memory.

use std::marker::PhantomData;

use dmsc_dpdk::{MemoryPolicy, NumaNode};

/// The policy of the calling thread, and of those that it starts meanwhile. The kernel's own again when dropped.
pub(super) struct ThreadMemory {
    is_set: bool,
    /// What was said once need not be said again.
    is_refused: bool,
    /// It is this thread's.
    _thread: PhantomData<*const ()>,
}

impl ThreadMemory {
    /// As it is.
    pub(super) fn unchanged() -> ThreadMemory {
        ThreadMemory {
            is_set: false,
            is_refused: false,
            _thread: PhantomData,
        }
    }

    /// From here on by `policy`; where that is refused, as it is, with a warning.
    pub(super) fn set(&mut self, policy: &MemoryPolicy) {
        let is_local = *policy == MemoryPolicy::Local;
        if is_local && !self.is_set {
            return; // not one system call on machines of one node
        }
        match policy.apply() {
            Ok(()) => self.is_set = !is_local,
            Err(_) if self.is_refused => {}
            Err(error) => {
                self.is_refused = true;
                tracing::warn!(
                    "tables and buffers may be on another NUMA node than the workers: set_mempolicy: {error}; {}, or start with `numactl {}`",
                    remedy(&error),
                    by_hand(policy)
                );
            }
        }
    }
}

/// What to do about a refusal.
fn remedy(error: &std::io::Error) -> &'static str {
    if error.kind() == std::io::ErrorKind::InvalidInput {
        "give the node memory that this process may use (cpuset.mems)"
    } else {
        "allow it (in a container: CAP_SYS_NICE)"
    }
}

impl Drop for ThreadMemory {
    fn drop(&mut self) {
        self.set(&MemoryPolicy::Local);
    }
}

/// For a worker, which knows best where it runs: takes `inherited` from the calling thread.
pub(super) fn disinherit(inherited: &MemoryPolicy) {
    if *inherited != MemoryPolicy::Local
        && let Err(error) = MemoryPolicy::Local.apply()
    {
        tracing::debug!(%error, "the worker's own memory is where the tables are");
    }
}

/// The option of numactl that does the same.
fn by_hand(policy: &MemoryPolicy) -> String {
    let nodes = |nodes: &[NumaNode]| {
        let nodes: Vec<_> = nodes.iter().map(NumaNode::to_string).collect();
        nodes.join(",")
    };
    match policy {
        MemoryPolicy::Local => "--localalloc".into(),
        MemoryPolicy::Prefer(node) => format!("--preferred={node}"),
        MemoryPolicy::Interleave(several) => format!("--interleave={}", nodes(several)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_undone_and_workers_have_none() {
        let apart = std::thread::spawn(|| {
            let policy = MemoryPolicy::Prefer(NumaNode(0));
            let mut memory = ThreadMemory::unchanged();
            memory.set(&MemoryPolicy::Local);
            assert!(!memory.is_set);
            memory.set(&policy);
            if !memory.is_set {
                eprintln!("skipped: no memory policy may be set here");
                return;
            }
            let worker = std::thread::spawn(move || {
                let inherited = !MemoryPolicy::is_unset().unwrap();
                disinherit(&policy);
                inherited && MemoryPolicy::is_unset().unwrap()
            });
            assert!(worker.join().unwrap());
            // Refused: there is no such node. What was set before stays.
            memory.set(&MemoryPolicy::Prefer(NumaNode(1023)));
            assert!(!MemoryPolicy::is_unset().unwrap());
            drop(memory);
            assert!(MemoryPolicy::is_unset().unwrap());
        });
        apart.join().unwrap();
    }

    #[test]
    fn the_remedy_is_an_option_of_numactl() {
        let several = MemoryPolicy::Interleave(vec![NumaNode(0), NumaNode(1)]);
        assert_eq!(by_hand(&several), "--interleave=0,1");
        assert_eq!(by_hand(&MemoryPolicy::Prefer(NumaNode(1))), "--preferred=1");
    }
}
