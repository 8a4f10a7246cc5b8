//! The way to a running router from other tasks: questions and orders to the one task that owns it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dmsc_linkstate::AdjacencyId;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::agent::AgentError;
use crate::config::Config;
use crate::drain::{self, DrainStage, Times};
use crate::node::Node;
use crate::pods::{Dataplane, Pods};

/// What the driver task runs, one after the other.
pub type Job = Box<dyn FnOnce(&mut Node) + Send>;

/// Orders that wait at most; more make their senders wait.
const WAITING: usize = 256;
/// Between attempts to hear of hellos.
const AGAIN: Duration = Duration::from_secs(1);

/// A way to the node; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    jobs: mpsc::Sender<Job>,
    pods: Arc<Pods>,
}

/// A configuration that was not applied; everything stays as it was.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// Fields that only a restart of the process can change.
    #[error("{} can only be changed by a restart of the control plane, which disturbs no traffic: systemctl restart", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// The dataplane does not take it.
    #[error("the dataplane refuses: {0}")]
    Dataplane(#[from] AgentError),
    /// The process is ending.
    #[error("this control plane is ending")]
    Ending,
}

impl Handle {
    /// A handle, and the jobs that come by it, for the driver.
    #[must_use]
    pub fn new(pods: Arc<Pods>) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, receiver) = mpsc::channel(WAITING);
        (Self { jobs, pods }, receiver)
    }

    /// Runs `f` on the driver task, between two events; keep it short. `None` while the process ends.
    pub async fn query<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Node) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |node| {
            // Whoever asked may be gone.
            let _ = answer.send(f(node));
        });
        self.jobs.send(job).await.ok()?;
        answered.await.ok()
    }

    /// Leases and the dataplane's agent.
    #[must_use]
    pub fn pods(&self) -> &Arc<Pods> {
        &self.pods
    }

    /// Puts another configuration in force, all or nothing; returns the difference, one line per field. The dataplane is asked first.
    ///
    /// # Errors
    /// When a field needs a restart, or the dataplane refuses.
    pub async fn apply_config(&self, new: Config) -> Result<Vec<String>, ApplyError> {
        // Locked until the end, so that nobody programs in between.
        let mut dataplane = self.pods.dataplane.lock().await;
        let new = Arc::new(new);
        let wanted = Arc::clone(&new);
        let plan = self.query(move |node| node.plan_config(&wanted)).await;
        let plan = plan.ok_or(ApplyError::Ending)??;
        let mut took = Vec::new();
        if let Some(dataplane) = dataplane.as_mut() {
            dataplane.agent.apply(plan.first.clone()).await?;
            took = plan.first;
        }
        let anew = self.query(move |node| node.put_config(new, &took)).await;
        let anew = anew.ok_or(ApplyError::Ending)?;
        if let (false, Some(dataplane)) = (anew.is_empty(), dataplane.as_mut())
            && let Err(error) = self.hear(dataplane, &anew).await
        {
            // The configuration is in force all the same.
            warn!(%error, "hellos of new adjacencies not known yet; asked again");
            tokio::spawn(self.clone().hear_later(anew));
        }
        drop(dataplane);
        self.pods.change();
        Ok(plan.diff)
    }

    /// Hellos of these adjacencies may run already, and no event tells.
    async fn hear(
        &self,
        dataplane: &mut Dataplane,
        anew: &[AdjacencyId],
    ) -> Result<(), AgentError> {
        let dump = dataplane.agent.dump(false).await?;
        let up = dump.adjacencies.into_iter().filter(|one| one.state == "up");
        let up: HashSet<u32> = up.map(|one| one.id).collect();
        let is_up = |id: &AdjacencyId| up.contains(&u32::from(id.0));
        let anew: Vec<AdjacencyId> = anew.iter().copied().filter(is_up).collect();
        self.query(move |node| {
            for id in anew {
                node.hello(id, true);
            }
        })
        .await;
        Ok(())
    }

    async fn hear_later(self, anew: Vec<AdjacencyId>) {
        loop {
            tokio::time::sleep(AGAIN).await;
            let mut slot = self.pods.dataplane.lock().await;
            // One that is connected anew tells all hellos.
            let Some(dataplane) = slot.as_mut() else {
                return;
            };
            if self.hear(dataplane, &anew).await.is_ok() {
                return;
            }
        }
    }

    /// Takes this node out of service; tells stages until one has `done` set. `settle`: how long routers behind the neighbours may take to act on it.
    #[must_use]
    pub fn drain(&self, timeout: Duration, settle: Duration) -> mpsc::Receiver<DrainStage> {
        let (stages, receiver) = mpsc::channel(8);
        let times = Times { timeout, settle };
        tokio::spawn(drain::drain(self.clone(), times, false, stages));
        receiver
    }

    /// As [`Handle::drain`], then purges all that this node originated, and ends the process when the receiver is dropped.
    #[must_use]
    pub fn drain_and_stop(
        &self,
        timeout: Duration,
        settle: Duration,
    ) -> mpsc::Receiver<DrainStage> {
        let (stages, receiver) = mpsc::channel(8);
        let times = Times { timeout, settle };
        tokio::spawn(drain::drain(self.clone(), times, true, stages));
        receiver
    }

    /// Ends a drain.
    pub async fn undrain(&self) {
        self.query(Node::undrain).await;
    }
}
