//! One pod: the thread that speaks for it, and what all of its tasks share.

mod context;
mod shared;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dmsc_pod::{Health, Pod};
use dmsc_quic::Endpoint;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::config::PodConfig;
use crate::log::AccessLog;
use crate::sockets::Sockets;
use crate::stats::ConnectionKind;
use crate::{dns, health, inbound, netns, outbound, redirect, tcp};

pub use context::{Context, LINGER, MAX_CALLED, Phase};
pub use shared::{Served, Shared};

/// How long what runs may go on after no new calls are taken.
pub const GRACE: Duration = Duration::from_secs(30);
/// How long callers without a call may take to go.
const LEAVE: Duration = Duration::from_secs(5);
/// Between two looks at what goes on, when it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Registration is tried until it works.
const AGAIN: Duration = Duration::from_secs(1);

/// The thread of a pod: enters its namespace, opens its sockets, registers, and serves until the phase is `Ended`, or `Draining` and nothing goes on.
/// `opened` is told when the sockets are open, or why they cannot be; `registered` once it is.
pub(crate) fn run(
    shared: &Arc<Shared>,
    taken: Sockets,
    log: AccessLog,
    phase: watch::Receiver<Phase>,
    opened: &std::sync::mpsc::Sender<anyhow::Result<()>>,
    registered: tokio::sync::mpsc::UnboundedSender<String>,
) {
    let identity = &shared.config.identity;
    let (runtime, rules) = match open(shared, taken) {
        Ok(open) => open,
        Err(error) => {
            let _ = opened.send(Err(error.context(format!("pod {identity}"))));
            return;
        }
    };
    let _ = opened.send(Ok(()));
    if let Err(error) = runtime.block_on(live(shared, log, phase, registered)) {
        warn!(pod = %identity, error = %format!("{error:#}"), "the pod ended");
    }
    drop(rules);
    runtime.shutdown_timeout(Duration::from_millis(100));
}

fn open(
    shared: &Shared,
    taken: Sockets,
) -> anyhow::Result<(tokio::runtime::Runtime, redirect::Rules)> {
    let config = &shared.config;
    if let Some(path) = &config.netns {
        netns::enter(path)?;
    }
    let sockets = taken.complete(config.outbound.as_ref())?;
    let rules = redirect::install(config)?;
    shared.listen_on(sockets);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok((runtime, rules))
}

async fn live(
    shared: &Arc<Shared>,
    log: AccessLog,
    mut phase: watch::Receiver<Phase>,
    registered: tokio::sync::mpsc::UnboundedSender<String>,
) -> anyhow::Result<()> {
    let identity = &shared.config.identity;
    let pod = tokio::select! {
        pod = register(&shared.config) => pod?,
        _ = phase.wait_for(|phase| *phase > Phase::Running) => return Ok(()),
    };
    let endpoint = Endpoint::new(pod, quic_config(&shared.config)).context("QUIC")?;
    let context = Arc::new(Context::new(
        Arc::clone(shared),
        endpoint,
        log,
        phase.clone(),
    ));
    let _ = shared.context.set(Arc::clone(&context));
    start(&context)?;
    info!(pod = %identity, "registered");
    let _ = registered.send(identity.clone());
    context.until(Phase::Draining).await;
    // Callers that ask their gateways choose others; those that do not are told on their connections.
    if let Err(error) = context.endpoint.pod().set_health(Health::Draining).await {
        warn!(pod = %identity, %error, "the gateway is not told that this pod drains");
    }
    let idle = async {
        context.until_quiet().await;
        let stats = &context.shared.stats;
        while stats.in_flight() + stats.open(ConnectionKind::Http) > 0 {
            tokio::time::sleep(LOOK).await;
        }
        // Callers that were told go when they have nothing under way. One that had just begun a call on a connection that this end closes could not
        // know whether it was executed.
        let left = Instant::now() + LEAVE;
        while stats.is_called() && Instant::now() < left {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = idle => {}
        () = tokio::time::sleep(GRACE) => warn!(pod = %identity, calls = context.shared.stats.in_flight(), "calls are broken off"),
        () = context.until(Phase::Ended) => {}
    }
    let leave = async {
        // The gateway passes on what this says only while the pod is registered.
        context.endpoint.close().await;
        if let Err(error) = context.endpoint.pod().withdraw().await {
            debug!(pod = %identity, %error, "not withdrawn; the lease ends by itself");
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), leave).await;
    Ok(())
}

/// A gateway that is away is waited for: other pods of this process have other gateways.
async fn register(config: &PodConfig) -> anyhow::Result<Pod> {
    let mut pod = dmsc_pod::PodConfig::new(config.gateway.clone(), config.identity.clone());
    pod.credentials = Some(config.credentials.clone());
    pod.domain = config.domain;
    pod.shared.clone_from(&config.shared);
    pod.prefixes = config
        .serves
        .iter()
        .map(|serve| serve.prefix.clone())
        .collect();
    loop {
        match Pod::connect(pod.clone()).await {
            Ok(pod) => return Ok(pod),
            Err(error) => {
                warn!(pod = %config.identity, %error, "not registered; it is tried again")
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn quic_config(config: &PodConfig) -> dmsc_quic::Config {
    let mut quic = dmsc_quic::Config::new(&config.credentials);
    // Others are tried in time; a handshake that is lost once fits.
    quic.handshake_timeout = Duration::from_secs(3);
    quic.idle_timeout = Duration::from_secs(10);
    quic.keep_alive = Duration::from_secs(3);
    if let Some(outbound) = &config.outbound {
        quic.class = outbound.class;
    }
    quic
}

/// Starts all tasks of a pod whose sockets are open. In its runtime.
///
/// # Errors
/// No more file descriptors.
pub fn start(context: &Arc<Context>) -> anyhow::Result<()> {
    let own;
    let sockets = match context.shared.listening() {
        Some(sockets) => {
            own = sockets.try_clone()?;
            own
        }
        None => Sockets::default(),
    };
    let listener = |one: Option<std::net::TcpListener>| one.map(TcpListener::from_std).transpose();
    if let Some(http) = listener(sockets.http)? {
        tokio::spawn(outbound::run(http, Arc::clone(context)));
    }
    if let Some(tcp) = listener(sockets.tcp)? {
        tokio::spawn(tcp::run(tcp, Arc::clone(context)));
    }
    if let (Some(udp), Some(tcp)) = (sockets.dns_udp, listener(sockets.dns_tcp)?) {
        tokio::spawn(dns::run(
            UdpSocket::from_std(udp)?,
            tcp,
            Arc::clone(context),
        ));
    }
    tokio::spawn(close(Arc::clone(context)));
    health::answer(context);
    if context.shared.config.outbound.is_some() {
        tokio::spawn(outbound::sweep(Arc::clone(context)));
    }
    for served in &context.shared.served {
        tokio::spawn(health::run(Arc::clone(served), Arc::clone(context)));
    }
    if !context.shared.served.is_empty() {
        tokio::spawn(inbound::run(context.endpoint.listen(), Arc::clone(context)));
    }
    Ok(())
}

/// When it is time: nobody waits at a socket in vain.
async fn close(context: Arc<Context>) {
    context.until(Phase::Draining).await;
    context.shared.close();
}
