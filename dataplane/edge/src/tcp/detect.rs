//! What a program speaks, by its first bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// A program that says nothing for so long waits for the server to speak first.
pub const SILENCE: Duration = Duration::from_millis(100);
/// What HTTP/2 begins with, by prior knowledge.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Methods of HTTP/1 (RFC 9110, RFC 5789), with the space after them.
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"TRACE ",
    b"CONNECT ",
];

/// The kinds that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 with its preface: gRPC as well.
    Http2,
    /// Anything else.
    Bytes,
}

/// What was found, and the bytes that were read for it.
#[derive(Debug)]
pub struct Detected {
    /// What it is.
    pub protocol: Protocol,
    /// The first bytes, to be given on; empty if there were none.
    pub first: Bytes,
}

/// Reads until it is clear, 100 ms at most: what is not clear then is passed as bytes, which is never wrong.
///
/// # Errors
/// The connection broke.
pub async fn detect<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Detected> {
    let mut first = BytesMut::with_capacity(1_024);
    let reading = async {
        loop {
            if stream.read_buf(&mut first).await? == 0 {
                return Ok(Protocol::Bytes);
            }
            if let Some(protocol) = judge(&first) {
                return Ok(protocol);
            }
        }
    };
    // `read_buf` loses nothing when it is dropped.
    let protocol = match tokio::time::timeout(SILENCE, reading).await {
        Ok(read) => read.map_err(|error: io::Error| error)?,
        Err(_) => Protocol::Bytes,
    };
    let first = first.freeze();
    Ok(Detected { protocol, first })
}

/// `None`: more bytes are needed to say.
fn judge(bytes: &[u8]) -> Option<Protocol> {
    let begins = |whole: &[u8]| bytes.starts_with(whole) || whole.starts_with(bytes);
    if begins(HTTP2) {
        return (bytes.len() >= HTTP2.len()).then_some(Protocol::Http2);
    }
    let Some(method) = METHODS.iter().find(|method| begins(method)) else {
        return Some(Protocol::Bytes);
    };
    // Others begin with such words too, but not with such a target.
    let target = bytes.get(method.len()..)?.first()?;
    let is_target = matches!(target, b'/' | b'*' | b'h' | b'H') || *method == b"CONNECT ";
    Some(match is_target {
        true => Protocol::Http1,
        false => Protocol::Bytes,
    })
}

/// A stream whose first bytes were read already, and are read again.
#[derive(Debug)]
pub struct Rewound<S> {
    first: Bytes,
    stream: S,
}

impl<S> Rewound<S> {
    /// `first` comes before what the stream still has.
    pub const fn new(first: Bytes, stream: S) -> Self {
        Self { first, stream }
    }

    /// The stream, and what was not read again.
    pub fn into_parts(self) -> (Bytes, S) {
        (self.first, self.stream)
    }

    /// The stream.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let take = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..take]);
        self.first.advance(take);
        Poll::Ready(Ok(()))
    }
}

dmsc_daemon::write_through!([S: AsyncWrite + Unpin] Rewound<S>, stream);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[test]
    fn first_bytes_tell() {
        let preface = HTTP2;
        for (bytes, protocol) in [
            (&b"GET / HTTP/1.1\r\n"[..], Protocol::Http1),
            (b"OPTIONS *", Protocol::Http1),
            (b"GET http://cart.shop.dmsc/", Protocol::Http1),
            (b"CONNECT a:1", Protocol::Http1),
            (b"POST /", Protocol::Http1),
            (preface, Protocol::Http2),
            (b"GET key\r\n", Protocol::Bytes),
            (b"get key\r\n", Protocol::Bytes),
            (b"*1\r\n$4\r\nPING\r\n", Protocol::Bytes),
            (b"\x16\x03\x01", Protocol::Bytes),
            (b"PRINT", Protocol::Bytes),
            (b"GETTER", Protocol::Bytes),
        ] {
            assert_eq!(judge(bytes), Some(protocol), "{}", bytes.escape_ascii());
        }
        // Every beginning of something known wants more.
        for whole in [&b"GET "[..], b"DELETE ", &preface[..preface.len() - 1]] {
            for length in 1..=whole.len() {
                assert_eq!(judge(&whole[..length]), None);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_are_put_together_and_silence_means_bytes() {
        let (mut program, mut edge) = tokio::io::duplex(64);
        let said = async {
            for piece in [&b"GE"[..], b"T", b" /x HTTP/1.1\r\n\r\n"] {
                program.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (found, ()) = tokio::join!(detect(&mut edge), said);
        let found = found.unwrap();
        assert_eq!(found.protocol, Protocol::Http1);
        let mut again = Rewound::new(found.first, edge);
        drop(program);
        let mut text = String::new();
        again.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "GET /x HTTP/1.1\r\n\r\n");

        let (mut program, mut edge) = tokio::io::duplex(64);
        let found = detect(&mut edge).await.unwrap();
        assert_eq!((found.protocol, found.first.len()), (Protocol::Bytes, 0));
        program.write_all(b"GE").await.unwrap();
        let found = detect(&mut edge).await.unwrap();
        assert_eq!(
            (found.protocol, &found.first[..]),
            (Protocol::Bytes, &b"GE"[..])
        );
        drop(program);
        let found = detect(&mut edge).await.unwrap();
        assert_eq!((found.protocol, found.first.len()), (Protocol::Bytes, 0));
    }
}
