//! Type 3: gateways ask for authorisations, and hear of revocations.

use std::sync::Arc;

use bytes::Bytes;
use dmsc_proto::AUTHORITY_VERSIONS;
use dmsc_proto::v1::prefix_authority_server::{PrefixAuthority, PrefixAuthorityServer};
use dmsc_proto::v1::{self, AuthoriseReply, AuthoriseRequest, RevocationsRequest};
use dmsc_spa::authority::{AuthorityError, MAX_PREFIXES, Request as Wanted};
use dmsc_spa::identity::Identity;
use dmsc_spa::verify::Certificate;
use dmsc_wire::{Domain, NameBuf, NodeId};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::metrics::Outcome;
use super::state::{AuthoriseError, Spa};
use crate::bodies::May;
use crate::clock::wall;
use crate::guests::Guests;
use crate::tls::revoked;

/// The most prefixes of 255 bytes, and the proof.
const MAX_REQUEST: usize = 20 << 20;
/// As many, each with a sentence, or in authorisations.
const MAX_ANSWER: usize = 64 << 20;
/// Revocations on their way to one gateway.
const WAITING: usize = 16;

fn no_gateway(other: &Identity) -> Status {
    Status::permission_denied(format!(
        "only gateways ask here; your certificate is of {other}"
    ))
}

/// The service.
pub struct Authorities(Arc<Spa>);

impl Authorities {
    /// The service of `spa`, for a tonic server with mutual TLS.
    #[must_use]
    pub fn service(spa: Arc<Spa>) -> PrefixAuthorityServer<Self> {
        PrefixAuthorityServer::new(Self(spa))
            .max_decoding_message_size(MAX_REQUEST)
            .max_encoding_message_size(MAX_ANSWER)
    }

