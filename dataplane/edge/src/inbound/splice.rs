//! Bytes between a stream and a TCP connection, both ways: FIN is the end of a direction, a reset that of both.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dmsc_http::preface::Code;
use quinn::{RecvStream, SendStream};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// Pieces that are written at once.
const PIECES: usize = 16;
/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;
/// Space below which a new buffer is taken.
const LEAST: usize = 4 << 10;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both said all they had to say.
    Whole,
    /// The caller broke off, or its connection did.
    Caller,
    /// The program did.
    Program,
}

/// Until the end; bytes to the program, and from it.
pub async fn both(
    send: &mut SendStream,
    recv: &mut RecvStream,
    mut program: TcpStream,
) -> (End, (u64, u64)) {
    let (mut there, mut back) = (0, 0);
    let ended = {
        let (read, write) = program.split();
        let to = to_program(recv, write, &mut there);
        let from = from_program(read, send, &mut back);
        tokio::try_join!(to, from)
    };
    let end = match ended {
        Ok(_) => End::Whole,
        Err(end) => {
            // The program hears a reset of what its caller broke off.
            let _ = SockRef::from(&program).set_linger(Some(Duration::ZERO));
            let _ = send.reset(Code::Gone.to_quic());
            let _ = recv.stop(Code::Gone.to_quic());
            end
        }
    };
    (end, (there, back))
}

async fn to_program(
    recv: &mut RecvStream,
    mut write: WriteHalf<'_>,
    count: &mut u64,
) -> Result<(), End> {
    let mut pieces: [Bytes; PIECES] = Default::default();
    loop {
        let Some(read) = recv
            .read_chunks(&mut pieces)
            .await
            .map_err(|_| End::Caller)?
        else {
            // A program that is gone does not want to hear that.
            let _ = write.shutdown().await;
            return Ok(());
        };
        let ready = pieces.get_mut(..read).unwrap_or_default();
        *count += ready.iter().map(|piece| piece.len() as u64).sum::<u64>();
        write_all(&mut write, ready)
            .await
            .map_err(|_| End::Program)?;
    }
}

async fn write_all(write: &mut WriteHalf<'_>, pieces: &mut [Bytes]) -> io::Result<()> {
    let mut at = 0;
    while let Some(left) = pieces.get_mut(at..).filter(|left| !left.is_empty()) {
        let mut written = if let [one] = left {
            write.write(one).await?
        } else {
            let mut slices = [io::IoSlice::new(&[]); PIECES];
            for (slice, piece) in slices.iter_mut().zip(left.iter()) {
                *slice = io::IoSlice::new(piece);
            }
            write.write_vectored(&slices[..left.len()]).await?
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        for piece in left {
            let step = written.min(piece.len());
            let _ = piece.split_to(step);
            written -= step;
            if !piece.is_empty() {
                break;
            }
            at += 1;
        }
    }
    Ok(())
}

async fn from_program(
    mut read: ReadHalf<'_>,
    send: &mut SendStream,
    count: &mut u64,
) -> Result<(), End> {
    let mut buffer = BytesMut::new();
    // Somebody who stops to listen without having said so far that all was said.
    let stopped = send.stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            ready = read.readable() => ready.map_err(|_| End::Program)?,
            _ = &mut stopped => return Err(End::Caller),
        }
        if buffer.capacity() < LEAST {
            // What the other end has not acknowledged yet stays in the old one.
            buffer.reserve(BUFFER);
        }
        match read.read_buf(&mut buffer).await {
            Ok(0) => {
                // Over already: then the caller heard enough.
                let _ = send.finish();
                return Ok(());
            }
            Ok(length) => *count += length as u64,
            Err(_) => return Err(End::Program),
        }
        let piece = buffer.split().freeze();
        send.write_chunk(piece).await.map_err(|_| End::Caller)?;
    }
}
