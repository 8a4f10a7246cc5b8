//! What a pod must know before it starts, and where its gateway is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use dmsc_proto::REGISTRAR_PORT;
use dmsc_wire::{Domain, NameBuf};
use thiserror::Error;

use crate::error::PodError;
use crate::shared::SharedAttachment;

/// Configuration of a pod.
#[derive(Debug, Clone)]
pub struct PodConfig {
    /// Where the gateway's registrar is.
    pub gateway: GatewayAddress,
    /// Who the pod is, e.g. `pod1/a`; at most 255 bytes.
    pub identity: String,
    /// Folder with `cert.pem`, `key.pem` and `root.pem`: TLS to the gateway, and a proof of the identity in every registration. `None`: plain TCP to
    /// a static registrar.
    pub credentials: Option<PathBuf>,
    /// With credentials: how long a proof serves before the pod registers again with a fresh one, from files read again.
    pub proof_interval: Duration,
    /// Prefixes that it answers; none for a pure client.
    pub prefixes: Vec<NameBuf>,
    /// Tenant; 0 = the one of the gateway's port.
    pub domain: Domain,
    /// UDP port to receive on; 0 = any that is free.
    pub udp_port: u16,
    /// How long to try while the gateway does not answer.
    pub patience: Duration,
    /// Calls that may wait for an answer at the same time, at most 65,535.
    pub calls_in_flight: u16,
    /// Requests that may be in the handler's hands at the same time.
    pub requests_in_hand: usize,
    /// Receive and send buffer of the socket in bytes; the kernel may grant less.
    pub socket_buffer: usize,
    /// Memory shared with the gateway, the better way for packets where there is one. `None`, and while it is down: the UDP socket.
    pub shared: Option<SharedAttachment>,
    /// Whether to switch checksum offload off on the pod's veth, see [`crate::offload`].
    pub fix_offload: bool,
}

impl PodConfig {
    /// A pure client with the defaults.
    #[must_use]
    pub fn new(gateway: GatewayAddress, identity: impl Into<String>) -> Self {
        Self {
            gateway,
            identity: identity.into(),
            credentials: None,
            proof_interval: Duration::from_secs(3_600),
            prefixes: Vec::new(),
            domain: Domain(0),
            udp_port: 0,
            patience: Duration::from_secs(10),
            calls_in_flight: 16_384,
            requests_in_hand: 4_096,
            socket_buffer: 4 << 20,
            shared: None,
            fix_offload: true,
        }
    }
}

/// `10.1.1.1`, `10.1.1.1:35030`, `[fd00::1]:35030`, `gateway.example:35030`; the port is 35030 unless given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAddress {
    host: String,
    port: u16,
}

/// Text that is no gateway address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not a gateway address; write an IP address or a host, with a port if it is not 35030: 10.1.1.1, [fd00::1]:35030"
)]
pub struct GatewayAddressError(String);

impl GatewayAddress {
    /// The address to use now.
    ///
    /// # Errors
    /// If the host's name cannot be resolved.
    pub async fn resolve(&self) -> Result<SocketAddr, PodError> {
        let failed = |source| PodError::Resolve {
            gateway: self.clone(),
            source,
        };
        let mut found = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(failed)?;
        found
            .next()
            .ok_or_else(|| failed(std::io::Error::from(std::io::ErrorKind::NotFound)))
    }
}

impl From<IpAddr> for GatewayAddress {
    fn from(address: IpAddr) -> Self {
        SocketAddr::new(address, REGISTRAR_PORT).into()
    }
}

impl From<SocketAddr> for GatewayAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl FromStr for GatewayAddress {
    type Err = GatewayAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let error = || GatewayAddressError(text.to_owned());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 {
                Err(error())
            } else {
                Ok(address.into())
            };
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (
                host,
                port.parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(error)?,
            ),
            None => (text, REGISTRAR_PORT),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        // All digits and dots would be a mistyped address, not a host.
        let numeric = host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        if host.is_empty() || numeric || !host.bytes().all(plain) {
            return Err(error());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for GatewayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_port() {
        for (text, expected) in [
            ("10.1.1.1", "10.1.1.1:35030"),
            ("10.1.1.1:7", "10.1.1.1:7"),
            ("fd00::1", "[fd00::1]:35030"),
            ("[fd00::1]:7", "[fd00::1]:7"),
            ("gw.example", "gw.example:35030"),
            ("gw:7", "gw:7"),
        ] {
            assert_eq!(
                text.parse::<GatewayAddress>().unwrap().to_string(),
                expected
            );
        }
        for text in ["", "10.1.1", "10.1.1.1:0", "gw:x", "a b", "http://gw"] {
            assert!(text.parse::<GatewayAddress>().is_err(), "{text}");
        }
    }
}
