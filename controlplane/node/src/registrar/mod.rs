//! The pods' Registrar: checks who registers what from where, keeps leases, resolves names.

mod answers;
mod authentic;
mod fixed;
mod gateway;
mod nonce;
mod place;
mod resolves;

use std::collections::HashSet;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dmsc_proto::v1::{self, op::Op as Kind, registrar_server::Registrar};
use dmsc_proto::{POD_VERSIONS, v1::registrar_server::RegistrarServer};
use dmsc_wire::{AttachmentId, Domain, Name, NameBuf, UDP_PORT};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::info;

pub use authentic::AuthenticGateway;
pub(crate) use authentic::{Sorted, pod};
pub use fixed::StaticGateway;
pub use gateway::{Admitted, Asking, Certified, Gateway};

use crate::agent::AgentError;
use crate::claims::{Proofs, TakenBack};
use crate::clock::wall_ms;
use crate::lease::{Endpoint, Health, LEASE, Lease, LeaseId, REFRESH};
use crate::pods::Dataplane;
use crate::routes::source_name;
use answers::Answers;
use place::Place;
use resolves::Resolves;

/// Most prefixes of one registration (limit of the pod API).
const MAX_PREFIXES: usize = 65_536;
/// Most leases of one gateway; attachment ids have 16 bits.
const MAX_LEASES: usize = 16_384;
/// Of them, most of one identity at one address.
const MAX_EACH: usize = 64;
/// A registration with all its prefixes, of 255 bytes each, and the proof fit.
const MAX_MESSAGE: usize = 20 << 20;
/// Resolve streams of one lease at a time: 16 names that it calls, and eight that it serves.
const MAX_RESOLVES: usize = 24;
/// Calls of one connection at a time: the streams of a few pods that share it, and what they ask besides.
pub(crate) const MAX_CALLS: u32 = 64;
/// Answers of one Resolve stream are computed at most this often.
const RESOLVE_AGAIN: Duration = Duration::from_millis(50);
/// UDP and IP headers in front of a packet.
const OVERHEAD_V4: u32 = 28;
const OVERHEAD_V6: u32 = 48;

/// The service of one gateway.
#[derive(Debug)]
pub struct PodRegistrar<G> {
    gateway: Arc<G>,
    resolves: Resolves,
    answers: Answers,
}

/// Attaches `lease`. Whoever was attached at its endpoint before is not any more: an endpoint has one attachment.
pub(crate) async fn attach(dataplane: &mut Dataplane, lease: &Lease) -> Result<Lease, Status> {
    let attach = |id| {
        vec![v1::Op {
            op: Some(Kind::Attach(lease.attachment(id))),
        }]
    };
    let applied = match dataplane.agent.apply(attach(lease.attachment)).await {
        // Somebody else has the id: let the dataplane choose.
        Err(error) if error.is_refusal() && lease.attachment != AttachmentId::ANY => {
            let chosen = dataplane.agent.apply(attach(AttachmentId::ANY)).await;
            chosen.map_err(unavailable)?
        }
        other => other.map_err(unavailable)?,
    };
    let attachment = applied.attachments.first().copied().filter(|id| id.0 != 0);
    let attachment = attachment.ok_or_else(|| {
        Status::internal("the dataplane gave no attachment id; this is a defect of the dataplane")
    })?;
    Ok(Lease {
        attachment,
        ..lease.clone()
    })
}

/// Moves an attachment to where `lease` says that it is now, under its id: whoever is pinned to it goes on.
async fn move_to(dataplane: &mut Dataplane, lease: &Lease) -> Result<(), Status> {
    let attachment = v1::Attachment {
        moves: true,
        ..lease.attachment(lease.attachment)
    };
    let op = v1::Op {
        op: Some(Kind::Attach(attachment)),
    };
    let applied = dataplane.agent.apply(vec![op]).await;
    applied.map(drop).map_err(unavailable)
}

impl<G: Gateway> PodRegistrar<G> {
    /// The service, ready for a tonic server.
    #[must_use]
    pub fn service(gateway: Arc<G>) -> RegistrarServer<Self> {
        RegistrarServer::new(Self {
            gateway,
            resolves: Resolves::default(),
            answers: Answers::default(),
        })
        .max_decoding_message_size(MAX_MESSAGE)
    }