    /// For whom a body is read at all; which gateway it is, is judged with the body.
    pub(super) fn gateways_only(spa: &Arc<Spa>, guests: Guests) -> May {
        let this = Self(Arc::clone(spa));
        let identity = |certificate: Certificate| certificate.identity;
        Arc::new(move |request| match this.caller(request).map(identity) {
            Ok(Identity::Node { gateway: true, .. }) => {
                guests.greet(request, &this.0.root);
                Ok(())
            }
            other => {
                this.0.metrics.count(Outcome::Denied);
                Err(match other {
                    Ok(other) => no_gateway(&other),
                    Err(status) => status,
                })
            }
        })
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Certificate, Status> {
        let certificate = request
            .peer_certs()
            .and_then(|chain| chain.first().cloned())
            .ok_or_else(|| Status::permission_denied("a client certificate is needed"))?;
        let certificate = self
            .0
            .root
            .certificate(&certificate, wall().as_secs())
            .map_err(|error| {
                Status::permission_denied(format!("your certificate is not believed: {error}"))
            })?;
        Ok(certificate)
    }

    /// The caller, who must be gateway `claimed`.
    fn gateway<T>(
        &self,
        request: &Request<T>,
        claimed: u32,
    ) -> Result<(NodeId, Certificate), Status> {
        let certificate = self.caller(request)?;
        match &certificate.identity {
            Identity::Node { id, gateway: true } if id.0 == claimed => Ok((*id, certificate)),
            Identity::Node { id, gateway: true } => Err(Status::permission_denied(format!(
                "your certificate is of gateway {id}, the request is for gateway {claimed}: a gateway asks for itself only"
            ))),
            other => Err(no_gateway(other)),
        }
    }

    async fn answer(&self, request: Request<AuthoriseRequest>) -> Result<AuthoriseReply, Refusal> {
        let (gateway, _) = self
            .gateway(&request, request.get_ref().gateway)
            .map_err(|status| Refusal(Outcome::Denied, status))?;
        let request = request.into_inner();
        let version = version(request.version_min, request.version_max)?;
        if request.prefixes.len() > MAX_PREFIXES {
            return Err(Refusal::invalid(format!(
                "prefixes: {} are too many; at most {MAX_PREFIXES} in one request",
                request.prefixes.len()
            )));
        }
        let prefixes = request
            .prefixes
            .into_iter()
            .enumerate()
            .map(|(index, bytes)| {
                NameBuf::from_bytes(&bytes)
                    .map_err(|error| Refusal::invalid(format!("prefixes[{index}]: {error}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let asked = prefixes.len();
        let wanted = Wanted {
            gateway,
            domain: Domain(request.domain),
            pod_certificate: request.pod_certificate.into(),
            pod_statement: request.pod_statement.into(),
            pod_signature: request.pod_signature.into(),
            prefixes,
        };
        let spa = Arc::clone(&self.0);
        // Signatures and many names: other callers, and the operator, do not wait for it.
        let answer = tokio::task::spawn_blocking(move || spa.authorise(&wanted))
            .await
            .map_err(|error| Refusal(Outcome::Failed, Status::internal(error.to_string())))??;
        let metrics = &self.0.metrics;
        metrics.count(match answer.refused.len() {
            0 => Outcome::Granted,
            some if some < asked => Outcome::Partly,
            _ => Outcome::Refused,
        });
        metrics
            .authorisations
            .inc_by(answer.authorisations.len() as u64);
        metrics.refused_prefixes.inc_by(answer.refused.len() as u64);
        match answer.refused.first() {
            None => info!(
                %gateway,
                asked,
                authorisations = answer.authorisations.len(),
                "authorised"
            ),
            Some((name, reason)) => warn!(
                %gateway,
                asked,
                refused = answer.refused.len(),
                first = %name,
                reason,
                "refused"
            ),
        }
        Ok(AuthoriseReply {
            version,
            authorisations: answer.authorisations.into_iter().map(Into::into).collect(),
            refused: answer
                .refused
                .into_iter()
                .map(|(name, reason)| v1::PrefixRefusal {
                    name: name.as_bytes().to_vec(),
                    reason,
                })
                .collect(),
            authority: self.0.config.name.clone(),
        })
    }
}

/// A request without an answer.
struct Refusal(Outcome, Status);

impl Refusal {
    fn invalid(sentence: String) -> Self {
        Self(Outcome::Invalid, Status::invalid_argument(sentence))
    }
}

impl From<AuthoriseError> for Refusal {
    fn from(error: AuthoriseError) -> Self {
        let sentence = error.to_string();
        match error {
            AuthoriseError::Authority(AuthorityError::Proof(_)) => {
                Self(Outcome::Invalid, Status::unauthenticated(sentence))
            }
            // Its clock, its certificate, its disk: another authority may be better off.
            AuthoriseError::Authority(_) | AuthoriseError::Store(_) => {
                Self(Outcome::Failed, Status::unavailable(sentence))
            }
        }
    }
}

fn version(min: u32, max: u32) -> Result<u32, Refusal> {
    let (low, high) = AUTHORITY_VERSIONS;
    let version = max.min(high);
    if version < low.max(min) {
        let sentence = format!(
            "this authority speaks versions {low} to {high} of its API, the caller {min} to {max}; upgrade the older of the two"
        );
        return Err(Refusal(
            Outcome::Invalid,
            Status::failed_precondition(sentence),
        ));
    }
    Ok(version)
}

#[tonic::async_trait]
impl PrefixAuthority for Authorities {
    async fn authorise(
        &self,
        request: Request<AuthoriseRequest>,
    ) -> Result<Response<AuthoriseReply>, Status> {
        match self.answer(request).await {
            Ok(reply) => Ok(Response::new(reply)),
            Err(Refusal(outcome, status)) => {
                self.0.metrics.count(outcome);
                warn!(outcome = ?outcome, "no answer: {}", status.message());
                Err(status)
            }
        }
    }

    type RevocationsStream = ReceiverStream<Result<v1::SignedRevocation, Status>>;

    async fn revocations(
        &self,
        request: Request<RevocationsRequest>,
    ) -> Result<Response<Self::RevocationsStream>, Status> {
        let asked = request.get_ref();
        let (_, certificate) = self.gateway(&request, asked.gateway)?;
        version(asked.version_min, asked.version_max).map_err(|Refusal(_, status)| status)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(tell(Arc::clone(&self.0), certificate, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Tells one gateway all revocations, then each new one, until it goes away.
async fn tell(
    spa: Arc<Spa>,
    certificate: Certificate,
    sender: mpsc::Sender<Result<v1::SignedRevocation, Status>>,
) {
    spa.metrics.watchers.inc();
    let (mut bodies, mut seen, mut changed) = spa.watch();
    'gateway: loop {
        for body in bodies {
            // Signed by this process or verified at its start.
            let Ok(signed) = v1::SignedRevocation::decode(Bytes::clone(&body)) else {
                continue;
            };
            if sender.send(Ok(signed)).await.is_err() {
                break 'gateway;
            }
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = sender.closed() => break,
        }
        if spa.root.has_revoked(&certificate) {
            _ = sender.send(Err(revoked())).await;
            break;
        }
        bodies = spa.signed_after(seen);
        seen += bodies.len();
    }
    spa.metrics.watchers.dec();
}
