//! What a stream of the connection says before its bytes, and what it means when it is broken off.
//!
//! Each stream carries the bytes of one connection to a program at the serving end:
//! `version(1) = 1 | kind(1): 0 bytes | length(2, big endian) of what follows | that many bytes, ignored in version 1`, then raw bytes in both directions.
//! There is no header in the other direction. End of stream is the end of that direction; a reset or stop says why with a [`Code`].

use std::io;

use dmsc_quic::{Connection, QuicError, Stream};
use dmsc_wire::NameBuf;
use quinn::{ConnectionError, ReadError, VarInt, WriteError};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// The version that is spoken.
pub const VERSION: u8 = 1;
/// Of a stream of bytes, without extensions.
pub const BYTES: [u8; 4] = [VERSION, 0, 0, 0];
/// Longest extension that is read over. Nothing has one so far.
const MAX_EXTENSION: u16 = 1_024;

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes as TCP would carry them.
    Bytes,
}

/// A preface that cannot be used.
#[derive(Debug, Error)]
pub enum PrefaceError {
    /// From another time.
    #[error("the stream begins with version {0}, and {VERSION} is spoken here")]
    Version(u8),
    /// Something that is not known here.
    #[error("the stream is of kind {0}, which is not known here")]
    Kind(u8),
    /// An extension that nobody needs.
    #[error(
        "the stream begins with an extension of {0} bytes; at most {MAX_EXTENSION} are read over"
    )]
    Length(u16),
    /// It ended or broke before its preface was complete.
    #[error("the stream broke off within its preface: {0}")]
    Read(#[from] io::Error),
}

/// Opens a stream of bytes to the program at the other end. Its preface goes with the first bytes of the program, in one packet.
///
/// # Errors
/// The connection to the instance of `name` is over: nothing was given to the program.
pub async fn begin(connection: &Connection, name: &NameBuf) -> Result<Stream, QuicError> {
    let not_sent = |source| QuicError::NotSent {
        name: name.clone(),
        source,
    };
    let mut stream = connection.open_bi().await.map_err(not_sent)?;
    match stream.write_all(&BYTES).await {
        Ok(()) => Ok(stream),
        Err(error) => {
            tracing::debug!(%name, %error, "a stream broke before its preface was sent");
            Err(not_sent(ConnectionError::Reset))
        }
    }
}

/// Reads a preface, extensions included; what follows is the program's.
///
/// # Errors
/// It is of another version or kind, too long, or incomplete.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Kind, PrefaceError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, kind, high, low] = head;
    if version != VERSION {
        return Err(PrefaceError::Version(version));
    }
    if kind != 0 {
        return Err(PrefaceError::Kind(kind));
    }
    let length = u16::from_be_bytes([high, low]);
    if length > MAX_EXTENSION {
        return Err(PrefaceError::Length(length));
    }
    let mut left = usize::from(length);
    let mut piece = [0; 64];
    while left > 0 {
        let step = left.min(piece.len());
        stream.read_exact(&mut piece[..step]).await?;
        left -= step;
    }
    Ok(Kind::Bytes)
}

/// Why an end broke a stream off: the error code of its reset, and of its stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[repr(u16)]
pub enum Code {
    /// The instance does not serve the name.
    #[error("not served there")]
    NotServed = 0x100,
    /// The program does not listen.
    #[error("nobody listens there")]
    NobodyListens = 0x101,
    /// Its health says that it must not be called.
    #[error("unhealthy")]
    Unhealthy = 0x102,
    /// The program broke the connection off.
    #[error("broken off by the program there")]
    Gone = 0x103,
    /// Too many streams.
    #[error("overloaded")]
    Overloaded = 0x104,
    /// It is about to end.
    #[error("draining")]
    Draining = 0x105,
    /// The preface was of another version or kind.
    #[error("it speaks another version of the stream format")]
    BadPreface = 0x106,
}

impl Code {
    const ALL: [Self; 7] = [
        Self::NotServed,
        Self::NobodyListens,
        Self::Unhealthy,
        Self::Gone,
        Self::Overloaded,
        Self::Draining,
        Self::BadPreface,
    ];

    /// Whether it promises that no byte was given to a program: the call may be made elsewhere, also if it must not be made twice.
    #[must_use]
    pub const fn nothing_given(self) -> bool {
        !matches!(self, Self::Gone)
    }

    /// The word for it in logs and headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotServed => "not-served",
            Self::NobodyListens => "nobody-listens",
            Self::Unhealthy => "unhealthy",
            Self::Gone => "gone",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::BadPreface => "bad-preface",
        }
    }

    /// As QUIC carries it.
    #[must_use]
    pub const fn to_quic(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    /// From a reset or stop; `None` for codes of others.
    #[must_use]
    pub fn from_quic(code: VarInt) -> Option<Self> {
        let code = code.into_inner();
        Self::ALL
            .into_iter()
            .find(|known| u64::from(*known as u16) == code)
    }

    /// What the other end said, if this error of reading from or writing to a stream is that it broke off.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        if let Some(ReadError::Reset(code)) = inner.downcast_ref() {
            return Self::from_quic(*code);
        }
        if let Some(WriteError::Stopped(code)) = inner.downcast_ref() {
            return Self::from_quic(*code);
        }
        None
    }

    /// Breaks a stream off in both directions. What was over before stays so.
    pub fn break_off(self, stream: &mut Stream) {
        let (send, receive) = stream.parts();
        // Errors say that it is over already.
        let _ = send.reset(self.to_quic());
        let _ = receive.stop(self.to_quic());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn extensions_are_skipped_and_what_is_not_known_is_refused() {
        let mut bytes: &[u8] = &[1, 0, 0, 3, 9, 9, 9, b'x'];
        assert_eq!(read(&mut bytes).await.unwrap(), Kind::Bytes);
        assert_eq!(bytes, b"x");
        assert_eq!(read(&mut &BYTES[..]).await.unwrap(), Kind::Bytes);
        let error = |bytes: &'static [u8]| async move { read(&mut &*bytes).await.unwrap_err() };
        assert!(matches!(
            error(&[2, 0, 0, 0]).await,
            PrefaceError::Version(2)
        ));
        assert!(matches!(error(&[1, 7, 0, 0]).await, PrefaceError::Kind(7)));
        assert!(matches!(error(&[1, 0, 0]).await, PrefaceError::Read(_)));
        assert!(matches!(
            error(&[1, 0, 0xff, 0xff]).await,
            PrefaceError::Length(0xffff)
        ));
        let longest = [&[1, 0, 4, 0][..], &[9; 1_024], b"GET"].concat();
        let mut bytes: &[u8] = &longest;
        assert_eq!(read(&mut bytes).await.unwrap(), Kind::Bytes);
        assert_eq!(bytes, b"GET");
        assert!(matches!(
            error(&[1, 0, 0, 2, 1]).await,
            PrefaceError::Read(_)
        ));
    }

    #[test]
    fn codes_there_and_back() {
        for code in Code::ALL {
            assert_eq!(Code::from_quic(code.to_quic()), Some(code));
            assert_eq!(code.nothing_given(), code != Code::Gone);
        }
        assert_eq!(Code::from_quic(VarInt::from_u32(0)), None);
        let stopped = io::Error::from(WriteError::Stopped(VarInt::from_u32(0x101)));
        assert_eq!(Code::of(&stopped), Some(Code::NobodyListens));
        let reset = io::Error::from(ReadError::Reset(VarInt::from_u32(0x103)));
        assert_eq!(Code::of(&reset), Some(Code::Gone));
        assert_eq!(Code::of(&io::ErrorKind::BrokenPipe.into()), None);
    }
}
