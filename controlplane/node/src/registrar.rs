//! The pods' Registrar: checks who registers what from where, keeps leases, resolves names.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use dmsc_proto::v1::{self, op::Op as Kind, registrar_server::Registrar};
use dmsc_proto::{POD_VERSIONS, v1::registrar_server::RegistrarServer};
use dmsc_wire::{AttachmentId, Domain, Name, NameBuf, NodeId, UDP_PORT};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::info;

use crate::agent::AgentError;
use crate::lease::{Endpoint, Health, LEASE, Lease, LeaseId, REFRESH};
use crate::pods::{Dataplane, PodPort};
use crate::resolve::{Caller, instances};
use crate::routes::{Identity, source_name};
use crate::state::State;

/// Most prefixes of one registration (limit of the pod API).
const MAX_PREFIXES: usize = 65_536;
/// Most leases of one gateway; attachment ids have 16 bits.
const MAX_LEASES: usize = 16_384;
/// A registration with all its prefixes fits.
const MAX_MESSAGE: usize = 32 << 20;
/// UDP and IP headers in front of a packet.
const OVERHEAD_V4: u32 = 28;
const OVERHEAD_V6: u32 = 48;

/// The service of one gateway.
#[derive(Debug, Clone)]
pub struct StaticRegistrar {
    state: Arc<State>,
}

impl StaticRegistrar {
    /// The service, ready for a tonic server.
    #[must_use]
    pub fn service(state: Arc<State>) -> RegistrarServer<Self> {
        RegistrarServer::new(Self { state }).max_decoding_message_size(MAX_MESSAGE)
    }

    fn prefixes(rule: &Identity, wanted: &[Vec<u8>]) -> (Vec<NameBuf>, Vec<v1::RefusedPrefix>) {
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for bytes in wanted {
            let reason = match Name::from_bytes(bytes) {
                Err(error) => format!("not a name in canonical encoding: {error}"),
                Ok(name) if name.is_reserved() => {
                    "names below /dmsc are reserved for routers".to_owned()
                }
                Ok(name) if !rule.may_serve(name) => format!(
                    "{name} is not under a prefix of identity {:?}; add it to its [[identity]] in the routes file",
                    rule.pattern
                ),
                Ok(name) => {
                    accepted.push(name.to_owned());
                    continue;
                }
            };
            refused.push(v1::RefusedPrefix {
                name: bytes.clone(),
                reason,
            });
        }
        accepted.sort_unstable();
        accepted.dedup();
        (accepted, refused)
    }

    /// Attaches `lease`. Whoever was attached at its endpoint before is not any more: an endpoint has one attachment.
    async fn attach(dataplane: &mut Dataplane, lease: &Lease) -> Result<Lease, Status> {
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
            Status::internal(
                "the dataplane gave no attachment id; this is a defect of the dataplane",
            )
        })?;
        Ok(Lease {
            attachment,
            ..lease.clone()
        })
    }
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

fn find_port(
    ports: &[PodPort],
    node: NodeId,
    address: IpAddr,
) -> Result<(&PodPort, IpAddr), Status> {
    let hit = |port| Some((port, PodPort::gateway_of(port, address)?));
    ports.iter().find_map(hit).ok_or_else(|| {
        let known: Vec<String> = ports
            .iter()
            .flat_map(|port| port.subnets.iter().map(move |net| format!("{} {net}", port.name)))
            .collect();
        Status::permission_denied(format!(
            "{address} is in no subnet of a pod port of gateway {node} ({}); register from the pod's own address",
            if known.is_empty() { "it has none".to_owned() } else { known.join(", ") }
        ))
    })
}

