//! The client of the gateway's registrar: one connection, thrown away when it fails.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dmsc_proto::POD_VERSIONS;
use dmsc_proto::v1::{self, registrar_client::RegistrarClient};
use dmsc_wire::{AttachmentId, Domain, NameBuf, NodeId};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::config::{GatewayAddress, PodConfig};
use crate::credentials::Credentials;
use crate::error::{PodError, chain};
use crate::health::Health;
use crate::proofs::Proofs;
use crate::revocations::Revocations;
use crate::session::{LeaseId, Place, Refused, Registered};

/// A gateway that does not answer for this long is taken for away.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same where the lease does not wait for the answer.
const UNIMPORTANT: Duration = Duration::from_secs(1);
/// A registration with all its prefixes fits.
const MAX_MESSAGE: usize = 32 << 20;

/// What the gateway tells beside the lease; `None`: nothing new.
#[derive(Debug)]
pub struct Told {
    /// What the pod's names are proven with.
    pub proofs: Option<Proofs>,
    /// What was taken back.
    pub revocations: Option<Revocations>,
}

/// One connection to the registrar, made when it is first used.
#[derive(Debug, Clone)]
pub struct Registrar {
    gateway: GatewayAddress,
    client: RegistrarClient<Channel>,
    credentials: Option<Credentials>,
}

