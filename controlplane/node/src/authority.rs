//! Client of the prefix authorities (type 3): asks one after the other until all names are answered, and follows their revocations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dmsc_linkstate::Event;
use dmsc_proto::AUTHORITY_VERSIONS;
use dmsc_proto::v1::{self, prefix_authority_client::PrefixAuthorityClient};
use dmsc_spa::pki::AUTHORITY_DNS;
use dmsc_spa::verify::RootKey;
use dmsc_wire::{Domain, NameBuf, NodeId};
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tracing::{info, warn};

use crate::claims::{Claims, Held, Proof};
use crate::handle::Handle;
use crate::tls::Tls;

/// For a connection, and for an answer. A pod that registers waits for 5 s in all.
const CONNECT: Duration = Duration::from_millis(800);
const ANSWER: Duration = Duration::from_millis(2_000);
/// For all authorities together.
const PATIENCE: Duration = Duration::from_millis(3_500);
/// An authority that did not answer is not asked again for this long: pods that register do not wait for it one after the other.
const SILENT: Duration = Duration::from_millis(900);
/// Between attempts to follow revocations, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// A reply with authorisations for 65,536 names fits.
const MAX_MESSAGE: usize = 64 << 20;

/// The authorities of a gateway, in the order in which they are asked.
pub struct Authorities {
    gateway: NodeId,
    list: Vec<Authority>,
}

struct Authority {
    address: SocketAddr,
    channel: Channel,
    /// Did not answer, and why; until then it is not asked.
    silent: Mutex<Option<(Instant, String)>>,
}

/// What became of a question.
#[derive(Debug, Default)]
pub struct Answer {
    /// Believed, and not kept yet.
    pub authorisations: Vec<Held>,
    /// All authorities answered, none authorised these; their sentences.
    pub refused: BTreeMap<NameBuf, String>,
    /// Not authorised, and not all authorities answered, or one answered neither yes nor no; why.
    pub open: BTreeMap<NameBuf, String>,
}

impl Authorities {
    /// Connections are made when they are first used; must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the credentials are of no use for TLS.
    pub fn new(
        gateway: NodeId,
        addresses: &[SocketAddr],
        tls: &Tls,
    ) -> Result<Self, tonic::transport::Error> {
        let list = addresses
            .iter()
            .map(|address| {
                let endpoint = Endpoint::from_shared(format!("https://{address}"))?
                    .tls_config(tls.client(AUTHORITY_DNS))?
                    .connect_timeout(CONNECT)
                    .http2_keep_alive_interval(Duration::from_secs(10))
                    .keep_alive_timeout(Duration::from_secs(5))
                    .tcp_nodelay(true);
                Ok(Authority {
                    address: *address,
                    channel: endpoint.connect_lazy(),
                    silent: Mutex::default(),
                })
            })
            .collect::<Result<_, tonic::transport::Error>>()?;
        Ok(Self { gateway, list })
    }

    /// Where they are.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.list.iter().map(|one| one.address).collect()
    }

    /// Asks for `names` on behalf of the pod `who` with `proof`, always with all that the pod signed for. A name is off the list when an authorisation that `root` stands for covers it;
    /// others are asked at the next authority.
    pub async fn ask(
        &self,
        root: &RootKey,
        who: (Domain, &str),
        proof: &Proof,
        names: Vec<NameBuf>,
    ) -> Answer {
        let (domain, identity) = who;
        let mut answer = Answer::default();
        let mut unanswered = BTreeSet::new();
        let mut left: BTreeMap<NameBuf, String> = names
            .into_iter()
            .map(|name| (name, String::new()))
            .collect();
        let mut silent: Vec<String> = Vec::new();
        let limit = Instant::now() + PATIENCE;
        for authority in &self.list {
            if left.is_empty() {
                break;
            }
            let request = v1::AuthoriseRequest {
                version_min: AUTHORITY_VERSIONS.0,
                version_max: AUTHORITY_VERSIONS.1,
                gateway: self.gateway.0,
                domain: domain.0,
                pod_certificate: proof.certificate.to_vec(),
                pod_statement: proof.statement.to_vec(),
                pod_signature: proof.signature.to_vec(),
                prefixes: dmsc_spa::statement::listed(&proof.prefixes)
                    .map(<[u8]>::to_vec)
                    .collect(),
            };
            let left_time = limit.saturating_duration_since(Instant::now());
            match authority.authorise(request, left_time.min(ANSWER)).await {
                Ok(reply) => {
                    let held = believed(root, reply.authorisations, authority.address).await;
                    let mut granted = Claims::new(self.gateway);
                    granted.add(held.clone());
                    answer.authorisations.extend(held);
                    let mut refused = BTreeSet::new();
                    for one in reply.refused {
                        if let Ok(name) = NameBuf::from_bytes(&one.name)
                            && let Some(before) = left.get_mut(&name)
                            && refused.insert(name)
                        {
                            add(before, &one.reason);
                        }
                    }
                    left.retain(|name, before| {
                        if refused.contains(name) {
                            return true;
                        }
                        let left = granted.renew_name_at_s(domain, identity, name).is_none();
                        if left {
                            let address = authority.address;
                            add(
                                before,
                                &format!(
                                    "authority {address} answered, but neither refused it nor authorised it for this gateway; look at the authority"
                                ),
                            );
                            unanswered.insert(name.clone());
                        }
                        left
                    });
                }
                Err(Trouble::Refusal(reason)) => {
                    left.values_mut().for_each(|before| add(before, &reason))
                }
                Err(Trouble::Silence(reason)) => {
                    silent.push(format!("{}: {reason}", authority.address))
                }
            }
        }
        if self.list.is_empty() {
            left.values_mut().for_each(|reason| {
                add(
                    reason,
                    "this gateway knows no authority; add one to [gateway] authorities",
                );
            });
        }
        if silent.is_empty() {
            let is_open = |name: &NameBuf, _: &mut String| unanswered.contains(name);
            answer.open = left.extract_if(.., is_open).collect();
            answer.refused = left;
        } else {
            let who = if silent.len() == self.list.len() {
                "no authority answers"
            } else {
                "not all authorities answer"
            };
            let silence = format!("{who}; the gateway goes on asking ({})", silent.join(", "));
            for (name, refusal) in left {
                let text = if refusal.is_empty() {
                    silence.clone()
                } else {
                    format!("{silence}; {refusal}")
                };
                answer.open.insert(name, text);
            }
        }
        answer
    }
}

