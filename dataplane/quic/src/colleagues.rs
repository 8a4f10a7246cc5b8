//! The called end's part of [`crate::replicas`]: follows who else serves its pod's prefixes at its gateway, and tells its callers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use dmsc_wire::{Name, NameBuf};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::debug;

use crate::endpoint::Inner;
use crate::notice;
use crate::replicas::{Health, Replica};

/// Prefixes that are followed at the same time; callers of others are told nothing. Gateways let a pod follow 24 names, those that it calls included.
const MAX_FOLLOWED: usize = 8;
/// Between two questions to a gateway that is away: twice as long every time, up to a limit.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const ASK_SELDOM: Duration = Duration::from_secs(16);
/// Between two notices on one connection: its caller listens no faster.
const PAUSE: Duration = Duration::from_millis(100);

/// Those that serve one prefix at this gateway, this pod included; empty until it is told.
type Told = Arc<[Replica]>;

/// The prefixes that are followed: each by a task, as long as there are callers.
#[derive(Debug, Default)]
pub(crate) struct Colleagues(Mutex<HashMap<NameBuf, watch::Sender<Told>>>);

impl Colleagues {
    fn lock(&self) -> MutexGuard<'_, HashMap<NameBuf, watch::Sender<Told>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a prefix that nobody is told of any more; whether that is so.
    fn forget(&self, prefix: &NameBuf) -> bool {
        let mut followed = self.lock();
        let unused = followed
            .get(prefix)
            .is_none_or(|told| told.receiver_count() == 0);
        if unused {
            followed.remove(prefix);
        }
        unused
    }
}

/// Those who serve `called` as this pod does. `None`: it does not serve it, or follows enough already.
fn follow(endpoint: &Arc<Inner>, called: Name<'_>) -> Option<watch::Receiver<Told>> {
    let serves = Arc::clone(&endpoint.pod.registered().serves);
    let prefix = (1..=called.component_count())
        .rev()
        .find_map(|depth| serves.get(called.prefix(depth).as_bytes()))?
        .clone();
    let mut followed = endpoint.colleagues.lock();
    if let Some(told) = followed.get(&prefix) {
        return Some(told.subscribe());
    }
    if followed.len() >= MAX_FOLLOWED {
        return None;
    }
    let told = watch::Sender::new(Told::default());
    let receiver = told.subscribe();
    followed.insert(prefix.clone(), told.clone());
    tokio::spawn(ask(Arc::downgrade(endpoint), prefix, told));
    Some(receiver)
}

/// Asks the gateway for as long as somebody wants to know. What was told stays while the gateway is away.
async fn ask(endpoint: Weak<Inner>, prefix: NameBuf, told: watch::Sender<Told>) {
    let mut pause = ASK_AGAIN;
    loop {
        tokio::select! {
            () = told.closed() => {}
            answered = listen(&endpoint, &prefix, &told) => {
                if answered {
                    pause = ASK_AGAIN;
                }
                tokio::select! {
                    () = told.closed() => {}
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(ASK_SELDOM);
            }
        }
        if told.receiver_count() == 0 {
            // Somebody may have come meanwhile.
            match endpoint.upgrade() {
                Some(endpoint) if !endpoint.colleagues.forget(&prefix) => {}
                _ => return,
            }
        }
    }
}

/// Until the gateway tells no more; whether it told anything.
async fn listen(endpoint: &Weak<Inner>, prefix: &NameBuf, told: &watch::Sender<Told>) -> bool {
    let Some(inner) = endpoint.upgrade() else {
        return false;
    };
    let resolution = inner.pod.resolve(prefix).await;
    // Nobody is held up who ends the endpoint.
    drop(inner);
    let mut resolution = match resolution {
        Ok(resolution) => resolution,
        Err(error) => {
            debug!(%prefix, %error, "who else serves it is not told");
            return false;
        }
    };
    let mut answered = false;
    while let Ok(Some(instances)) = resolution.next().await {
        let Some(inner) = endpoint.upgrade() else {
            break;
        };
        let own = inner.pod.registered();
        answered = true;
        let here = instances.iter().filter(|one| one.gateway == own.gateway);
        if here.clone().all(|one| one.attachment != own.attachment) {
            // It may have been revoked: then its connections are to end.
            inner.pod.refresh();
        }
        drop(inner);
        let here = here.map(|one| Replica {
            attachment: one.attachment,
            health: Health::of_word(&one.health),
        });
        told.send_replace(here.collect());
    }
    answered
}

/// Tells the caller of one connection: who else there is, if there is somebody, and what changes. Ends with the connection or the endpoint.
pub(crate) async fn tell(endpoint: Weak<Inner>, quic: quinn::Connection, called: NameBuf) {
    let told = endpoint.upgrade();
    let told = told.and_then(|endpoint| follow(&endpoint, called.as_name()));
    let Some(mut told) = told else { return };
    let mut said = Told::default();
    loop {
        let now = Arc::clone(&told.borrow_and_update());
        // Alone, there is nothing to choose from.
        let worth = now.len() > 1 || !(said.is_empty() || now.is_empty());
        if worth && now != said {
            let Ok(mut stream) = quic.open_uni().await else {
                return;
            };
            if stream.write_all(&notice::replicas(&now)).await.is_ok() {
                let _ = stream.finish();
            }
            said = now;
            sleep(PAUSE).await;
        }
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            _ = quic.closed() => return,
        }
    }
}
