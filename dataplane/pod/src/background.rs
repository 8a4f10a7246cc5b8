//! A registration kept by a thread of its own, for programs whose data path is a plain loop over the socket.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::config::PodConfig;
use crate::error::PodError;
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
    let fix_offload = config.fix_offload;
    let session = Session::open(config, registrar, socket.local_addr()?.port()).await?;
    socket.connect(session.registered().data)?;
    if fix_offload {
        offload::fix(socket.local_addr()?.ip()).await;
    }
    Ok((session, socket))
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
