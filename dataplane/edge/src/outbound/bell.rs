//! What wakes a part of a task: while the task runs, its parts wake each other without the runtime.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// One part's. Who rings looks at `running` after it wrote `rung`, and the task the other way round, both in the one order of all threads: one of the two sees the other.
#[derive(Debug)]
pub struct Bell {
    rung: AtomicBool,
    /// Whether the task runs, and looks at its bells before it sleeps.
    running: AtomicBool,
    task: Mutex<Waker>,
}

impl Bell {
    /// Nobody has rung.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            rung: AtomicBool::new(false),
            running: AtomicBool::new(false),
            task: Mutex::new(Waker::noop().clone()),
        })
    }

    /// The task runs, and this is how it is woken when it sleeps.
    pub fn begin(&self, task: &Waker) {
        let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.will_wake(task) {
            known.clone_from(task);
        }
        drop(known);
        self.running.store(true, SeqCst);
    }

    /// Whether it was rung; it is not any more.
    pub fn take(&self) -> bool {
        self.rung.swap(false, SeqCst)
    }

    /// The task sleeps from now on, unless it was rung meanwhile: then it is woken at once.
    pub fn end(&self) {
        self.running.store(false, SeqCst);
        if self.rung.load(SeqCst) {
            self.wake_task();
        }
    }

    fn wake_task(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.wake_by_ref();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, SeqCst);
        if !self.running.load(SeqCst) {
            self.wake_task();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Context;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_task_that_runs_is_not_woken_and_one_that_sleeps_is() {
        let count = Arc::<Count>::default();
        let task = Waker::from(Arc::clone(&count));
        let woken = || count.0.load(SeqCst);
        let bell = Bell::new();
        let waker = Waker::from(Arc::clone(&bell));
        bell.begin(Context::from_waker(&task).waker());
        waker.wake_by_ref();
        assert_eq!((woken(), bell.take(), bell.take()), (0, true, false));
        bell.end();
        assert_eq!(woken(), 0);
        waker.wake_by_ref();
        assert_eq!(woken(), 1);
        // What was not looked at is not lost.
        bell.begin(&task);
        bell.end();
        assert_eq!(woken(), 2);
    }
}