    /// The lease that a registration wants to move: the caller's own, of the same identity and domain.
    fn movable(&self, id: LeaseId, caller: IpAddr, asking: &Asking) -> Result<Lease, Status> {
        let lease = self.gateway.pods().leases().held(id, caller).cloned();
        let lease = lease.filter(|lease| lease.identity == asking.identity);
        let lease = lease.ok_or_else(unknown_lease)?;
        if lease.domain.0 != asking.port.domain {
            return Err(Status::failed_precondition(format!(
                "lease: it is of domain {}, and port {} belongs to domain {}; register without it",
                lease.domain, asking.port.name, asking.port.domain
            )));
        }
        Ok(lease)
    }

    /// The lease that this caller holds.
    fn held<T>(&self, request: &Request<T>, id: LeaseId) -> Result<(IpAddr, Lease), Status> {
        let address = caller(request)?;
        let certified = self.gateway.certified(request)?;
        let lease = self.gateway.pods().leases().held(id, address).cloned();
        let lease =
            lease.filter(|lease| certified.is_none_or(|one| one.identity == lease.identity));
        Ok((address, lease.ok_or_else(unknown_lease)?))
    }
}

/// Names that services may have, and what is wrong with the others.
fn names(wanted: &[Vec<u8>]) -> (Vec<NameBuf>, Vec<v1::RefusedPrefix>) {
    let (mut names, mut refused) = (Vec::new(), Vec::new());
    for bytes in wanted {
        let reason = match Name::from_bytes(bytes) {
            Err(error) => format!("not a name in canonical encoding: {error}"),
            Ok(name) if name.is_reserved() => {
                "names below /dmsc are reserved for routers".to_owned()
            }
            Ok(name) => {
                names.push(name.to_owned());
                continue;
            }
        };
        refused.push(v1::RefusedPrefix {
            name: bytes.clone(),
            reason,
        });
    }
    names.sort_unstable();
    names.dedup();
    (names, refused)
}

fn told(list: &[(NameBuf, String)]) -> impl Iterator<Item = v1::RefusedPrefix> {
    list.iter().map(|(name, reason)| v1::RefusedPrefix {
        name: name.as_bytes().to_vec(),
        reason: reason.clone(),
    })
}

fn unavailable(error: AgentError) -> Status {
    if error.is_refusal() {
        return Status::failed_precondition(format!(
            "the dataplane refuses the attachment: {error}"
        ));
    }
    Status::unavailable(format!(
        "the dataplane of this gateway does not answer; try again ({error})"
    ))
}

/// The dataplane knows what is wrong with what a pod told, and whether it is too old for it.
fn not_added(error: AgentError) -> Status {
    match error {
        AgentError::Call { status, .. } if status.code() == tonic::Code::InvalidArgument => *status,
        AgentError::Call { status, .. } if status.code() == tonic::Code::Unimplemented => {
            Status::unimplemented("the dataplane of this gateway is of before it could be told")
        }
        other => unavailable(other),
    }
}

fn away() -> Status {
    Status::unavailable("the dataplane of this gateway is away; try again")
}

fn unknown_lease() -> Status {
    Status::not_found("this lease is unknown or has ended; register again")
}

fn caller<T>(request: &Request<T>) -> Result<IpAddr, Status> {
    request
        .remote_addr()
        .map(|address| address.ip().to_canonical())
        .ok_or_else(|| Status::internal("the connection has no IP address"))
}

