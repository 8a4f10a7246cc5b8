//! A pod that links the library of names: client and server of the library's column.

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
    /// Memory that it shares with the gateway: the socket where the gateway waits for it, the gateway's name of that port, the pod's address on it
    #[arg(long, required = false, requires = "gateway", value_name = "SOCKET,PORT,ADDRESS", value_parser = shared)]
    pub shared: Option<SharedAttachment>,
}

fn shared(text: &str) -> Result<SharedAttachment, String> {
    let mut parts = text.splitn(3, ',');
    let (Some(socket), Some(port), Some(address)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err("it takes a socket, a port's name and an address: /run/dmsc/pod1.sock,pod1-memory,10.1.101.2".into());
    };
    let bad = |_| format!("{address:?} is not an IPv4 address");
    Ok(SharedAttachment {
        socket: socket.into(),
        port: port.into(),
        address: address.parse().map_err(bad)?,
    })
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
        if let Some(shared) = &self.shared {
            let (socket, port) = (shared.socket.display(), &shared.port);
            words.push("--shared".into());
            words.push(format!("{socket},{port},{}", shared.address));
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
        config.shared = self.shared.clone();
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