/// Those that are to be believed. Signatures of thousands of names take a while, so not on a thread of the runtime.
async fn believed(root: &RootKey, bodies: Vec<Vec<u8>>, address: SocketAddr) -> Vec<Held> {
    let root = root.clone();
    let verify = move || {
        let held = |body: Vec<u8>| match root.authorisation(&body) {
            Ok(authorisation) if root.has_revoked_authority_of(&authorisation) => {
                warn!(authority = authorisation.authority, %address, "the root took this authority back; what it signs is not believed");
                None
            }
            Ok(authorisation) => Some(Held {
                body: Bytes::from(body),
                authorisation,
            }),
            Err(error) => {
                warn!(%error, %address, "an authorisation is not believed");
                None
            }
        };
        bodies.into_iter().filter_map(held).collect()
    };
    tokio::task::spawn_blocking(verify)
        .await
        .unwrap_or_default()
}

fn add(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    text.push_str(more);
}

/// Why an authority gave no authorisation.
enum Trouble {
    /// It answered.
    Refusal(String),
    /// It did not.
    Silence(String),
}

impl Authority {
    async fn authorise(
        &self,
        request: v1::AuthoriseRequest,
        patience: Duration,
    ) -> Result<v1::AuthoriseReply, Trouble> {
        let lock = || self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, why)) = lock().clone()
            && until > Instant::now()
        {
            return Err(Trouble::Silence(why));
        }
        let mut client = PrefixAuthorityClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let result = match timeout(patience, client.authorise(request)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => match status.code() {
                Code::PermissionDenied
                | Code::InvalidArgument
                | Code::FailedPrecondition
                | Code::Unauthenticated
                | Code::OutOfRange => Err(Trouble::Refusal(format!(
                    "authority {}: {}",
                    self.address,
                    status.message()
                ))),
                _ => Err(Trouble::Silence(cause(&status))),
            },
            Err(_) => Err(Trouble::Silence("no answer in time".to_owned())),
        };
        *lock() = match &result {
            Err(Trouble::Silence(why)) => Some((Instant::now() + SILENT, why.clone())),
            _ => None,
        };
        result
    }
}

/// The innermost cause: the outer ones say "transport error".
fn cause(status: &tonic::Status) -> String {
    let mut inner: &dyn std::error::Error = status;
    while let Some(source) = inner.source() {
        inner = source;
    }
    if std::ptr::eq(
        std::ptr::from_ref(inner).cast::<()>(),
        std::ptr::from_ref(status).cast(),
    ) {
        return status.message().to_owned();
    }
    inner.to_string()
}

/// Follows the revocations of all authorities, whichever they are at the time; never ends by itself.
pub async fn follow(handle: Handle, mut authorities: watch::Receiver<Arc<Authorities>>) {
    loop {
        // Ends those of before.
        let mut tasks = JoinSet::new();
        let now = Arc::clone(&authorities.borrow_and_update());
        for one in &now.list {
            tasks.spawn(revocations(
                handle.clone(),
                now.gateway,
                one.address,
                one.channel.clone(),
            ));
        }
        if authorities.changed().await.is_err() {
            return;
        }
    }
}

async fn revocations(handle: Handle, gateway: NodeId, address: SocketAddr, channel: Channel) {
    let mut pause = AGAIN.0;
    let mut lost = false;
    loop {
        let request = v1::RevocationsRequest {
            gateway: gateway.0,
            version_min: dmsc_proto::AUTHORITY_VERSIONS.0,
            version_max: dmsc_proto::AUTHORITY_VERSIONS.1,
        };
        let mut client =
            PrefixAuthorityClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        match client.revocations(request).await {
            Ok(reply) => {
                info!(%address, "authority answers");
                lost = false;
                let since = Instant::now();
                let mut stream = reply.into_inner();
                // What was refused or waited may be authorised now.
                handle
                    .query(|node| {
                        node.ask_again = true;
                        node.signals.claimed.notify_one();
                    })
                    .await;
                while let Ok(Some(signed)) = stream.message().await {
                    let body = Bytes::from(signed.encode_to_vec());
                    if handle
                        .query(|node| node.event(Event::Revocation(body)))
                        .await
                        .is_none()
                    {
                        return;
                    }
                }
                warn!(%address, "authority lost");
                // One that comes and goes is not followed, and asked, faster and faster.
                if since.elapsed() > AGAIN.1 {
                    pause = AGAIN.0;
                }
            }
            Err(status) if !lost => {
                warn!(%address, "authority does not answer: {}", cause(&status));
                lost = true;
            }
            Err(_) => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}
