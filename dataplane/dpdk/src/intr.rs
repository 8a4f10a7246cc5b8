//! Holds EAL's interrupt thread still while a driver that has callbacks there is closed.

use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dpdk_sys as sys;

/// Longer than any callback of a driver takes.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    Parked,
    Released,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The interrupt thread is parked, in a callback of ours, until this is dropped.
///
/// virtio-user takes its callback back when it stops, and DPDK refuses that while the callback runs (`-EAGAIN`, which the
/// driver ignores); the next event then calls into a port that is gone. With the thread here, none runs.
pub(crate) struct Parked(Arc<Shared>);

impl Parked {
    /// Waits until the interrupt thread is parked, or is found busy for too long.
    pub(crate) fn park() -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Asked),
            changed: Condvar::new(),
        });
        let argument = Arc::into_raw(Arc::clone(&shared))
            .cast_mut()
            .cast::<c_void>();
        // SAFETY: the callback gets the reference that it takes, once.
        let ret = unsafe { sys::rte_eal_alarm_set(1, Some(park), argument) };
        if ret == 0 {
            let state = shared.lock();
            drop(
                shared
                    .changed
                    .wait_timeout_while(state, PATIENCE, |state| *state == State::Asked),
            );
        } else {
            // SAFETY: no alarm was set, so the reference is still ours.
            drop(unsafe { Arc::from_raw(argument.cast_const().cast::<Shared>()) });
        }
        Self(shared)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        *self.0.lock() = State::Released;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs on EAL's interrupt thread.
///
/// # Safety
/// `argument` is an `Arc<Shared>` made into a pointer for this one call.
unsafe extern "C" fn park(argument: *mut c_void) {
    // SAFETY: the reference that was made for this call.
    let shared = unsafe { Arc::from_raw(argument.cast_const().cast::<Shared>()) };
    let mut state = shared.lock();
    if *state == State::Asked {
        *state = State::Parked;
        shared.changed.notify_all();
    }
    drop(
        shared
            .changed
            .wait_while(state, |state| *state != State::Released),
    );
}
