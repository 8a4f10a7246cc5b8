//! A pod that links the library of names: client and server of the library's column.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use dmsc_pod::{GatewayAddress, Pod, PodConfig, SharedAttachment};
use dmsc_quic::{Config, Endpoint};
use dmsc_wire::NameBuf;

/// Who a pod is.
#[derive(Debug, Clone, Args)]
pub struct Membership {
    /// The gateway's address
    #[arg(long, required = false, requires_all = ["identity", "credentials"])]
    pub gateway: GatewayAddress,
    /// Who the pod is
    #[arg(long, required = false, requires = "gateway")]
    pub identity: String,
    /// Folder with cert.pem, key.pem and root.pem
    #[arg(long, required = false, requires = "gateway")]
    pub credentials: PathBuf,
    /// Memory that it shares with the gateway
    #[command(flatten)]
    pub memory: Option<Memory>,
}

/// A gateway's port of shared memory.
#[derive(Debug, Clone, Args)]
pub struct Memory {
    /// Socket where the gateway waits for the pod, to share memory
    #[arg(long, required = false, requires_all = ["shared_port", "shared_address"])]
    pub shared_socket: PathBuf,
    /// The gateway's name of that port
    #[arg(long, required = false, requires = "shared_socket")]
    pub shared_port: String,
    /// The pod's address on it
    #[arg(long, required = false, requires = "shared_socket")]
    pub shared_address: Ipv4Addr,
}

impl Membership {
    /// As arguments of a command.
    pub fn words(&self) -> Vec<String> {
        let credentials = self.credentials.display().to_string();
        let mut words = [
            "--gateway",
            &self.gateway.to_string(),
            "--identity",
            &self.identity,
            "--credentials",
            &credentials,
        ]
        .map(String::from)
        .to_vec();
        if let Some(memory) = &self.memory {
            words.extend([
                "--shared-socket".into(),
                memory.shared_socket.display().to_string(),
                "--shared-port".into(),
                memory.shared_port.clone(),
                "--shared-address".into(),
                memory.shared_address.to_string(),
            ]);
        }
        words
    }

    /// Registers the pod and what it `serves`. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the gateway does not answer, or refuses a name.
    pub async fn endpoint(&self, serves: Vec<NameBuf>) -> anyhow::Result<Arc<Endpoint>> {
        let mut config = PodConfig::new(self.gateway.clone(), self.identity.clone());
        config.credentials = Some(self.credentials.clone());
        config.prefixes = serves;
        config.shared = self.memory.clone().map(|memory| SharedAttachment {
            socket: memory.shared_socket,
            port: memory.shared_port,
            address: memory.shared_address,
        });
        let pod = Pod::connect(config)
            .await
            .with_context(|| format!("{} cannot register", self.identity))?;
        if let Some(refused) = pod.registered().refused.first() {
            bail!("{} is refused: {}", refused.name, refused.reason);
        }
        let config = Config::new(self.credentials.clone());
        Ok(Arc::new(Endpoint::new(pod, config)?))
    }
}
