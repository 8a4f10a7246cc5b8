//! What wrk tells of requests that got no answer.

use anyhow::Context;

/// Its line "Socket errors", which is not there if all are 0.
///
/// Not counted by wrk is a request that is never answered while its connection stays open: that is found by calls with a time-out of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketErrors {
    /// No connection was had.
    pub connect: u64,
    /// The connection ended, or broke, or what came was no HTTP, before an answer was whole.
    pub read: u64,
    /// The request could not be sent.
    pub write: u64,
    /// The answer came, after more than wrk's time-out.
    pub timeout: u64,
}

impl SocketErrors {
    /// From everything that wrk printed.
    ///
    /// # Errors
    /// There is such a line, and it is another than wrk 4 prints.
    pub fn of(text: &str) -> anyhow::Result<Self> {
        const TITLE: &str = "Socket errors:";
        let Some(line) = text.lines().find_map(|l| l.trim().strip_prefix(TITLE)) else {
            return Ok(Self::default());
        };
        Self::parse(line).with_context(|| format!("wrk's errors are not understood: {line:?}"))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut counts = [0; 4];
        let mut parts = line.split(',');
        for (count, kind) in counts.iter_mut().zip(Self::KINDS) {
            let number = parts.next()?.trim().strip_prefix(kind)?;
            *count = number.trim().parse().ok()?;
        }
        let [connect, read, write, timeout] = counts;
        parts.next().is_none().then_some(Self {
            connect,
            read,
            write,
            timeout,
        })
    }

    /// In wrk's order.
    const KINDS: [&'static str; 4] = ["connect", "read", "write", "timeout"];

    /// Each kind and its count.
    pub fn kinds(self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = [self.connect, self.read, self.write, self.timeout];
        Self::KINDS.into_iter().zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_are_read() {
        let text = "  35 requests in 1.00s, 8.07KB read\n  Socket errors: connect 1, read 20, write 0, timeout 3\nRequests/sec:  34.9\n";
        let errors = SocketErrors::of(text).unwrap();
        let counts: Vec<_> = errors.kinds().collect();
        let wanted = [("connect", 1), ("read", 20), ("write", 0), ("timeout", 3)];
        assert_eq!(counts, wanted);
        assert_eq!((errors.read, errors.timeout), (20, 3));
    }

    #[test]
    fn no_line_means_none_and_another_line_is_no_zero() {
        let none = SocketErrors::of("  1 requests in 1.00s, 230B read\n").unwrap();
        assert_eq!(none, SocketErrors::default());
        for line in [
            "Socket errors: connect 1, read 20, timeout 3",
            "Socket errors: connect 1, read x, write 0, timeout 3",
            "Socket errors: connect 1, read 2, write 0, timeout 3, other 1",
        ] {
            let error = SocketErrors::of(line).unwrap_err().to_string();
            assert!(error.contains("not understood"), "{error}");
        }
    }
}
