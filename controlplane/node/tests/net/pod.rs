//! A pod's side of a registration with credentials.

use std::path::Path;

use dmsc_proto::v1::{self, registrar_client::RegistrarClient};
use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::GATEWAY_DNS;
use dmsc_spa::statement::{REGISTER, endpoint_sha256, prefixes_sha256};
use dmsc_wire::NameBuf;
use prost::Message as _;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as TlsIdentity};

use super::Net;

pub struct Pod {
    pub identity: String,
    pub client: RegistrarClient<Channel>,
    credentials: Credentials,
}

/// Port, address on it, and the lease that moves there.
#[derive(Clone, Copy, Default)]
pub struct Place<'a>(pub &'a str, pub &'a str, pub u64);

pub fn name(text: &str) -> Vec<u8> {
    NameBuf::parse(text).unwrap().as_bytes().to_vec()
}

impl Pod {
    /// With credentials of its own at gateway `gateway`.
    pub async fn new(net: &Net, gateway: u32, identity: &str) -> Self {
        let who = Identity::Pod(identity.into());
        let folder = net.credentials(&who, &identity.replace('/', "-"));
        Self::connect(net, gateway, identity, &folder)
            .await
            .unwrap()
    }

    /// With any credentials.
    pub async fn connect(
        net: &Net,
        gateway: u32,
        identity: &str,
        folder: &Path,
    ) -> Result<Self, tonic::transport::Error> {
        let credentials = Credentials::load(folder).unwrap();
        let tls = ClientTlsConfig::new()
            .identity(TlsIdentity::from_pem(
                &credentials.certificate_pem,
                &credentials.key_pem,
            ))
            .ca_certificate(Certificate::from_pem(&credentials.root_pem))
            .domain_name(GATEWAY_DNS);
        let endpoint = Endpoint::from_shared(format!("https://{}:35030", net.address(gateway)))?
            .tls_config(tls)?;
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
        // The process may be starting.
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                Err(_) if std::time::Instant::now() < limit => {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await
                }
                Err(error) => return Err(error),
            }
        };
        Ok(Self {
            identity: identity.into(),
            client: RegistrarClient::new(channel),
            credentials,
        })
    }

    pub fn public_key(&self) -> [u8; 32] {
        self.credentials.signing_key().unwrap().public_key()
    }

    /// A request with a fresh proof.
    pub async fn request(
        &mut self,
        udp_port: u32,
        names: &[&str],
    ) -> Result<v1::RegisterRequest, Status> {
        self.request_at(udp_port, names, Place::default()).await
    }

    /// The same, on a port that is named, or to move a lease.
    pub async fn request_at(
        &mut self,
        udp_port: u32,
        names: &[&str],
        Place(port, address, lease): Place<'_>,
    ) -> Result<v1::RegisterRequest, Status> {
        let challenge = self
            .client
            .challenge(v1::ChallengeRequest {
                identity: self.identity.clone(),
            })
            .await?
            .into_inner();
        let prefixes: Vec<_> = names.iter().map(|text| name(text)).collect();
        let statement = v1::PodStatement {
            nonce: challenge.nonce.clone(),
            gateway: challenge.gateway,
            identity: self.identity.clone(),
            signed_at_ms: dmsc_node::clock::wall_ms(),
            domain: 0,
            prefixes_sha256: prefixes_sha256(prefixes.iter().map(Vec::as_slice)).to_vec(),
            endpoint_sha256: endpoint_sha256(port, address, lease).to_vec(),
        }
        .encode_to_vec();
        let message = [REGISTER, statement.as_slice()].concat();
        Ok(v1::RegisterRequest {
            version_min: 1,
            version_max: 1,
            identity: self.identity.clone(),
            prefixes,
            udp_port,
            nonce: challenge.nonce,
            signature: self
                .credentials
                .signing_key()
                .unwrap()
                .sign(&message)
                .to_vec(),
            statement,
            port: port.into(),
            address: address.into(),
            lease,
            ..Default::default()
        })
    }

    pub async fn register_at(
        &mut self,
        udp_port: u32,
        names: &[&str],
        place: Place<'_>,
    ) -> Result<v1::RegisterReply, Status> {
        let request = self.request_at(udp_port, names, place).await?;
        Ok(self.client.register(request).await?.into_inner())
    }

    pub async fn register(
        &mut self,
        udp_port: u32,
        names: &[&str],
    ) -> Result<v1::RegisterReply, Status> {
        let request = self.request(udp_port, names).await?;
        Ok(self.client.register(request).await?.into_inner())
    }
}
