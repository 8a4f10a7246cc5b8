//! One instance of a name, and what its callers learn of it.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Time};

use dmsc_pod::Pin;

/// How long an instance is passed over that did not take a call.
const REST: Duration = Duration::from_secs(1);

/// An instance; `T` is what its caller keeps for it, such as connections to its program.
#[derive(Debug, Default)]
pub struct Instance<T = ()> {
    /// Where it is; `None`: wherever the network takes the call.
    pub pin: Option<Pin>,
    /// Of the caller. It stays as long as the instance is told.
    pub kept: T,
    in_flight: AtomicU32,
    rests_until: Mutex<Option<Time>>,
}

impl<T: Default> Instance<T> {
    pub(crate) fn new(pin: Option<Pin>) -> Arc<Self> {
        Arc::new(Self {
            pin,
            ..Self::default()
        })
    }
}

impl<T> Instance<T> {
    /// It did not take a call: others are preferred for a second.
    pub fn rest(&self) {
        *self.lock() = Some(Time::now() + REST);
    }

    pub(crate) fn rests(&self, now: Time) -> bool {
        let mut until = self.lock();
        if until.is_some_and(|until| until <= now) {
            *until = None;
        }
        until.is_some()
    }

    /// Calls that it has.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Time>> {
        self.rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// An instance that was chosen; it counts as busy with one call more until this is dropped.
#[derive(Debug)]
pub struct Chosen<T = ()>(Arc<Instance<T>>);

impl<T> Chosen<T> {
    pub(crate) fn new(instance: &Arc<Instance<T>>) -> Self {
        instance.in_flight.fetch_add(1, Relaxed);
        Self(Arc::clone(instance))
    }
}

impl<T> Drop for Chosen<T> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl<T> Deref for Chosen<T> {
    type Target = Arc<Instance<T>>;

    fn deref(&self) -> &Arc<Instance<T>> {
        &self.0
    }
}
