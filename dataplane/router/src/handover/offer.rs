//! The old process's side: state is given while transactions wait, then the workers are asked to stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dmsc_proto::v1;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, mpsc};
use tonic::Status;

use super::state;
use crate::publisher::Publishing;
use crate::shared::Shared;

/// Transactions wait this long for a process that has asked and does not go on.
const DEADLINE: Duration = Duration::from_secs(30);
/// Replies that may wait for the asker.
const WAITING: usize = 2;

type Reply = Result<v1::HandoverReply, Status>;

/// The order to stop for another process.
pub struct Order {
    /// Where "stopped" and "released" are told.
    pub replies: mpsc::Sender<Reply>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Nobody,
    /// The number tells one asker from the next.
    Given(u64),
    Leaving,
}

/// Gives the state away, once at a time.
pub struct Offer {
    shared: Arc<Shared>,
    publishing: Publishing,
    gate: Arc<RwLock<()>>,
    stage: Arc<Mutex<(Stage, u64)>>,
    orders: mpsc::Sender<Order>,
}

fn lock(stage: &Mutex<(Stage, u64)>) -> MutexGuard<'_, (Stage, u64)> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Offer {
    /// Orders go to the receiver.
    pub fn new(shared: Arc<Shared>, publishing: Publishing) -> (Offer, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(1);
        let offer = Offer {
            shared,
            publishing,
            gate: Arc::default(),
            stage: Arc::new(Mutex::new((Stage::Nobody, 0))),
            orders,
        };
        (offer, receiver)
    }

    /// Lets a transaction pass; waits while the state is being given away.
    pub async fn admit(&self) -> OwnedRwLockReadGuard<()> {
        self.gate.clone().read_owned().await
    }

    /// What transactions pass one by one where many come at once, as by [`Offer::admit`].
    pub fn gate(&self) -> Arc<RwLock<()>> {
        self.gate.clone()
    }

    /// Serves one call.
    ///
    /// # Errors
    /// A process of another router or another time, and one that comes second.
    pub async fn serve(
        &self,
        request: v1::HandoverRequest,
    ) -> Result<mpsc::Receiver<Reply>, Status> {
        let (min, max) = dmsc_proto::AGENT_VERSIONS;
        let version = request.version_max.min(max);
        if version < min || version < request.version_min {
            return Err(Status::failed_precondition(format!(
                "the new process speaks versions {} to {} of the agent's API, this one {min} to {max}: use neighbouring releases",
                request.version_min, request.version_max
            )));
        }
        let own = self.shared.node().0;
        if request.node != own {
            return Err(Status::failed_precondition(format!(
                "this is node {own}, and the new process is configured as node {}: only the same router can be taken over",
                request.node
            )));
        }
        if request.release {
            self.release().await
        } else {
            self.give()
        }
    }

    fn give(&self) -> Result<mpsc::Receiver<Reply>, Status> {
        let asker = {
            let mut stage = lock(&self.stage);
            if stage.0 != Stage::Nobody {
                return Err(Status::failed_precondition(
                    "another process is taking over at the moment",
                ));
            }
            stage.1 += 1;
            stage.0 = Stage::Given(stage.1);
            stage.1
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        let (shared, publishing) = (self.shared.clone(), self.publishing.clone());
        let (gate, stage) = (self.gate.clone(), self.stage.clone());
        tokio::spawn(async move {
            // Those under way are acknowledged first.
            let closed = gate.write_owned().await;
            let replies =
                tokio::task::spawn_blocking(move || state::replies(&shared, &publishing.view()))
                    .await;
            let wait = async {
                for reply in replies.unwrap_or_default() {
                    if sender.send(Ok(reply)).await.is_err() {
                        return;
                    }
                }
                sender.closed().await;
            };
            let ended = tokio::time::timeout(DEADLINE, wait).await;
            let mut stage = lock(&stage);
            if stage.0 == Stage::Given(asker) {
                stage.0 = Stage::Nobody;
                tracing::warn!(
                    in_time = ended.is_ok(),
                    "the process that was to take over went away: going on"
                );
            } else {
                // Transactions find out when this process is gone.
                std::mem::forget(closed);
            }
        });
        Ok(receiver)
    }

    async fn release(&self) -> Result<mpsc::Receiver<Reply>, Status> {
        {
            let mut stage = lock(&self.stage);
            if !matches!(stage.0, Stage::Given(_)) {
                return Err(Status::failed_precondition(
                    "the state was not asked for, or that was 30 s ago: begin again",
                ));
            }
            stage.0 = Stage::Leaving;
        }
        let (replies, receiver) = mpsc::channel(WAITING);
        match self.orders.send(Order { replies }).await {
            Ok(()) => Ok(receiver),
            Err(_) => Err(Status::unavailable("the dataplane is stopping")),
        }
    }
}
