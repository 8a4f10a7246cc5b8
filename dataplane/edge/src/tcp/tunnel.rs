//! Bytes both ways between a TCP connection and a stream, until both directions are over.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::outbound::Tunnel;

/// Bytes in hand per direction at most; the kernel's and QUIC's windows hold the rest.
const PIECE: usize = 256 << 10;
/// Bytes that are kept until the other end answers.
const REPLAY: usize = 64 << 10;
/// What is worth a new buffer.
const SMALL: usize = 16 << 10;
/// A peer that is silent for so long is asked by the kernel whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How a tunnel ended.
#[derive(Debug)]
pub enum End {
    /// Both directions came to their end.
    Done,
    /// The TCP connection broke; the stream was reset with `gone`.
    Tcp(io::Error),
    /// The other edge reset or stopped the stream, with this code.
    Stream(VarInt),
    /// The QUIC connection was lost.
    Lost,
}

/// What went through, and how it ended.
#[derive(Debug)]
pub struct Spliced {
    /// Bytes from TCP that the stream took.
    pub sent: u64,
    /// Bytes from the stream that TCP took.
    pub received: u64,
    /// How.
    pub end: End,
}

/// Sets a TCP connection up for a tunnel: no waiting for more bytes, and a peer that vanished is noticed.
pub fn prepare(tcp: &TcpStream) {
    let socket = SockRef::from(tcp);
    // Either is a help only.
    let _ = socket.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 4);
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// Closes a connection with a reset: the program is not to believe that this was the end.
pub fn abort(tcp: TcpStream) {
    let _ = SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
}

/// What was given to a stream whose other end has not answered: it can be given to another one.
#[derive(Debug)]
pub struct Replay(Mutex<Option<Vec<Bytes>>>);

impl Replay {
    /// Begins with what was read already.
    #[must_use]
    pub fn new(first: Bytes) -> Self {
        Self(Mutex::new(Some(vec![first])))
    }

    /// Whether all that was sent is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lock().is_some()
    }

    fn pieces(&self) -> Vec<Bytes> {
        self.lock().clone().unwrap_or_default()
    }

    fn keep(&self, piece: &Bytes) {
        let mut kept = self.lock();
        let Some(pieces) = kept.as_mut() else { return };
        let length = pieces.iter().map(Bytes::len).sum::<usize>();
        if length + piece.len() > REPLAY {
            *kept = None;
        } else {
            pieces.push(piece.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        *self.lock() = None;
    }
}

/// Passes bytes both ways, what `replay` has before what TCP still has. An end of one direction is passed on, and the other goes on.
///
/// When it did not end in order TCP is as it was, and the stream is reset when it is dropped: if `replay` is whole, the other end may have been given all of it, and has
/// answered nothing.
pub async fn splice(tcp: &mut TcpStream, replay: &Replay, tunnel: &mut Tunnel) -> Spliced {
    let (mut sent, mut received) = (0, 0);
    let (send, recv) = tunnel.parts();
    let result = {
        let (read, write) = tcp.split();
        let out = outward(read, replay, send, &mut sent);
        let back = inward(recv, replay, write, &mut received);
        tokio::try_join!(out, back)
    };
    let end = match result {
        Ok(_) => {
            tunnel.ended(true, true);
            End::Done
        }
        Err(end) => end,
    };
    Spliced {
        sent,
        received,
        end,
    }
}

async fn outward(
    mut tcp: ReadHalf<'_>,
    replay: &Replay,
    stream: &mut SendStream,
    count: &mut u64,
) -> Result<(), End> {
    for piece in replay.pieces() {
        *count += piece.len() as u64;
        stream.write_chunk(piece).await.map_err(of_write)?;
    }
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() < SMALL {
            buffer.reserve(PIECE);
        }
        if tcp.read_buf(&mut buffer).await.map_err(End::Tcp)? == 0 {
            break;
        }
        let piece = buffer.split().freeze();
        // Before it is sent: a send that is broken off has to be made up for as well.
        replay.keep(&piece);
        *count += piece.len() as u64;
        stream.write_chunk(piece).await.map_err(of_write)?;
    }
    // Closed already: the other end has stopped it, and its direction tells.
    let _ = stream.finish();
    Ok(())
}

async fn inward(
    stream: &mut RecvStream,
    replay: &Replay,
    mut tcp: WriteHalf<'_>,
    count: &mut u64,
) -> Result<(), End> {
    while let Some(chunk) = stream.read_chunk(PIECE, true).await.map_err(of_read)? {
        replay.forget();
        tcp.write_all(&chunk.bytes).await.map_err(End::Tcp)?;
        *count += chunk.bytes.len() as u64;
    }
    tcp.shutdown().await.map_err(End::Tcp)
}

fn of_write(error: WriteError) -> End {
    match error {
        WriteError::Stopped(code) => End::Stream(code),
        _ => End::Lost,
    }
}

fn of_read(error: ReadError) -> End {
    match error {
        ReadError::Reset(code) => End::Stream(code),
        _ => End::Lost,
    }
}
