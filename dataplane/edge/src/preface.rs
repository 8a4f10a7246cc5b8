//! What edges say before the bytes of a stream, and how a stream ends early.
//!
//! A bidirectional stream is one byte stream to one TCP connection of the serving pod:
//! `version(8)=1 | kind(8): 0 bytes | length(16, big endian) of what follows | that, ignored`, then raw bytes in both directions. There is no answer header.

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a caller says at the beginning of a stream of bytes.
pub const PREFACE: [u8; 4] = [1, 0, 0, 0];
/// Longest extension that is read over.
const MAX_EXTENSION: u16 = 1_024;

/// Why a stream ends early: the code of its reset or stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The pod serves no such prefix.
    NotServed,
    /// The program takes no TCP connection.
    NobodyListens,
    /// The program's health check fails.
    Unhealthy,
    /// The program's, or the caller's, TCP connection was reset.
    Gone,
    /// Too many streams.
    Overloaded,
    /// The edge ends soon.
    Draining,
}

impl Code {
    const ALL: [Self; 6] = [
        Self::NotServed,
        Self::NobodyListens,
        Self::Unhealthy,
        Self::Gone,
        Self::Overloaded,
        Self::Draining,
    ];

    /// Its number in QUIC.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::NotServed => 0x100,
            Self::NobodyListens => 0x101,
            Self::Unhealthy => 0x102,
            Self::Gone => 0x103,
            Self::Overloaded => 0x104,
            Self::Draining => 0x105,
        }
    }

    /// The same for quinn.
    #[must_use]
    pub const fn quic(self) -> quinn::VarInt {
        quinn::VarInt::from_u32(self.number())
    }

    /// The code of a number; `None` if this version knows none such.
    #[must_use]
    pub fn of(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|code| u64::from(code.number()) == number)
    }

    /// Whether nothing was given to a program, so that the call may be made elsewhere, whatever it is.
    #[must_use]
    pub const fn is_not_given(self) -> bool {
        !matches!(self, Self::Gone)
    }

    /// The word of logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotServed => "not-served",
            Self::NobodyListens => "nobody-listens",
            Self::Unhealthy => "unhealthy",
            Self::Gone => "gone",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
        }
    }
}

/// A stream that does not begin as it must.
#[derive(Debug, Error)]
pub enum PrefaceError {
    /// It ended, or broke.
    #[error("the stream ended before its preface: {0}")]
    Ended(#[from] std::io::Error),
    /// Of a later version.
    #[error("version {0} of the preface is not known here; the caller is newer")]
    Version(u8),
    /// Something else than bytes.
    #[error("streams of kind {0} are not known here; the caller is newer")]
    Kind(u8),
    /// An extension that nobody needs.
    #[error("an extension of {0} bytes; at most {MAX_EXTENSION} are read")]
    Length(u16),
}

/// Reads the preface of a stream of bytes.
///
/// # Errors
/// Another version or kind.
pub async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> Result<(), PrefaceError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, kind, high, low] = head;
    if version != 1 {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn prefaces() {
        let mut good: &[u8] = &PREFACE;
        read(&mut good).await.unwrap();
        let mut later: &[u8] = b"\x01\x00\x00\x03abcGET";
        read(&mut later).await.unwrap();
        assert_eq!(later, b"GET");
        for bad in [
            &b"\x02\0\0\0"[..],
            b"\x01\x01\0\0",
            b"\x01\0\xff\xff",
            b"\x01\0",
            b"\x01\0\0\x02a",
        ] {
            let mut bad = bad;
            assert!(read(&mut bad).await.is_err());
        }
    }

    #[test]
    fn codes_are_known_by_their_numbers() {
        for code in Code::ALL {
            assert_eq!(Code::of(u64::from(code.number())), Some(code));
        }
        assert_eq!(Code::of(7), None);
    }
}
