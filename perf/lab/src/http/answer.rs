//! HTTP/1.1 answers, read from a byte stream.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest head that is read.
const HEAD: usize = 64 << 10;
/// Longest body that is read.
const BODY: usize = 4 << 20;

/// Why no answer was read.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The other end closed before the first byte.
    #[error("closed")]
    Closed,
    /// The other end closed in the middle.
    #[error("truncated")]
    Truncated,
    /// The connection broke.
    #[error("{}", .0.kind())]
    Broken(#[from] std::io::Error),
    /// Not HTTP/1.1, or longer than is read.
    #[error("malformed")]
    Malformed,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Header `dmsc-error`: the edge's reason.
    pub reason: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// The other end takes no more requests on this connection.
    pub last: bool,
}

/// Reads one answer; what follows on the connection is not touched, because nothing was asked for.
///
/// # Errors
/// When it does not come whole.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Answer, AnswerError> {
    let mut bytes = Vec::with_capacity(1_024);
    let end = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > HEAD {
            return Err(AnswerError::Malformed);
        }
        more(stream, &mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let body = bytes.split_off(end + 4);
    let head = Head::parse(&head).ok_or(AnswerError::Malformed)?;
    let body = match head.length {
        Length::Known(length) => known(stream, body, length).await?,
        Length::Chunked => chunked(stream, body).await?,
        Length::UntilClosed => until_closed(stream, body).await?,
    };
    Ok(Answer {
        status: head.status,
        reason: head.reason,
        body,
        last: head.last || head.length == Length::UntilClosed,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
    UntilClosed,
}

struct Head {
    status: u16,
    reason: Option<String>,
    last: bool,
    length: Length,
}

impl Head {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let first = lines.next()?;
        let rest = first.strip_prefix("HTTP/1.")?;
        let status: u16 = rest.get(2..5)?.parse().ok()?;
        let mut head = Self {
            status,
            reason: None,
            last: rest.starts_with('0'),
            length: Length::UntilClosed,
        };
        for line in lines {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = Length::Known(value.parse().ok()?),
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                    head.length = Length::Chunked;
                }
                "connection" => head.last |= value.eq_ignore_ascii_case("close"),
                "dmsc-error" => head.reason = Some(value.to_string()),
                _ => {}
            }
        }
        if matches!(status, 204 | 304) {
            head.length = Length::Known(0);
        }
        Some(head)
    }
}

async fn more(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
) -> Result<(), AnswerError> {
    match stream.read_buf(bytes).await? {
        0 if bytes.is_empty() => Err(AnswerError::Closed),
        0 => Err(AnswerError::Truncated),
        _ => Ok(()),
    }
}

async fn known(
    stream: &mut (impl AsyncRead + Unpin),
    mut body: Vec<u8>,
    length: usize,
) -> Result<Vec<u8>, AnswerError> {
    if length > BODY {
        return Err(AnswerError::Malformed);
    }
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(AnswerError::Truncated);
        }
    }
    body.truncate(length);
    Ok(body)
}

async fn chunked(
    stream: &mut (impl AsyncRead + Unpin),
    mut bytes: Vec<u8>,
) -> Result<Vec<u8>, AnswerError> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else {
            fill(stream, &mut bytes).await?;
            continue;
        };
        let line = String::from_utf8_lossy(&bytes[at..at + end]).into_owned();
        let size = line
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_string();
        let size = usize::from_str_radix(&size, 16).map_err(|_| AnswerError::Malformed)?;
        let data = at + end + 2;
        if size > BODY || body.len() + size > BODY {
            return Err(AnswerError::Malformed);
        }
        while bytes.len() < data + size + 2 {
            fill(stream, &mut bytes).await?;
        }
        body.extend_from_slice(&bytes[data..data + size]);
        at = data + size + 2;
        if size == 0 {
            return Ok(body);
        }
    }
}

async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
) -> Result<(), AnswerError> {
    if stream.read_buf(bytes).await? == 0 {
        return Err(AnswerError::Truncated);
    }
    Ok(())
}

async fn until_closed(
    stream: &mut (impl AsyncRead + Unpin),
    mut body: Vec<u8>,
) -> Result<Vec<u8>, AnswerError> {
    while stream.read_buf(&mut body).await? > 0 {
        if body.len() > BODY {
            return Err(AnswerError::Malformed);
        }
    }
    Ok(body)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(mut bytes: &[u8]) -> Result<Answer, AnswerError> {
        read(&mut bytes).await
    }

    #[tokio::test]
    async fn answers_are_read_whole() {
        let known = of(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokrest").await;
        let known = known.unwrap();
        assert_eq!((known.status, known.body.as_slice()), (200, &b"ok"[..]));
        assert!(!known.last);
        let text = b"HTTP/1.1 503 no\r\ndmsc-error: nobody-listens\r\nconnection: close\r\n\
            transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n";
        let chunked = of(text).await.unwrap();
        assert_eq!(chunked.body, b"abcd");
        assert_eq!(chunked.reason.as_deref(), Some("nobody-listens"));
        assert!(chunked.last);
        let closed = of(b"HTTP/1.0 200 OK\r\n\r\nall").await.unwrap();
        assert!(closed.last && closed.body == b"all");
    }

    #[tokio::test]
    async fn what_is_no_answer_says_why() {
        assert!(matches!(of(b"").await, Err(AnswerError::Closed)));
        let cut = of(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab").await;
        assert!(matches!(cut, Err(AnswerError::Truncated)));
        let other = of(b"SSH-2.0\r\n\r\n").await;
        assert!(matches!(other, Err(AnswerError::Malformed)));
    }
}
