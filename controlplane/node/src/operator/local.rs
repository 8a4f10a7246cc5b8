//! Connections over the operator's Unix socket. Everybody on this machine may open it, and the kernel says who they are: members of the configured
//! groups always find a place, and strangers only so many, to be told in words that they have no role.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, UdsConnectInfo};
use tracing::warn;

use super::caller::{Caller, RoleGroups};

/// Most connections of callers with a role.
const MEMBERS: usize = 1_024;
/// Most connections of all others together.
const STRANGERS: usize = 32;
/// After the system refused a connection, for want of descriptors for example.
const REFUSED: Duration = Duration::from_millis(100);

/// One connection; counted while it lives.
#[derive(Debug)]
pub struct Local {
    stream: UnixStream,
    _place: OwnedSemaphorePermit,
}

/// Connections of a listener, for a tonic server. Never ends by itself.
pub fn incoming(listener: UnixListener, groups: RoleGroups) -> ReceiverStream<io::Result<Local>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let members = Arc::new(Semaphore::new(MEMBERS));
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "the operator's socket takes no connection");
                    tokio::time::sleep(REFUSED).await;
                    continue;
                }
            };
            let caller = Caller::of_peer(stream.peer_cred().ok().as_ref(), &groups);
            let places = match caller.role {
                Some(_) => &members,
                None => &strangers,
            };
            // One without a place is closed; whoever has a role hardly meets this.
            if let Ok(_place) = Arc::clone(places).try_acquire_owned()
                && sender.send(Ok(Local { stream, _place })).await.is_err()
            {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

impl Connected for Local {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Local {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Local {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
