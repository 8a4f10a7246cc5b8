//! HTTP/2 frames by hand (RFC 9113), right ones and wrong ones.

use tokio::io::{AsyncRead, AsyncReadExt};

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
pub const DATA: u8 = 0;
/// Head of a request.
pub const HEADERS: u8 = 1;
/// A stream ends with an error.
pub const RST_STREAM: u8 = 3;
/// Settings of a connection.
pub const SETTINGS: u8 = 4;
/// A ping.
pub const PING: u8 = 6;
/// A connection ends.
pub const GOAWAY: u8 = 7;
/// More may be sent.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a head.
pub const CONTINUATION: u8 = 9;

/// Flag: the last frame of a stream.
pub const END_STREAM: u8 = 1;
/// Flag: the last frame of a head.
pub const END_HEADERS: u8 = 4;

/// A frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The preface and empty settings.
#[must_use]
pub fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// A head in HPACK (RFC 7541) without indexing: `GET` (or `POST`) of `path` at `authority`.
#[must_use]
pub fn head(post: bool, authority: &str, path: &str) -> Vec<u8> {
    // Static table: 2 is :method GET, 3 is :method POST, 6 is :scheme http, 1 is :authority, 4 is :path.
    let mut bytes = vec![if post { 0x83 } else { 0x82 }, 0x86];
    for (name, value) in [(0x01, authority), (0x04, path)] {
        bytes.push(name);
        bytes.push(u8::try_from(value.len().min(126)).unwrap_or(126));
        bytes.extend(value.bytes().take(126));
    }
    bytes
}

/// The beginning of a frame that was read, and what of its payload may be of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream.
    pub stream: u32,
    /// Error code of GOAWAY and RST_STREAM.
    pub code: u32,
}

/// Reads a frame; none when the connection is closed, in whatever way.
pub async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    let at = if head[3] == GOAWAY { 4 } else { 0 };
    let code = payload.get(at..at + 4);
    Some(Seen {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
        code: code.map_or(0, |c| u32::from_be_bytes([c[0], c[1], c[2], c[3]])),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_as_written() {
        let bytes = frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 11]);
        let seen = next(&mut &bytes[..]).await.unwrap();
        assert_eq!((seen.kind, seen.stream, seen.code), (GOAWAY, 0, 11));
        let bytes = frame(RST_STREAM, 0, 5, &[0, 0, 0, 7]);
        let seen = next(&mut &bytes[..]).await.unwrap();
        assert_eq!((seen.kind, seen.stream, seen.code), (RST_STREAM, 5, 7));
        assert_eq!(next(&mut &bytes[..8]).await, None);
    }
}
