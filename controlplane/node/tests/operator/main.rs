//! The operator's API of running routers: what they tell, what they let whom do, and what is written down.

mod about;
mod drain;
#[path = "../model/mod.rs"]
mod model;
#[path = "../net/mod.rs"]
mod net;
mod pages;
mod pods;
mod roles;
mod root;

use std::path::Path;
use std::time::{Duration, Instant};

use dmsc_proto::v1::operator_client::OperatorClient;
use dmsc_proto::v1::*;
use dmsc_spa::credentials::Credentials;
use dmsc_spa::pki::OPERATOR_DNS;
use net::{Net, Process};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Node 1 and its neighbour 2, with everything that an operator may ask.
struct Pair {
    net: Net,
    one: model::Dataplane,
    _two: model::Dataplane,
    first: Process,
    _second: Process,
}

impl Pair {
    async fn start(number: u8) -> Self {
        let net = Net::new(number);
        for (id, peer) in [(1, 2), (2, 1)] {
            net.write(id, "sr", &[peer], "");
        }
        let own = net.address(1);
        let operator = net.path("operator").display().to_string();
        net.rewrite(
            1,
            "[linkstate]",
            &format!("name = \"sr1\"\noperator = {operator:?}\noperator_listen = \"{own}:35033\"\nmetrics = \"{own}:9464\"\n[linkstate]"),
        );
        let one = net.dataplane(1, "sr", 1).await;
        let _two = net.dataplane(2, "sr", 1).await;
        let first = net.start(1, "sr");
        let _second = net.start(2, "sr");
        one.until(|tables| tables.gateways.len() == 2).await;
        net.until(1, |status| status["state"] == "running").await;
        Self {
            net,
            one,
            _two,
            first,
            _second,
        }
    }

    async fn operator(&self, role: &str) -> OperatorClient<Channel> {
        let identity = format!("operator/{role}/eve").parse().unwrap();
        let folder = self.net.credentials(&identity, &format!("eve-{role}"));
        let url = format!("https://{}:35033", self.net.address(1));
        OperatorClient::new(connect(&folder, &url).await)
    }

    fn config(&self) -> String {
        std::fs::read_to_string(self.net.config(1)).unwrap()
    }
}

async fn connect(folder: &Path, url: &str) -> Channel {
    let credentials = Credentials::load(folder).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&credentials.root_pem))
        .identity(Identity::from_pem(
            &credentials.certificate_pem,
            &credentials.key_pem,
        ))
        .domain_name(OPERATOR_DNS);
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.unwrap()
}

/// Asks again until it is so: digests are compared now and then.
async fn until<T, F: Future<Output = T>>(ask: impl Fn() -> F, good: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
{
    let limit = Instant::now() + Duration::from_secs(8);
    loop {
        let answer = ask().await;
        if good(&answer) {
            return answer;
        }
        assert!(Instant::now() < limit, "not in time: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The real process's inside, in this one.
async fn start_spa(net: &Net, address: &str) -> dmsc_node::spa::Running {
    let folder = net.credentials(&"spa/spa1".parse().unwrap(), "spa1");
    let policy = "[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\"]\n";
    std::fs::write(net.path("policy.toml"), policy).unwrap();
    let text = format!(
        "[spa]\nname = \"spa1\"\nlisten = \"{address}\"\ncredentials = {folder:?}\nstate_dir = {:?}\npolicy = \"policy.toml\"\n",
        net.path("spa-state")
    );
    let config = dmsc_node::spa::config::SpaConfig::parse(&text, &net.path("spa.toml")).unwrap();
    dmsc_node::spa::start(config).await.unwrap()
}
