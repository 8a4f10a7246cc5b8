//! Connections over the operator's Unix socket: everybody may open it, those who may look find a place, and strangers only so many, to be told so.

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

use super::roles::Viewers;

/// Most connections of those who may look.
const VIEWERS: usize = 64;
/// Most connections of all others together.
const STRANGERS: usize = 8;
/// After the system refused a connection.
const REFUSED: Duration = Duration::from_millis(100);

/// One connection; counted while it lives.
#[derive(Debug)]
pub(super) struct Local {
    stream: UnixStream,
    _place: OwnedSemaphorePermit,
}

/// Connections of a listener, for a tonic server. Never ends by itself.
pub(super) fn incoming(
    listener: UnixListener,
    viewers: Viewers,
) -> ReceiverStream<io::Result<Local>> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let places = [VIEWERS, STRANGERS].map(|count| Arc::new(Semaphore::new(count)));
        let [known, strange] = places;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "the operator's socket takes no connection for a moment");
                    tokio::time::sleep(REFUSED).await;
                    continue;
                }
            };
            let is_known = viewers.knows(stream.peer_cred().ok().as_ref());
            let places = if is_known { &known } else { &strange };
            // One without a place is closed.
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
}
