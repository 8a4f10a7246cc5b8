//! What calls and connections are counted by.

/// Which way a call goes, seen from the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a program of the pod.
    Out,
    /// To a program of the pod.
    In,
}

impl Direction {
    /// The word of logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Protocol {
    Http1,
    Http2,
    Grpc,
    WebSocket,
    Tcp,
}

impl Protocol {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 5] = [
        Self::Http1,
        Self::Http2,
        Self::Grpc,
        Self::WebSocket,
        Self::Tcp,
    ];

    /// The word of logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "h1",
            Self::Http2 => "h2",
            Self::Grpc => "grpc",
            Self::WebSocket => "ws",
            Self::Tcp => "tcp",
        }
    }
}

/// How a call ended: the class of its status code, or of what stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Class {
    Informational,
    /// 2xx; gRPC OK; a TCP connection that ended in order.
    Success,
    Redirection,
    ClientError,
    /// 5xx; any other gRPC status; a TCP connection that was reset.
    ServerError,
    /// It has no status: the caller left, or the answer broke off.
    Broken,
}

impl Class {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 6] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Broken,
    ];

    /// The word of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Broken => "broken",
        }
    }

    /// Of a status of HTTP.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

/// Connections of programs that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionKind {
    /// Of a caller to the HTTP listener, or to a redirected address, speaking HTTP.
    Http,
    /// Of a caller, speaking something else.
    Tcp,
    /// To a program that serves.
    Served,
}

impl ConnectionKind {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Http, Self::Tcp, Self::Served];

    /// The word of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Served => "served",
        }
    }
}
