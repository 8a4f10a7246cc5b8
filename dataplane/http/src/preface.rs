//! What a stream of the connection says before its bytes, and what it means when it is broken off.
//!
//! Each stream carries the bytes of one connection to a program at the serving end:
//! `version(1) = 1 | kind(1): 0 bytes | length(2, big endian) of what follows | that many bytes, ignored in version 1`, then raw bytes in both directions.
//! There is no header in the other direction. End of stream is the end of that direction; a reset or stop says why with a [`Code`].

use std::io;

use quinn::{ReadError, VarInt, WriteError};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The version that is spoken.
pub const VERSION: u8 = 1;
/// Of a stream of bytes, without extensions.
pub const BYTES: [u8; 4] = [VERSION, 0, 0, 0];

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
    /// It ended or broke before its preface was complete.
    #[error("the stream broke off within its preface: {0}")]
    Read(#[from] io::Error),
}

/// Reads a preface, extensions included; what follows is the program's.
///
/// # Errors
/// It is of another version or kind, or incomplete.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Kind, PrefaceError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, kind, ..] = head;
    if version != VERSION {
        return Err(PrefaceError::Version(version));
    }
    if kind != 0 {
        return Err(PrefaceError::Kind(kind));
    }
    let extensions = u64::from(u16::from_be_bytes([head[2], head[3]]));
    let skipped = tokio::io::copy(&mut stream.take(extensions), &mut tokio::io::sink()).await?;
    if skipped < extensions {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
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
    pub fn break_off(self, stream: &mut dmsc_quic::Stream) {
        let (send, receive) = stream.parts();
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
