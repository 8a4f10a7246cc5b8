//! Who may use the table now: while one process replaces another, only one of them gives addresses and looks them up.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Of one table. Open, unless the process that gives addresses so far has not ended yet.
#[derive(Debug)]
pub struct Gate {
    open: watch::Sender<bool>,
    users: Arc<Users>,
}

#[derive(Debug, Default)]
struct Users {
    count: Mutex<usize>,
    left: Condvar,
}

/// A task that gives addresses, or looks them up.
#[derive(Debug)]
pub struct User(Arc<Users>);

impl Default for Gate {
    fn default() -> Self {
        Self {
            open: watch::Sender::new(true),
            users: Arc::default(),
        }
    }
}

impl Gate {
    /// Lets nobody in until [`Gate::open`].
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Lets those in who wait.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn enter(&self) -> User {
        let mut open = self.open.subscribe();
        // The sender lives as long as the gate.
        let _ = open.wait_for(|open| *open).await;
        *self.users.lock() += 1;
        User(Arc::clone(&self.users))
    }

    /// Waits until all have left who are in; `false`: not in time. Blocks.
    #[must_use]
    pub fn wait_until_left(&self, most: Duration) -> bool {
        let users = self.users.lock();
        let waited = self
            .users
            .left
            .wait_timeout_while(users, most, |count| *count > 0);
        let (count, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *count == 0
    }
}

impl Users {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        *count = count.saturating_sub(1);
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_process_after_the_other() {
        let gate = Arc::new(Gate::default());
        let user = gate.enter().await;
        assert!(!gate.wait_until_left(Duration::from_millis(1)));
        let waiting = Arc::clone(&gate);
        let left = std::thread::spawn(move || waiting.wait_until_left(Duration::from_secs(60)));
        drop(user);
        assert!(left.join().unwrap());

        gate.close();
        let entering = Arc::clone(&gate);
        let entered = tokio::spawn(async move { entering.enter().await });
        tokio::task::yield_now().await;
        assert!(!entered.is_finished());
        gate.open();
        let user = entered.await.unwrap();
        assert!(!gate.wait_until_left(Duration::ZERO));
        drop(user);
        assert!(gate.wait_until_left(Duration::ZERO));
    }
}
