//! A registration kept by a thread of its own, for programs whose data path is a plain loop over the socket.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use dmsc_wire::{Kind, PacketBuilder, RequestId, RouterName};
use tokio::sync::oneshot;
use tracing::warn;

use crate::config::PodConfig;
use crate::error::PodError;
use crate::pod::{PROOF, PROOF_STEP};
use crate::session::{Registered, Session};
use crate::{offload, socket};

/// A registered socket's lease; dropping it withdraws and waits for that.
#[derive(Debug)]
pub struct Background {
    session: Arc<Session>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Opens a socket, registers it, connects it to the gateway and keeps the lease. The socket is non-blocking.
    ///
    /// # Errors
    /// As [`crate::Pod::connect`].
    pub fn connect(config: PodConfig) -> Result<(Self, UdpSocket), PodError> {
        let (tell, told) = mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("lease".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => runtime.block_on(keep(config, &tell, stopped)),
                    Err(error) => drop(tell.send(Err(error.into()))),
                }
            })?;
        let gone = || std::io::Error::other("the lease thread ended");
        let (session, socket) = told.recv().map_err(|_| gone())??;
        let background = Self {
            session,
            stop: Some(stop),
            thread: Some(thread),
        };
        Ok((background, socket))
    }

    /// The registration as it is now.
    #[must_use]
    pub fn registered(&self) -> Arc<Registered> {
        self.session.registered()
    }

    /// See [`Session::suspect`].
    pub fn suspect(&self) {
        self.session.suspect();
    }
}

type Told = Result<(Arc<Session>, UdpSocket), PodError>;

async fn keep(config: PodConfig, tell: &mpsc::SyncSender<Told>, stopped: oneshot::Receiver<()>) {
    let session = match open(config).await {
        Ok((session, socket)) => {
            let session = Arc::new(session);
            if tell.send(Ok((Arc::clone(&session), socket))).is_err() {
                return;
            }
            session
        }
        Err(error) => return drop(tell.send(Err(error))),
    };
    // Told to stop, or the owner is gone: the same.
    let _ = stopped.await;
    // With the registrar away the lease ends by itself.
    let _ = session.end().await;
}

async fn open(config: PodConfig) -> Result<(Session, UdpSocket), PodError> {
    let registrar = config.gateway.resolve().await?;
    let socket = socket::open(registrar, config.udp_port, config.socket_buffer)?;
    let local = socket.local_addr()?;
    if config.fix_offload {
        offload::fix(local.ip()).await;
    }
    let session = Session::open(config, registrar, local.port()).await?;
    socket.connect(session.registered().data)?;
    prove_path(&socket, &session.registered()).await?;
    Ok((session, socket))
}

/// As [`crate::Pod`] does it: pings the gateway until packets pass. Nobody calls this socket yet, so what else comes is dropped.
async fn prove_path(socket: &UdpSocket, registered: &Registered) -> std::io::Result<()> {
    let socket = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
    let gateway = RouterName::new(registered.gateway);
    let id = RequestId(rand::random());
    let ping = PacketBuilder::new(Kind::EchoRequest)
        .destination(gateway.as_name())
        .source(registered.source_name.as_name())
        .domain(registered.domain)
        .request_id(id)
        .to_vec()
        .map_err(std::io::Error::other)?;
    let answered = async |buffer: &mut [u8]| {
        // An error packet came the same way, and carries an id of its own.
        while let Ok(length) = socket.recv(buffer).await {
            if dmsc_wire::parse(&buffer[..length])
                .is_ok_and(|header| header.request_id == id || header.kind == Kind::Error)
            {
                return;
            }
        }
        std::future::pending().await
    };
    let mut buffer = vec![0; 65_536];
    let end = Instant::now() + PROOF;
    while Instant::now() < end {
        // Not sent is not answered.
        let _ = socket.send(&ping).await;
        if tokio::time::timeout(PROOF_STEP, answered(&mut buffer))
            .await
            .is_ok()
        {
            return Ok(());
        }
    }
    warn!(gateway = %gateway.as_name(), "registered, but the gateway answers no packets; its drop counters for this pod's port say why");
    Ok(())
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}