#[tonic::async_trait]
impl Registrar for StaticRegistrar {
    async fn challenge(
        &self,
        _: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeReply>, Status> {
        Err(Status::unimplemented(
            "this registrar is static and knows no certificates; register without credentials",
        ))
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterReply>, Status> {
        let address = caller(&request)?;
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
        let routes = self.state.routes();
        let identity = request.identity;
        let source_name = source_name(&identity).ok_or_else(|| {
            Status::invalid_argument(format!(
                "identity: {identity:?} does not make a name; write at most 15 non-empty pieces between slashes, for example \"pod1/a\""
            ))
        })?;
        if routes.rules(&identity).next().is_none() {
            return Err(Status::permission_denied(format!(
                "identity {identity:?} may not register at gateway {}; add an [[identity]] for it to the routes file",
                routes.node
            )));
        }

        let mut slot = self.state.pods.dataplane.lock().await;
        let dataplane = slot.as_mut().ok_or_else(away)?;
        let (port, gateway_address) = find_port(&dataplane.pod_ports, routes.node, address)?;
        let here = |rule: &&Identity| rule.allows_port(&port.name);
        let rule = routes.rules(&identity).find(here).ok_or_else(|| {
            let ports: Vec<&str> = routes
                .rules(&identity)
                .flat_map(|rule| rule.ports.iter().map(String::as_str))
                .collect();
            Status::permission_denied(format!(
                "identity {identity:?} may not appear on port {}, only on {}",
                port.name,
                ports.join(", ")
            ))
        })?;
        if request.domain != 0 && request.domain != port.domain {
            return Err(Status::permission_denied(format!(
                "domain: port {} belongs to domain {}, not {}",
                port.name, port.domain, request.domain
            )));
        }
        let (serves, refused) = Self::prefixes(rule, &request.prefixes);
        let endpoint = Endpoint {
            port: port.name.clone(),
            address,
            udp_port,
        };
        let old = self.state.pods.leases().at(&endpoint).cloned();
        if old.is_none() && self.state.pods.leases().len() >= MAX_LEASES {
            return Err(Status::resource_exhausted(format!(
                "this gateway has {MAX_LEASES} pods already"
            )));
        }
        let same = old.filter(|lease| lease.identity == identity);
        let wanted = Lease {
            id: same
                .as_ref()
                .map_or_else(|| LeaseId(rand::random()), |lease| lease.id),
            identity,
            endpoint,
            domain: Domain(port.domain),
            serves: serves.into(),
            source_name,
            attachment: same
                .as_ref()
                .map_or(AttachmentId::ANY, |lease| lease.attachment),
            health: same.as_ref().map_or(Health::Serving, |lease| lease.health),
            reachable: true,
            answers: true,
            expires: Instant::now() + LEASE,
        };
        let (mtu, port_domain) = (port.mtu, port.domain);
        let lease = Self::attach(dataplane, &wanted).await?;
        info!(
            identity = lease.identity,
            attachment = %lease.attachment,
            %address,
            udp_port,
            prefixes = lease.serves.len(),
            refused = refused.len(),
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
            gateway: routes.node.0,
            attachment: u32::from(lease.attachment.0),
            domain: port_domain,
            source_name: lease.source_name.as_bytes().to_vec(),
            data_address: gateway_address.to_string(),
            data_port: u32::from(UDP_PORT),
            max_packet: mtu.saturating_sub(overhead),
            refused,
            waiting: Vec::new(),
        };
        self.state.pods.leases().put(lease);
        drop(slot);
        self.state.pods.change();
        Ok(Response::new(reply))
    }

    async fn refresh(
        &self,
        request: Request<v1::RefreshRequest>,
    ) -> Result<Response<v1::RefreshReply>, Status> {
        let address = caller(&request)?;
        let id = LeaseId(request.get_ref().lease);
        let mut leases = self.state.pods.leases();
        let lease = leases.held(id, address).ok_or_else(unknown_lease)?;
        lease.expires = Instant::now() + LEASE;
        Ok(Response::new(v1::RefreshReply {
            lease_seconds: seconds(LEASE),
        }))
    }

    async fn withdraw(
        &self,
        request: Request<v1::WithdrawRequest>,
    ) -> Result<Response<v1::WithdrawReply>, Status> {
        let address = caller(&request)?;
        let request = request.into_inner();
        let id = LeaseId(request.lease);
        let mut slot = self.state.pods.dataplane.lock().await;
        let dataplane = slot.as_mut().ok_or_else(away)?;
        let lease = self
            .state
            .pods
            .leases()
            .held(id, address)
            .cloned()
            .ok_or_else(unknown_lease)?;
        if request.prefixes.is_empty() {
            dataplane.agent.detach(&lease).await.map_err(unavailable)?;
            self.state.pods.leases().remove(id);
            info!(identity = lease.identity, attachment = %lease.attachment, "withdrawn");
        } else {
            let keeps =
                |name: &&NameBuf| !request.prefixes.iter().any(|gone| gone == name.as_bytes());
            let serves: Arc<[NameBuf]> = lease.serves.iter().filter(keeps).cloned().collect();
            let lease = Self::attach(dataplane, &Lease { serves, ..lease }).await?;
            self.state.pods.leases().put(lease);
        }
        drop(slot);
        self.state.pods.change();
        Ok(Response::new(v1::WithdrawReply {}))
    }

    type ResolveStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::ResolveReply, Status>> + Send>>;

    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<Self::ResolveStream>, Status> {
        let address = caller(&request)?;
        let request = request.into_inner();
        let id = LeaseId(request.lease);
        let name = NameBuf::from_bytes(&request.name)
            .map_err(|error| Status::invalid_argument(format!("name: {error}")))?;
        if self.state.pods.leases().held(id, address).is_none() {
            return Err(unknown_lease());
        }
        let (replies, stream) = mpsc::channel(1);
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            let mut changed = state.pods.changed.subscribe();
            let mut last = None;
            let mut generation = 0;
            loop {
                let found = {
                    let routes = state.routes();
                    let mut leases = state.pods.leases();
                    leases.held(id, address).cloned().map(|lease| {
                        let caller = Caller {
                            domain: lease.domain,
                            name: lease.source_name.as_name(),
                        };
                        instances(&routes, &leases, routes.node, caller, name.as_name())
                    })
                };
                let Some(found) = found else {
                    // The pod is gone; whether it hears of it does not matter.
                    let _ = replies.send(Err(unknown_lease())).await;
                    return;
                };
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
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn health(
        &self,
        request: Request<v1::HealthRequest>,
    ) -> Result<Response<v1::HealthReply>, Status> {
        let address = caller(&request)?;
        let request = request.into_inner();
        let health = Health::from_pod(&request.state).ok_or_else(|| {
            Status::invalid_argument(format!(
                "state: {:?} is not known; say \"serving\", \"draining\" or \"overloaded\"",
                request.state
            ))
        })?;
        self.state
            .pods
            .leases()
            .held(LeaseId(request.lease), address)
            .ok_or_else(unknown_lease)?
            .health = health;
        self.state.pods.change();
        Ok(Response::new(v1::HealthReply {}))
    }
}

fn seconds(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