#[tonic::async_trait]
impl<G: Gateway> Registrar for PodRegistrar<G> {
    async fn challenge(
        &self,
        request: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeReply>, Status> {
        let certified = self.gateway.certified(&request)?;
        let identity = request.into_inner().identity;
        let reply = self.gateway.challenge(certified, identity).await?;
        Ok(Response::new(reply))
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterReply>, Status> {
        let at_ms = wall_ms();
        let caller = caller(&request)?;
        let certified = self.gateway.certified(&request)?;
        let request = request.into_inner();
        if request.version_min > POD_VERSIONS.1 || request.version_max < POD_VERSIONS.0 {
            return Err(Status::failed_precondition(format!(
                "the pod speaks versions {} to {} of the pod API, this gateway {} to {}; upgrade the older of the two",
                request.version_min, request.version_max, POD_VERSIONS.0, POD_VERSIONS.1
            )));
        }
        let udp_port = u16::try_from(request.udp_port)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| {
                Status::invalid_argument(format!(
                    "udp_port: must be 1 to 65535, not {}",
                    request.udp_port
                ))
            })?;
        if request.prefixes.len() > MAX_PREFIXES {
            return Err(Status::invalid_argument(format!(
                "prefixes: {} are too many; at most {MAX_PREFIXES} in one registration",
                request.prefixes.len()
            )));
        }
        let identity = request.identity.clone();
        let source_name = source_name(&identity).ok_or_else(|| {
            Status::invalid_argument(format!(
                "identity: {identity:?} does not make a name; write at most 15 non-empty pieces between slashes, for example \"pod1/a\""
            ))
        })?;
        let proof = self.gateway.known(certified.clone(), &request).await?;
        let node = self.gateway.node();
        let pods = self.gateway.pods();
        let ports = {
            let slot = pods.dataplane.lock().await;
            slot.as_ref().ok_or_else(away)?.pod_ports.clone()
        };
        let place = Place::find(&*self.gateway, &ports, &request, caller).await?;
        let port = place.port;
        if request.domain != 0 && request.domain != port.domain {
            return Err(Status::permission_denied(format!(
                "domain: port {} belongs to domain {}, not {}",
                port.name, port.domain, request.domain
            )));
        }
        let (names, mut refused) = names(&request.prefixes);
        let asking = Asking {
            identity,
            port,
            names,
            proof,
            at_ms,
        };
        // Authorities may be asked here, so nothing is locked.
        let mut admitted = self.gateway.admit(&asking).await?;
        let class_limit = self.gateway.class_limit(&asking.identity).await?;
        self.gateway.still(certified.as_ref())?;

        let address = place.address;
        let endpoint = Endpoint {
            port: asking.port.name.clone(),
            address,
            udp_port,
        };
        let mut slot = pods.dataplane.lock().await;
        let dataplane = slot.as_mut().ok_or_else(away)?;
        let there = pods.leases().at(&endpoint).cloned();
        if let Some(other) = &there
            && other.identity != asking.identity
            && place.listed
        {
            return Err(Status::failed_precondition(format!(
                "address: {address} on port {:?} with UDP port {udp_port} is of identity {:?} until its lease ends; use another",
                asking.port.name, other.identity
            )));
        }
        let same = match request.lease {
            0 => there.clone().filter(|one| one.identity == asking.identity),
            id => Some(self.movable(LeaseId(id), caller, &asking)?),
        };
        if there.is_none() && same.is_none() && pods.leases().len() >= MAX_LEASES {
            return Err(Status::resource_exhausted(format!(
                "this gateway has {MAX_LEASES} pods already"
            )));
        }
        // Where identities are proven, one of them must not take the room of all others.
        if same.is_none() && asking.proof.is_some() {
            let leases = pods.leases();
            let same = leases
                .iter()
                .filter(|one| one.identity == asking.identity && one.registrant == caller);
            if same.count() >= MAX_EACH {
                return Err(Status::resource_exhausted(format!(
                    "identity {:?} has {MAX_EACH} registrations from {caller} already; withdraw one, or wait {} s until those that are not refreshed end",
                    asking.identity,
                    LEASE.as_secs()
                )));
            }
        }
        let wanted = Lease {
            id: same
                .as_ref()
                .map_or_else(|| LeaseId(rand::random()), |lease| lease.id),
            identity: asking.identity.clone(),
            endpoint,
            registrant: caller,
            domain: Domain(asking.port.domain),
            serves: admitted.serves.clone().into(),
            source_name,
            class_limit,
            attachment: same
                .as_ref()
                .map_or(AttachmentId::ANY, |lease| lease.attachment),
            health: same.as_ref().map_or(Health::Serving, |lease| lease.health),
            reachable: true,
            answers: true,
            expires: Instant::now() + LEASE,
        };
        let moved = same.filter(|lease| lease.endpoint != wanted.endpoint);
        let lease = match &moved {
            None => attach(dataplane, &wanted).await?,
            Some(_) => {
                move_to(dataplane, &wanted).await?;
                wanted
            }
        };
        pods.leases().put(lease.clone());
        let (domain, max_packet) = (asking.port.domain, asking.port.mtu);
        self.gateway.registered(&lease, asking, &mut admitted).await;
        drop(slot);
        let proofs = self.gateway.proofs(lease.id).await;
        let taken_back = self.gateway.taken_back(0).await;
        refused.extend(told(&admitted.refused));
        info!(
            identity = lease.identity,
            attachment = %lease.attachment,
            port = lease.endpoint.port,
            %address,
            udp_port,
            moved_from = moved.map(|one| one.endpoint.port),
            prefixes = lease.serves.len(),
            refused = refused.len(),
            waiting = admitted.waiting.len(),
            "registered"
        );
        let overhead = if address.is_ipv4() {
            OVERHEAD_V4
        } else {
            OVERHEAD_V6
        };
        let reply = v1::RegisterReply {
            version: POD_VERSIONS.1.min(request.version_max),
            lease: lease.id.0,
            lease_seconds: seconds(LEASE),
            refresh_seconds: seconds(REFRESH),
            gateway: node.0,
            attachment: u32::from(lease.attachment.0),
            domain,
            source_name: lease.source_name.as_bytes().to_vec(),
            data_address: place.gateway.to_string(),
            data_port: u32::from(UDP_PORT),
            max_packet: max_packet.saturating_sub(overhead),
            refused,
            waiting: told(&admitted.waiting).collect(),
            authorisations: proofs.since(0),
            authorisations_version: proofs.version,
            revocations: taken_back.by_authorities,
            root_revocations: taken_back.by_root,
            revocations_version: taken_back.version,
            port: lease.endpoint.port.clone(),
        };
        pods.change();
        Ok(Response::new(reply))
    }

    async fn refresh(
        &self,
        request: Request<v1::RefreshRequest>,
    ) -> Result<Response<v1::RefreshReply>, Status> {
        let id = LeaseId(request.get_ref().lease);
        let (address, _) = self.held(&request, id)?;
        {
            let mut leases = self.gateway.pods().leases();
            let lease = leases.held(id, address).ok_or_else(unknown_lease)?;
            lease.expires = Instant::now() + LEASE;
        }
        let known = request.get_ref().authorisations_version;
        let proofs = match known {
            0 => Proofs::default(),
            _ => self.gateway.proofs(id).await,
        };
        let taken_back = match request.get_ref().revocations_version {
            0 => TakenBack::default(),
            known => self.gateway.taken_back(known).await,
        };
        Ok(Response::new(v1::RefreshReply {
            lease_seconds: seconds(LEASE),
            authorisations: proofs.since(known),
            authorisations_version: proofs.version,
            revocations: taken_back.by_authorities,
            root_revocations: taken_back.by_root,
            revocations_version: taken_back.version,
        }))
    }

    async fn withdraw(
        &self,
        request: Request<v1::WithdrawRequest>,
    ) -> Result<Response<v1::WithdrawReply>, Status> {
        let id = LeaseId(request.get_ref().lease);
        let (address, _) = self.held(&request, id)?;
        let request = request.into_inner();
        let pods = self.gateway.pods();
        let gone: HashSet<NameBuf> = request
            .prefixes
            .iter()
            .filter_map(|name| NameBuf::from_bytes(name).ok())
            .collect();
        let mut slot = pods.dataplane.lock().await;
        let dataplane = slot.as_mut().ok_or_else(away)?;
        let lease = pods.leases().held(id, address).cloned();
        let lease = lease.ok_or_else(unknown_lease)?;
        let withdrawn = if request.prefixes.is_empty() {
            dataplane.agent.detach(&lease).await.map_err(unavailable)?;
            pods.leases().remove(id);
            info!(identity = lease.identity, attachment = %lease.attachment, "withdrawn");
            None
        } else {
            let keeps = |name: &&NameBuf| !gone.contains(*name);
            let serves: Arc<[NameBuf]> = lease.serves.iter().filter(keeps).cloned().collect();
            let lease = attach(dataplane, &Lease { serves, ..lease }).await?;
            pods.keep(lease);
            Some((id, gone))
        };
        // While leases are still locked: what was withdrawn must not be attached again by what was wanted before.
        self.gateway.changed(withdrawn).await;
        drop(slot);
        pods.change();
        Ok(Response::new(v1::WithdrawReply {}))
    }

    type ResolveStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::ResolveReply, Status>> + Send>>;

    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<Self::ResolveStream>, Status> {
        let id = LeaseId(request.get_ref().lease);
        let (address, _) = self.held(&request, id)?;
        let certified = self.gateway.certified(&request)?;
        let name = NameBuf::from_bytes(&request.get_ref().name)
            .map_err(|error| Status::invalid_argument(format!("name: {error}")))?;
        let place = self.resolves.take(id).ok_or_else(|| {
            Status::resource_exhausted(format!(
                "this lease has {MAX_RESOLVES} Resolve streams already; end one, or ask for names above these"
            ))
        })?;
        let (replies, stream) = mpsc::channel(1);
        let gateway = Arc::clone(&self.gateway);
        tokio::spawn(async move {
            let _place = place;
            let mut changed = gateway.pods().changed.subscribe();
            let mut last = None;
            let mut generation = 0;
            loop {
                if let Err(status) = gateway.still(certified.as_ref()) {
                    // It has no place any more, whether it hears of it or not.
                    let _ = replies.send(Err(status)).await;
                    return;
                }
                let lease = gateway.pods().leases().held(id, address).cloned();
                let Some(lease) = lease else {
                    // The pod is gone; whether it hears of it does not matter.
                    let _ = replies.send(Err(unknown_lease())).await;
                    return;
                };
                let asked = Instant::now();
                let found = gateway.instances(&lease, &name).await;
                if last.as_ref() != Some(&found) {
                    last = Some(found.clone());
                    generation += 1;
                    let stamp = |instance| v1::Instance {
                        generation,
                        ..instance
                    };
                    let reply = v1::ResolveReply {
                        generation,
                        instances: found.into_iter().map(stamp).collect(),
                    };
                    if replies.send(Ok(reply)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = replies.closed() => return,
                    news = changed.changed() => if news.is_err() { return },
                }
                // What changes at once is told once; a single change is told at once.
                tokio::select! {
                    () = replies.closed() => return,
                    () = tokio::time::sleep_until((asked + RESOLVE_AGAIN).into()) => {}
                }
                changed.mark_unchanged();
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn health(
        &self,
        request: Request<v1::HealthRequest>,
    ) -> Result<Response<v1::HealthReply>, Status> {
        let word = &request.get_ref().state;
        let health = Health::from_pod(word).ok_or_else(|| {
            Status::invalid_argument(format!(
                "state: {word:?} is not known; say \"serving\", \"draining\" or \"overloaded\""
            ))
        })?;
        let id = LeaseId(request.get_ref().lease);
        let (address, _) = self.held(&request, id)?;
        let pods = self.gateway.pods();
        let before = {
            let mut leases = pods.leases();
            let lease = leases.held(id, address).ok_or_else(unknown_lease)?;
            std::mem::replace(&mut lease.health, health)
        };
        if before != health {
            pods.change();
        }
        Ok(Response::new(v1::HealthReply {}))
    }

    async fn answered(
        &self,
        request: Request<v1::AnsweredRequest>,
    ) -> Result<Response<v1::AnsweredReply>, Status> {
        let id = LeaseId(request.get_ref().lease);
        let (_, lease) = self.held(&request, id)?;
        let told = &request.get_ref().calls;
        self.answers.admit(id, told, Instant::now())?;
        let slot = self.gateway.pods().dataplane.lock().await;
        // Transactions do not wait for this.
        let agent = slot.as_ref().map(|dataplane| dataplane.agent.clone());
        drop(slot);
        let calls = request.into_inner().calls;
        let mut agent = agent.ok_or_else(away)?;
        let added = agent.add_answers(lease.domain, calls).await;
        added.map_err(not_added)?;
        Ok(Response::new(v1::AnsweredReply {}))
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
