//! What both examples have in common: a pod on the command line.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use dmsc_http::name_of_uri;
use dmsc_pod::{GatewayAddress, Health, Pod, PodConfig};
use dmsc_quic::{Config, Endpoint};
use dmsc_wire::NameBuf;
use tokio::signal::unix::{SignalKind, signal};

// What an example is told, with commands of its own. This would be its help, were it documentation.
#[derive(Debug, Parser)]
pub struct Cli<C: Subcommand> {
    #[command(flatten)]
    pub pod: PodArgs,
    #[command(subcommand)]
    pub command: C,
}

/// Who this pod is, and which name it is about.
#[derive(Debug, Args)]
pub struct PodArgs {
    /// The gateway's address; with a port if its registrar is not on 35030
    #[arg(long, global = true, env = "DMSC_GATEWAY", value_name = "ADDRESS")]
    gateway: Option<GatewayAddress>,
    /// Who this pod is, e.g. pod1/a
    #[arg(long, global = true, env = "DMSC_IDENTITY", value_name = "ID")]
    identity: Option<String>,
    /// Folder with cert.pem, key.pem and root.pem
    #[arg(long, global = true, env = "DMSC_CREDENTIALS", value_name = "DIR")]
    credentials: Option<PathBuf>,
    /// What is served or called, e.g. dmsc://shop/greeter
    #[arg(long, global = true, value_name = "NAME")]
    name: Option<String>,
    /// UDP port to receive on [default: any that is free]
    #[arg(
        long,
        global = true,
        value_name = "UDP-PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    port: u16,
}

impl PodArgs {
    /// The name in the form that the library takes.
    pub fn uri(&self) -> anyhow::Result<&str> {
        self.name.as_deref().ok_or_else(|| {
            anyhow::anyhow!(
                "--name is needed: what is served or called, e.g. --name dmsc://shop/greeter"
            )
        })
    }

    /// The pod's end of QUIC; it registers the name if it serves.
    pub async fn endpoint(&self, serves: bool) -> anyhow::Result<Arc<Endpoint>> {
        let (Some(gateway), Some(identity), Some(credentials)) =
            (&self.gateway, &self.identity, &self.credentials)
        else {
            anyhow::bail!(
                "--gateway, --identity and --credentials are needed (or DMSC_GATEWAY, DMSC_IDENTITY and DMSC_CREDENTIALS in the environment), \
                 e.g. --gateway 10.1.1.1 --identity pod1/a --credentials /etc/dmsc/pods/a"
            );
        };
        let name: NameBuf = name_of_uri(self.uri()?)?;
        let mut config = PodConfig::new(gateway.clone(), identity.clone());
        config.credentials = Some(credentials.clone());
        config.udp_port = self.port;
        config.prefixes = serves.then_some(name).into_iter().collect();
        let pod = Pod::connect(config).await?;
        let registered = pod.registered();
        for one in registered.refused.iter().chain(&*registered.waiting) {
            eprintln!("{}: {}", one.name, one.reason);
        }
        Ok(Arc::new(Endpoint::new(pod, Config::new(credentials))?))
    }
}

/// Says that calls are taken from now on.
pub fn tell(endpoint: &Endpoint) {
    let registered = endpoint.pod().registered();
    for name in registered.serves.iter() {
        println!(
            "serving {name} as {} attachment {} at gateway {}",
            registered.source_name, registered.attachment, registered.gateway
        );
    }
}

/// Until SIGTERM or SIGINT; the network then sends nobody here any more.
pub fn leave(endpoint: &Arc<Endpoint>) -> impl Future<Output = ()> + Send + 'static {
    let endpoint = Arc::clone(endpoint);
    async move { signalled(&endpoint).await }
}

async fn signalled(endpoint: &Endpoint) {
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    if let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    if let Err(error) = endpoint.pod().set_health(Health::Draining).await {
        eprintln!("leaving untold: {error}");
    }
}

/// One thread: the cores of a node are for its router.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}
