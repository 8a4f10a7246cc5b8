//! What a center writes into its folder, on a thread of its own: nobody waits for the disk, and what waits for it is bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use dmsc_scsc::SignedPolicy;
use dmsc_scsc::store::Store;
use tracing::warn;

/// Decisions that wait for the disk.
const MAX_WAITING: usize = 4_096;

#[derive(Debug, Default)]
struct Waiting {
    /// With the wall clock's ms.
    decisions: VecDeque<(u64, String)>,
    /// Only the latest count.
    policies: Option<Vec<SignedPolicy>>,
    /// Something is being written.
    busy: bool,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        let woken = self.changed.wait(waiting);
        woken.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread; ends, with everything written, when this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Writes into `store` from now on.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("scsc-writer".into())
            .spawn(move || write(&store, &of))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Puts a decision in the queue; `false`: there is no room, and it is left out.
    pub fn decision(&self, wall_ms: u64, text: String) -> bool {
        let mut waiting = self.shared.waiting();
        let room = waiting.decisions.len() < MAX_WAITING;
        if room {
            waiting.decisions.push_back((wall_ms, text));
            self.shared.changed.notify_all();
        }
        room
    }

    /// These are the policies in force; those that were to be written before need not be any more.
    pub fn policies(&self, policies: Vec<SignedPolicy>) {
        self.shared.waiting().policies = Some(policies);
        self.shared.changed.notify_all();
    }

    /// Until all of it is on disk, or could not be written.
    pub fn flush(&self) {
        let mut waiting = self.shared.waiting();
        while waiting.busy || waiting.policies.is_some() || !waiting.decisions.is_empty() {
            waiting = self.shared.wait(waiting);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.waiting().ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

fn write(store: &Store, shared: &Shared) {
    let mut waiting = shared.waiting();
    loop {
        let policies = waiting.policies.take();
        let decisions = std::mem::take(&mut waiting.decisions);
        if policies.is_none() && decisions.is_empty() {
            if waiting.ended {
                return;
            }
            waiting = shared.wait(waiting);
            continue;
        }
        waiting.busy = true;
        drop(waiting);
        if let Some(policies) = policies
            && let Err(error) = store.keep(&policies)
        {
            warn!(%error, "policies in force are not kept");
        }
        if let Err(error) = store.record(decisions.iter().map(|(at, text)| (*at, text.as_str()))) {
            warn!(%error, count = decisions.len(), "decisions are not written down");
        }
        waiting = shared.waiting();
        waiting.busy = false;
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_written_and_what_waits_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let writer = Writer::start(Arc::clone(&store)).unwrap();
        assert!(writer.decision(7, "one".into()));
        writer.policies(vec![SignedPolicy::default()]);
        writer.flush();
        assert_eq!(store.decisions(0, 9), [(7, "one".to_owned())]);
        assert_eq!(store.policies().unwrap().len(), 1);
        assert!(writer.decision(8, "two".into()));
        drop(writer);
        assert_eq!(
            store.decisions(8, 9).len(),
            1,
            "ends with everything written"
        );
        let stuck = Writer {
            shared: Arc::default(),
            thread: None,
        };
        assert!((0..MAX_WAITING).all(|_| stuck.decision(9, "waits".into())));
        assert!(!stuck.decision(9, "no room".into()));
    }
}
