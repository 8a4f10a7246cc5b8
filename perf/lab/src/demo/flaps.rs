//! Watches the tables of dataplanes while something happens that must not change them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::agent::{Agent, Tables};
use crate::lab::Lab;

/// Between two looks at all dataplanes.
const INTERVAL: Duration = Duration::from_millis(50);

/// A thread that looks at the tables of all dataplanes again and again.
pub struct FlapWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl FlapWatch {
    /// Starts to watch; what the tables are now is what they should stay.
    ///
    /// # Errors
    /// When an agent does not answer.
    pub fn start(lab: &Lab) -> anyhow::Result<Self> {
        let mut watched = Vec::new();
        for node in &lab.plan.nodes {
            let socket = lab.paths().agent(&node.name);
            let mut agent = Agent::connect(&socket)?;
            let tables = agent.tables()?;
            watched.push((node.name.clone(), agent, tables));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = stop.clone();
            std::thread::spawn(move || watch(watched, &stop))
        };
        Ok(Self { stop, thread })
    }

    /// Looks once more, and tells what changed, in order.
    #[must_use]
    pub fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_default()
    }
}

fn watch(mut watched: Vec<(String, Agent, Tables)>, stop: &AtomicBool) -> Vec<String> {
    let began = Instant::now();
    let mut changes = Vec::new();
    loop {
        let last = stop.load(Ordering::SeqCst);
        for (name, agent, tables) in &mut watched {
            // A dataplane that is being replaced does not answer; what it has afterwards counts.
            let Ok(now) = agent.tables() else { continue };
            if now != *tables {
                changes.push(format!(
                    "{name} after {:.2} s: {}",
                    began.elapsed().as_secs_f32(),
                    tables.difference(&now)
                ));
                *tables = now;
            }
        }
        if last {
            return changes;
        }
        std::thread::sleep(INTERVAL);
    }
}
