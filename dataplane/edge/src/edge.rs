//! The process: one thread per pod; signals, metrics and the operator's API on the main one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use dmsc_daemon::process::{NotifyState, more_files, notify};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::config::Config;
use crate::handover::{self, Inherited};
use crate::log::AccessLog;
use crate::pod::{self, Phase, Shared};
use crate::{metrics, operator};

/// A pod whose gateway is away longer than this does not keep the others from being ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// What runs.
#[derive(Debug)]
pub struct Edge {
    /// As it was read.
    pub config: Config,
    /// In the order of the file.
    pub pods: Vec<Arc<Shared>>,
    /// Calls that are over.
    pub log: AccessLog,
    phase: watch::Sender<Phase>,
}

impl Edge {
    /// One that runs; its pods are started elsewhere.
    #[must_use]
    pub fn new(config: Config, pods: Vec<Arc<Shared>>, log: AccessLog) -> Self {
        let (phase, _) = watch::channel(Phase::Running);
        Self {
            config,
            pods,
            log,
            phase,
        }
    }

    /// What is done now.
    #[must_use]
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Takes no new calls; ends when nothing goes on any more, 30 s later at most.
    pub fn drain(&self) {
        self.phase.send_if_modified(|phase| {
            let running = *phase == Phase::Running;
            if running {
                *phase = Phase::Draining;
            }
            running
        });
    }
}

/// Runs until it is told to end, or another process has taken over.
///
/// # Errors
/// Sockets, namespaces or credentials that cannot be had.
pub fn run(config: Config, takeover: bool) -> anyhow::Result<()> {
    more_files();
    let mut inherited = if takeover {
        handover::take(&config).context("takeover")?
    } else {
        Inherited::default()
    };
    let log = AccessLog::open(&config.access_log)?;
    let pods = config
        .pods
        .iter()
        .map(|pod| Arc::new(Shared::new(pod.clone())));
    let pods = pods.collect();
    let edge = Arc::new(Edge::new(config, pods, log));
    inherited.fill(&edge.pods);
    let (opened, all_opened) = std::sync::mpsc::channel();
    let (registered, all_registered) = mpsc::unbounded_channel();
    let mut threads = Vec::new();
    for shared in &edge.pods {
        let taken = inherited
            .sockets
            .remove(&shared.config.identity)
            .unwrap_or_default();
        let (shared, log, phase) = (Arc::clone(shared), edge.log.clone(), edge.phase());
        let (opened, registered) = (opened.clone(), registered.clone());
        let name: String = format!("pod {}", shared.config.identity)
            .chars()
            .take(15)
            .collect();
        let thread = std::thread::Builder::new().name(name);
        threads
            .push(thread.spawn(move || pod::run(&shared, taken, log, phase, &opened, registered))?);
    }
    drop((opened, registered));
    let opened: anyhow::Result<()> = all_opened.iter().take(threads.len()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = match opened {
        Ok(()) => runtime.block_on(watch_over(&edge, inherited, all_registered)),
        Err(error) => Err(error),
    };
    if ended.is_err() {
        edge.phase.send_replace(Phase::Ended);
    }
    for thread in threads {
        if thread.join().is_err() {
            warn!("a pod's thread panicked");
        }
    }
    ended
}

async fn watch_over(
    edge: &Arc<Edge>,
    inherited: Inherited,
    mut registered: mpsc::UnboundedReceiver<String>,
) -> anyhow::Result<()> {
    // Signals first, so that one sent early is not lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let log = edge.log.clone();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            log.reopen();
        }
    });
    metrics::serve(Arc::clone(edge)).await?;
    let all = async {
        for _ in 0..edge.pods.len() {
            registered.recv().await;
        }
    };
    let mut phase = edge.phase();
    let ready = async {
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            warn!("some pods are not registered yet; ready without them");
        }
        if inherited.is_from_another() {
            // systemd would take the end of the other process for the end of the service.
            notify(&[NotifyState::MainPid(std::process::id())]);
        }
        let ending = Arc::clone(edge);
        let ended = tokio::task::spawn_blocking(move || inherited.finish(&ending));
        ended.await?.context("takeover")?;
        operator::serve(Arc::clone(edge)).await?;
        handover::serve(Arc::clone(edge)).await?;
        notify(&[NotifyState::Ready]);
        info!(pods = edge.pods.len(), "ready");
        anyhow::Ok(())
    };
    let working = async {
        ready.await?;
        let _ = phase.wait_for(|phase| *phase > Phase::Running).await;
        anyhow::Ok(())
    };
    let is_told = tokio::select! {
        replaced = working => replaced.map(|()| false)?,
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
    };
    // The service goes on when another process has taken over.
    if is_told {
        notify(&[NotifyState::Stopping]);
    }
    info!("takes no new calls, and ends");
    edge.drain();
    // Somebody who is in a hurry says it twice.
    let again = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    // Each pod's thread has a sender until it ends.
    let ended = async { while registered.recv().await.is_some() {} };
    tokio::select! {
        () = ended => {}
        () = again => { edge.phase.send_replace(Phase::Ended); }
    }
    Ok(())
}