impl Registrar {
    /// Prepares a connection to `address`, over TLS with credentials; must be called in a tokio runtime.
    #[must_use]
    pub fn new(
        gateway: GatewayAddress,
        address: SocketAddr,
        credentials: Option<Credentials>,
    ) -> Self {
        let nowhere = || Endpoint::from_static("http://gateway.dmsc.invalid");
        let endpoint = match &credentials {
            None => Endpoint::from_shared(format!("http://{address}")),
            // Tried when they were loaded, so this does not fail; if it did, nothing would be sent in the clear.
            Some(credentials) => Endpoint::from_shared(format!("https://{address}"))
                .and_then(|endpoint| endpoint.tls_config(credentials.tls())),
        };
        let channel = endpoint
            .unwrap_or_else(|_| nowhere())
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true)
            .connect_lazy();
        let client = RegistrarClient::new(channel)
            .max_encoding_message_size(MAX_MESSAGE)
            .max_decoding_message_size(MAX_MESSAGE);
        Self {
            gateway,
            client,
            credentials,
        }
    }

    fn failed(&self, status: &Status) -> PodError {
        let gateway = self.gateway.clone();
        let source = std::error::Error::source(status).map(chain);
        let reason = match (status.message(), source) {
            ("", None) => format!("{:?}", status.code()),
            (message, None) => message.to_owned(),
            ("", Some(source)) => source,
            (message, Some(source)) if source.contains(message) => source,
            (message, Some(source)) => format!("{message}: {source}"),
        };
        match status.code() {
            Code::NotFound => PodError::NoLease,
            Code::PermissionDenied
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::Unauthenticated
            | Code::Unimplemented
            | Code::OutOfRange => PodError::Refused { gateway, reason },
            _ => PodError::Away { gateway, reason },
        }
    }

    fn timed<T>(message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(PATIENCE);
        request
    }

    /// Adds a proof to a registration: the gateway's nonce and what is asked for, signed. Nothing without credentials.
    async fn prove(&mut self, request: &mut v1::RegisterRequest) -> Result<(), PodError> {
        let Some(credentials) = self.credentials.clone() else {
            return Ok(());
        };
        let challenge = v1::ChallengeRequest {
            identity: request.identity.clone(),
        };
        let reply = self.client.challenge(Self::timed(challenge)).await;
        let reply = reply.map_err(|status| self.failed(&status))?.into_inner();
        if reply.nonce.len() != 16 {
            return Err(PodError::BadAnswer {
                gateway: self.gateway.clone(),
                field: "nonce",
            });
        }
        request.nonce = reply.nonce;
        let signed = credentials.sign(request, reply.gateway);
        request.statement = signed.statement;
        request.signature = signed.signature;
        Ok(())
    }

    /// Registers the endpoint `udp_port` at `place`, with credentials: with a proof of the identity; with a lease: moves that there, its attachment kept. Tells
    /// what its names are proven with, too.
    ///
    /// # Errors
    /// Away or refused; [`PodError::NoLease`]: there is none to be moved.
    pub async fn register(
        &mut self,
        config: &PodConfig,
        udp_port: u16,
        place: &Place,
        lease: Option<LeaseId>,
    ) -> Result<(Registered, Told), PodError> {
        let (port, of_pod) = place.named();
        let mut request = v1::RegisterRequest {
            version_min: POD_VERSIONS.0,
            version_max: POD_VERSIONS.1,
            identity: config.identity.clone(),
            domain: config.domain.0,
            prefixes: config
                .prefixes
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .collect(),
            udp_port: u32::from(udp_port),
            port,
            address: of_pod,
            lease: lease.map_or(0, |lease| lease.0),
            ..v1::RegisterRequest::default()
        };
        self.prove(&mut request).await?;
        let reply = self.client.register(Self::timed(request)).await;
        let reply = reply.map_err(|status| self.failed(&status))?.into_inner();
        let bad = |field| PodError::BadAnswer {
            gateway: self.gateway.clone(),
            field,
        };
        let address: IpAddr = reply
            .data_address
            .parse()
            .map_err(|_| bad("data_address"))?;
        let port = u16::try_from(reply.data_port)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| bad("data_port"))?;
        // One of before ports could be named has registered the address that it sees.
        if let Place::Shared { port, .. } = place
            && reply.port != *port
        {
            return Err(bad("port"));
        }
        let named = |list: Vec<v1::RefusedPrefix>, field| {
            list.into_iter()
                .map(|one| {
                    Ok::<_, PodError>(Refused {
                        name: NameBuf::from_bytes(&one.name).map_err(|_| bad(field))?,
                        reason: one.reason,
                    })
                })
                .collect::<Result<Vec<_>, PodError>>()
        };
        let refused = named(reply.refused, "refused.name")?;
        let waiting = named(reply.waiting, "waiting.name")?;
        let not_ours: HashSet<&NameBuf> = refused.iter().map(|one| &one.name).collect();
        let accepted = |name: &&NameBuf| !not_ours.contains(*name);
        let serves = config.prefixes.iter().filter(accepted).cloned().collect();
        let told = Told {
            proofs: Some(Proofs::new(
                reply.authorisations_version,
                reply.authorisations,
            )),
            revocations: Some(Revocations::new(
                reply.revocations_version,
                reply.revocations,
                reply.root_revocations,
            )),
        };
        let registered = Registered {
            lease: LeaseId(reply.lease),
            refresh: Duration::from_secs(u64::from(reply.refresh_seconds.clamp(1, 3_600))),
            gateway: NodeId(reply.gateway),
            attachment: AttachmentId(
                u16::try_from(reply.attachment).map_err(|_| bad("attachment"))?,
            ),
            domain: Domain(reply.domain),
            source_name: NameBuf::from_bytes(&reply.source_name).map_err(|_| bad("source_name"))?,
            data: SocketAddr::new(address, port),
            shared: (*place != Place::Socket).then_some(address),
            max_packet: usize::try_from(reply.max_packet).unwrap_or(usize::MAX),
            serves: Arc::new(serves),
            refused: refused.into(),
            waiting: waiting.into(),
        };
        Ok((registered, told))
    }

    /// Keeps a lease. Tells proofs and revocations if they are others than those of these versions.
    ///
    /// # Errors
    /// [`PodError::NoLease`]: register again.
    pub async fn refresh(
        &mut self,
        lease: LeaseId,
        [proofs, revocations]: [u64; 2],
    ) -> Result<Told, PodError> {
        let request = Self::timed(v1::RefreshRequest {
            lease: lease.0,
            authorisations_version: proofs,
            revocations_version: revocations,
        });
        let reply = self.client.refresh(request).await;
        let reply = reply.map_err(|status| self.failed(&status))?.into_inner();
        let news = |told: u64, known: u64| ![0, known].contains(&told);
        let proofs = news(reply.authorisations_version, proofs)
            .then(|| Proofs::new(reply.authorisations_version, reply.authorisations));
        let revocations = news(reply.revocations_version, revocations).then(|| {
            let version = reply.revocations_version;
            Revocations::new(version, reply.revocations, reply.root_revocations)
        });
        Ok(Told {
            proofs,
            revocations,
        })
    }

    /// Ends a lease and its attachment.
    ///
    /// # Errors
    /// Away; the lease then ends by itself.
    pub async fn withdraw(&mut self, lease: LeaseId) -> Result<(), PodError> {
        let request = Self::timed(v1::WithdrawRequest {
            lease: lease.0,
            prefixes: Vec::new(),
        });
        let reply = self.client.withdraw(request).await;
        reply.map(drop).map_err(|status| self.failed(&status))
    }

    /// Tells the pod's health.
    ///
    /// # Errors
    /// Away, or [`PodError::NoLease`].
    pub async fn health(&mut self, lease: LeaseId, health: Health) -> Result<(), PodError> {
        let request = Self::timed(v1::HealthRequest {
            lease: lease.0,
            state: health.as_str().into(),
        });
        let reply = self.client.health(request).await;
        reply.map(drop).map_err(|status| self.failed(&status))
    }

    /// Tells how long calls took.
    ///
    /// # Errors
    /// Away, [`PodError::NoLease`], or a gateway that does not want to know.
    pub(crate) async fn answered(
        &mut self,
        lease: LeaseId,
        calls: Vec<v1::AnsweredCalls>,
    ) -> Result<(), PodError> {
        let mut request = tonic::Request::new(v1::AnsweredRequest {
            lease: lease.0,
            calls,
        });
        request.set_timeout(UNIMPORTANT);
        let reply = self.client.answered(request).await;
        reply.map(drop).map_err(|status| self.failed(&status))
    }

    /// Instances of `name`, now and whenever they change.
    ///
    /// # Errors
    /// Away, or [`PodError::NoLease`].
    pub async fn resolve(
        &mut self,
        lease: LeaseId,
        name: &NameBuf,
    ) -> Result<tonic::Streaming<v1::ResolveReply>, PodError> {
        let request = v1::ResolveRequest {
            lease: lease.0,
            name: name.as_bytes().to_vec(),
        };
        let reply = self.client.resolve(request).await;
        Ok(reply.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// An error of a stream that had begun.
    pub(crate) fn stream_error(gateway: &GatewayAddress, status: &Status) -> PodError {
        match status.code() {
            Code::NotFound => PodError::NoLease,
            _ => PodError::Away {
                gateway: gateway.clone(),
                reason: status.message().to_owned(),
            },
        }
    }
}
