//! What is compared: a way from the client to the server, and what is spoken on it.

use std::fmt;

use serde::Serialize;

/// A way from the client to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Column {
    /// Nothing in between but the kernel's forwarding.
    Direct,
    /// An Envoy at each end, mutual TLS between them.
    Envoy,
    /// A haproxy at each end that reads HTTP, mutual TLS between them.
    HaproxyHttp,
    /// A haproxy at each end that passes bytes, mutual TLS between them.
    HaproxyTcp,
    /// An edge and a gateway at each end.
    Edge,
    /// The library in client and server, and a gateway at each end.
    Library,
}

impl Column {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 6] = [
        Self::Direct,
        Self::Envoy,
        Self::HaproxyHttp,
        Self::HaproxyTcp,
        Self::Edge,
        Self::Library,
    ];
    /// Those of this project.
    pub const OURS: [Self; 2] = [Self::Edge, Self::Library];
    /// Those that ours are compared with.
    pub const PEERS: [Self; 3] = [Self::Envoy, Self::HaproxyHttp, Self::HaproxyTcp];

    /// As on the command line and in JSON.
    pub fn text(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Envoy => "envoy",
            Self::HaproxyHttp => "haproxy-http",
            Self::HaproxyTcp => "haproxy-tcp",
            Self::Edge => "edge",
            Self::Library => "library",
        }
    }

    /// Whether it runs in a lab with two gateways.
    pub fn is_ours(self) -> bool {
        Self::OURS.contains(&self)
    }
}

/// What client and server speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1, connections kept.
    H1,
    /// Unary gRPC over HTTP/2.
    Grpc,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::H1, Self::Grpc];

    /// As on the command line and in JSON.
    pub fn text(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::Grpc => "grpc",
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The name of service `number` as a host: `/perf/s000` is `s000.perf.dmsc`.
pub fn host(number: usize) -> String {
    format!("s{number:03}.perf.dmsc")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn columns_are_called_the_same_everywhere() {
        for column in Column::ALL {
            assert_eq!(Column::from_str(column.text(), false), Ok(column));
            assert_eq!(serde_json::json!(column), column.text());
        }
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::from_str(protocol.text(), false), Ok(protocol));
            assert_eq!(serde_json::json!(protocol), protocol.text());
        }
        assert_eq!(host(7), "s007.perf.dmsc");
    }
}
