//! Keeps workers out of a memif port while its driver takes the connection apart.
//!
//! When the peer goes away, DPDK's memif driver, on EAL's interrupt thread, marks the port as disconnected, takes its interrupt callback
//! back, and then closes descriptors and unmaps rings, whoever is in a burst of them. Between the second and the third step
//! (`dmsc_unregister_hook` of the shim) we wait until every burst that may have seen the port connected has ended, and no new one enters the
//! driver until the callback is over. A worker never waits: meanwhile its queue has nothing to receive and no room to send.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize, compiler_fence, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use dpdk_sys as sys;

/// Disconnections that are under way.
static HELD: AtomicUsize = AtomicUsize::new(0);
static GATES: Mutex<Vec<Weak<Gate>>> = Mutex::new(Vec::new());
/// Whether one thread can make all others of this process pass a barrier.
static EXPEDITED: OnceLock<bool> = OnceLock::new();

/// `MEMBARRIER_CMD_PRIVATE_EXPEDITED` and its registration (linux/membarrier.h).
const BARRIER: libc::c_int = 1 << 3;
const REGISTER_BARRIER: libc::c_int = 1 << 4;

/// Looks at a worker before sleeping for [`NAP`]: most bursts are over by then.
const LOOKS: u32 = 200;
const NAP: Duration = Duration::from_micros(50);

/// How many microseconds after the hook the alarm is due that lets workers in again: at once, but it runs on the interrupt thread, so not
/// before the callback that is running there is over.
const AFTER_US: u64 = 1;

/// One half of a queue pair. Its turns are odd while a worker is inside of the driver.
#[repr(align(64))] // not shared with what others write
pub(crate) struct Gate {
    turns: AtomicU64,
    expedited: bool,
}

impl Gate {
    /// A gate that disconnections look at as long as it is there.
    pub(crate) fn new() -> Arc<Gate> {
        let expedited = *EXPEDITED.get_or_init(|| {
            // SAFETY: the hook is a function of this program, which stays.
            unsafe { sys::dmsc_unregister_hook(Some(before_unregister)) };
            membarrier(REGISTER_BARRIER)
        });
        let gate = Arc::new(Gate {
            turns: AtomicU64::new(0),
            expedited,
        });
        let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|gate| gate.strong_count() > 0);
        gates.push(Arc::downgrade(&gate));
        gate
    }

    /// Calls into the driver; nothing of it happens while a connection is taken apart.
    #[inline]
    pub(crate) fn pass(&self, burst: impl FnOnce() -> usize) -> usize {
        // Only the worker of this queue writes here.
        let turn = self.turns.load(Relaxed);
        self.turns.store(turn.wrapping_add(1), Relaxed);
        // The store must be seen before the driver looks whether the port is connected. Whoever disconnects it pays for that, where the
        // kernel helps.
        if self.expedited {
            compiler_fence(SeqCst);
        } else {
            fence(SeqCst);
        }
        let done = if HELD.load(Acquire) == 0 { burst() } else { 0 };
        self.turns.store(turn.wrapping_add(2), Release);
        done
    }

    /// Waits for the end of the burst that is under way, if one is.
    ///
    /// There is no limit in time: a burst does not block, so this takes as long as the worker needs to get to its end, a few microseconds on a
    /// core of its own and a slice of the scheduler on a shared one, and to go on earlier is to unmap memory under it.
    fn wait_out(&self) {
        let seen = self.turns.load(Acquire);
        let mut looks = 0;
        while seen % 2 == 1 && self.turns.load(Acquire) == seen {
            if looks < LOOKS {
                looks += 1;
                std::hint::spin_loop();
            } else {
                std::thread::sleep(NAP);
            }
        }
    }
}

/// The memif driver is about to take a callback back: a connection ends.
extern "C" fn before_unregister() {
    HELD.fetch_add(1, SeqCst);
    fence(SeqCst);
    membarrier(BARRIER);
    let gates: Vec<_> = {
        let gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().filter_map(Weak::upgrade).collect()
    };
    gates.iter().for_each(|gate| gate.wait_out());
    // SAFETY: the callback takes no argument.
    if unsafe { sys::rte_eal_alarm_set(AFTER_US, Some(let_in), ptr::null_mut()) } != 0 {
        HELD.fetch_sub(1, Release);
    }
}

/// Runs on EAL's interrupt thread, behind the callback that disconnected a port.
unsafe extern "C" fn let_in(_argument: *mut c_void) {
    HELD.fetch_sub(1, Release);
}

/// False where the kernel does not have the command, or a sandbox forbids it.
fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call reads nothing but its arguments.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_waited_for_and_the_next_is_not_begun() {
        let gate = Gate::new();
        let (inside, wait) = (std::sync::Barrier::new(2), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                gate.pass(|| {
                    inside.wait();
                    // The other thread waits for this burst meanwhile, or comes later and finds it over.
                    std::thread::sleep(Duration::from_millis(5));
                    wait.store(1, Release);
                    1
                })
            });
            inside.wait();
            gate.wait_out();
            assert_eq!(wait.load(Acquire), 1);
        });
        HELD.fetch_add(1, SeqCst);
        assert_eq!(gate.pass(|| unreachable!("a held gate")), 0);
        HELD.fetch_sub(1, SeqCst);
        assert_eq!(gate.pass(|| 7), 7);
        gate.wait_out();
    }
}
