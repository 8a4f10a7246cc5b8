//! The pods of a gateway: their leases, and the dataplane's agent while it is there. Shared by all tasks of the process.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dmsc_proto::v1::{self, op::Op as Kind};
use dmsc_wire::AttachmentId;
use ipnet::IpNet;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tracing::{info, warn};

use crate::agent::{Agent, AgentError, Most};
use crate::lease::{LEASE, Lease, LeaseId, LeaseTable};

/// A greeted and reconciled dataplane.
#[derive(Debug)]
pub struct Dataplane {
    /// Its agent.
    pub agent: Agent,
    /// Its pod ports with their subnets.
    pub pod_ports: Vec<PodPort>,
}

/// A port at which pods may be.
#[derive(Debug, Clone)]
pub struct PodPort {
    /// Its name.
    pub name: String,
    /// The gateway's addresses on it, with the subnets.
    pub subnets: Vec<IpNet>,
    /// Tenant of the pods there.
    pub domain: u32,
    /// Largest IP packet.
    pub mtu: u32,
    /// What it is to the dataplane: `af_packet`, `vhost`, …
    pub kind: String,
}

/// After a detach that failed, until the next attempt.
const DETACH_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

impl PodPort {
    fn of(port: &v1::Port) -> Option<Self> {
        (port.role == "pod").then(|| Self {
            name: port.name.clone(),
            subnets: port
                .addresses
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            domain: port.domain,
            mtu: port.mtu,
            kind: port.kind.clone(),
        })
    }

    /// The gateway's address on this port, if `pod` is in its subnet.
    #[must_use]
    pub fn gateway_of(&self, pod: IpAddr) -> Option<IpAddr> {
        let subnet = self.subnets.iter().find(|subnet| subnet.contains(&pod))?;
        Some(subnet.addr())
    }
}

/// Leases and agent.
#[derive(Debug)]
pub struct Pods {
    leases: Mutex<LeaseTable>,
    /// Leases that were ended, and whose attachments are not gone yet.
    ended: Mutex<Vec<Lease>>,
    /// Kinds of the pod ports by name, as the last dataplane had them.
    kinds: Mutex<HashMap<String, String>>,
    /// `None` while the dataplane is away or not reconciled. Held over a transaction, so transactions come one by one.
    pub dataplane: AsyncMutex<Option<Dataplane>>,
    /// Told whenever answers of Resolve may have changed, and when leases end at another time.
    pub changed: watch::Sender<u64>,
}

impl Default for Pods {
    fn default() -> Self {
        Self {
            leases: Mutex::default(),
            ended: Mutex::default(),
            kinds: Mutex::default(),
            dataplane: AsyncMutex::new(None),
            changed: watch::Sender::new(0),
        }
    }
}

impl Pods {
    /// The leases; not to be held over an await.
    pub fn leases(&self) -> MutexGuard<'_, LeaseTable> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> MutexGuard<'_, Vec<Lease>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a pod port is to the dataplane: `af_packet`, `vhost`, …; empty if it has no such port.
    #[must_use]
    pub fn kind_of(&self, port: &str) -> String {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.get(port).cloned().unwrap_or_default()
    }

    /// Ends leases at once, whether the dataplane is there or not; their attachments go with `Pods::detach_ended`. Waits for nothing.
    pub fn end(&self, ids: &[LeaseId]) {
        let mut leases = self.leases();
        let gone: Vec<Lease> = ids.iter().filter_map(|id| leases.remove(*id)).collect();
        drop(leases);
        for lease in &gone {
            info!(identity = lease.identity, attachment = %lease.attachment, "lease ended before its time");
        }
        self.ended().extend(gone);
        self.change();
    }

    /// Keeps a lease that was attached anew, unless it was ended meanwhile: it is detached again then.
    pub(crate) fn keep(&self, lease: Lease) {
        if !self.leases().replace(lease.clone()) {
            self.ended().push(lease);
            self.change();
        }
    }

    /// Detaches what [`Pods::end`] left. Without a dataplane it waits for [`Pods::adopt`]; tells when to try again, if it failed.
    pub(crate) async fn detach_ended(&self) -> Option<Instant> {
        if self.ended().is_empty() {
            return None;
        }
        let mut slot = self.dataplane.lock().await;
        let dataplane = slot.as_mut()?;
        let ended = std::mem::take(&mut *self.ended());
        let ended = self.not_taken(ended);
        match dataplane.agent.detach_all(&ended).await {
            // What it refuses is not there any more.
            Err(error) if !error.is_refusal() => {
                warn!(%error, ended = ended.len(), "not all detached; tried again");
                self.ended().extend(ended);
                Some(Instant::now() + DETACH_AGAIN)
            }
            _ => None,
        }
    }

    /// Leases whose attachments no other lease has by now.
    fn not_taken(&self, mut ended: Vec<Lease>) -> Vec<Lease> {
        let leases = self.leases();
        let kept: HashSet<AttachmentId> = leases.iter().map(|one| one.attachment).collect();
        ended.retain(|lease| !kept.contains(&lease.attachment));
        ended
    }

    /// Wakes whoever depends on routes or leases.
    pub fn change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Takes a connected dataplane: applies what `plan` makes of its dump, and brings leases and attachments together. Attachments without a lease get
    /// a fresh one; leases without an attachment are attached again, under the same id if the dataplane lets us.
    ///
    /// # Errors
    /// When the agent is away or refuses; nothing is changed here then. `E` is what `plan` may fail with.
    pub async fn adopt<E: From<AgentError>>(
        &self,
        agent: Agent,
        plan: impl AsyncFnOnce(&v1::DumpReply) -> Result<Vec<v1::Op>, E>,
    ) -> Result<(u64, v1::DumpReply), E> {
        let apply = async |agent: &mut Agent, ops| {
            let applied = agent.apply(ops).await?;
            Ok(Most {
                generation: applied.generation,
                ..Most::default()
            })
        };
        let (generation, dump, _) = self.adopt_by(agent, plan, apply).await?;
        Ok((generation, dump))
    }

    /// As [`Pods::adopt`], but what the dataplane refuses of the plan is left out, and told.
    ///
    /// # Errors
    /// When the agent is away. `E` is what `plan` may fail with.
    pub(crate) async fn adopt_most<E: From<AgentError>>(
        &self,
        agent: Agent,
        plan: impl AsyncFnOnce(&v1::DumpReply) -> Result<Vec<v1::Op>, E>,
    ) -> Result<(u64, v1::DumpReply, Most), E> {
        let apply = async |agent: &mut Agent, ops: Vec<v1::Op>| agent.apply_most(&ops).await;
        self.adopt_by(agent, plan, apply).await
    }

    async fn adopt_by<E: From<AgentError>>(
        &self,
        mut agent: Agent,
        plan: impl AsyncFnOnce(&v1::DumpReply) -> Result<Vec<v1::Op>, E>,
        apply: impl AsyncFnOnce(&mut Agent, Vec<v1::Op>) -> Result<Most, AgentError>,
    ) -> Result<(u64, v1::DumpReply, Most), E> {
        let mut slot = self.dataplane.lock().await;
        *slot = None;
        let ports = agent.ports().await?;
        let dump = agent.dump(true).await?;
        let ops = plan(&dump).await?;
        let planned = ops.len();
        let most = apply(&mut agent, ops).await?;
        let mut generation = most.generation.unwrap_or(dump.generation);
        let pod_ports: Vec<PodPort> = ports.iter().filter_map(PodPort::of).collect();
        let kinds = pod_ports
            .iter()
            .map(|port| (port.name.clone(), port.kind.clone()));
        *self.kinds.lock().unwrap_or_else(PoisonError::into_inner) = kinds.collect();
        let again = self
            .reattach(&mut agent, &pod_ports, &dump.attachments)
            .await?;
        generation = again.unwrap_or(generation);
        // Pods reach their registrar through this dataplane: while it was away they could not refresh.
        self.leases().extend(Instant::now() + LEASE);
        let programmed = planned - most.refused.len();
        info!(programmed, generation, "dataplane reconciled");
        *slot = Some(Dataplane { agent, pod_ports });
        drop(slot);
        self.change();
        Ok((generation, dump, most))
    }

    async fn reattach(
        &self,
        agent: &mut Agent,
        pod_ports: &[PodPort],
        found: &[v1::Attachment],
    ) -> Result<Option<u64>, AgentError> {
        let now = Instant::now();
        let mut missing = Vec::new();
        {
            let mut leases = self.leases();
            // A pod that the dataplane could not reach before it went away would take calls again, and lose the first. It is not attached;
            // if it lives, its next refresh tells it that its lease is unknown, and it registers again.
            let unreachable: Vec<LeaseId> = leases
                .iter()
                .filter(|lease| !lease.reachable && !found.iter().any(|a| lease.is(a)))
                .map(|lease| lease.id)
                .collect();
            for id in unreachable {
                leases.remove(id);
            }
            // Nor one at a port that is gone: no attempt would bring it back.
            let nowhere: Vec<LeaseId> = leases
                .iter()
                .filter(|lease| {
                    !pod_ports
                        .iter()
                        .any(|port| port.name == lease.endpoint.port)
                })
                .map(|lease| lease.id)
                .collect();
            for lease in nowhere.into_iter().filter_map(|id| leases.remove(id)) {
                warn!(
                    identity = lease.identity,
                    port = lease.endpoint.port,
                    "the dataplane has no such pod port any more; the lease ends"
                );
            }
            for lease in leases.iter() {
                if !found.iter().any(|attachment| lease.is(attachment)) {
                    missing.push(lease.clone());
                }
            }
            let known: HashSet<AttachmentId> =
                leases.iter().map(|lease| lease.attachment).collect();
            let ended = self.ended();
            for attachment in found {
                if ended.iter().any(|lease| lease.is_at(attachment)) {
                    continue;
                }
                let id = LeaseId(rand::random());
                if let Some(lease) = Lease::from_attachment(id, attachment, now)
                    && !known.contains(&lease.attachment)
                    && leases.at(&lease.endpoint).is_none()
                {
                    info!(identity = lease.identity, attachment = %lease.attachment, "attachment found, lease starts anew");
                    leases.put(lease);
                }
            }
        }
        if missing.is_empty() {
            return Ok(None);
        }
        let attach = |leases: &[Lease], same_id: bool| -> Vec<v1::Op> {
            let op = |lease: &Lease| {
                let id = if same_id {
                    lease.attachment
                } else {
                    AttachmentId::ANY
                };
                // One that moved while nobody heard of it moves back: whoever is pinned to it goes on.
                let moves = |one: &v1::Attachment| {
                    one.id == u32::from(id.0) && one.identity == lease.identity && !lease.is_at(one)
                };
                Kind::Attach(v1::Attachment {
                    moves: found.iter().any(moves),
                    ..lease.attachment(id)
                })
            };
            leases
                .iter()
                .map(|lease| v1::Op {
                    op: Some(op(lease)),
                })
                .collect()
        };
        let mut generation = None;
        for same_id in [true, false] {
            let most = agent.apply_most(&attach(&missing, same_id)).await?;
            generation = most.generation.or(generation);
            let mut leases = self.leases();
            for (place, id) in &most.attachments {
                let lease = &missing[*place];
                // Under another id the pod must learn it: it is told that its lease is unknown, and registers again.
                if lease.attachment != *id {
                    leases.remove(lease.id);
                }
                info!(identity = lease.identity, attachment = %id, "attached again");
            }
            if let Some(error) = &most.why {
                warn!(%error, refused = most.refused.len(), same_id, "not attached again");
            }
            missing = most
                .refused
                .iter()
                .map(|place| missing[*place].clone())
                .collect();
            if missing.is_empty() {
                return Ok(generation);
            }
        }
        // One that is refused keeps nobody else away; if the pod lives, it registers again, and is told why not.
        let mut leases = self.leases();
        for lease in missing {
            warn!(identity = lease.identity, "the lease ends");
            leases.remove(lease.id);
        }
        Ok(generation)
    }

    /// Detaches pods whose lease ended. A dataplane that is away keeps them: they are found, with a fresh lease, when it is back.
    pub async fn expire(&self) {
        if self.due() {
            // Locked before the leases are judged: a pod that registers again right now holds this lock until its new lease is there,
            // and keeps its attachment by it.
            let mut slot = self.dataplane.lock().await;
            self.expire_with(&mut slot).await;
        }
    }

    /// As [`Pods::expire`]; while the dataplane is away no lease ends, and `false` is told.
    pub(crate) async fn expire_if_there(&self) -> bool {
        if self.due() {
            let mut slot = self.dataplane.lock().await;
            if slot.is_none() {
                return false;
            }
            self.expire_with(&mut slot).await;
        }
        true
    }

    /// Whether a lease has ended.
    fn due(&self) -> bool {
        let next = self.leases().next_expiry();
        next.is_some_and(|at| at <= Instant::now())
    }

    async fn expire_with(&self, slot: &mut Option<Dataplane>) {
        let expired = self.leases().expire(Instant::now());
        if expired.is_empty() {
            return;
        }
        for lease in &expired {
            info!(identity = lease.identity, attachment = %lease.attachment, "lease ended");
        }
        if let Some(dataplane) = slot.as_mut() {
            // Some registered again meanwhile, under the same id.
            let ended = self.not_taken(expired);
            if let Err(error) = dataplane.agent.detach_all(&ended).await {
                warn!(%error, ended = ended.len(), "not all detached; tried again");
                let at = Instant::now() + DETACH_AGAIN;
                let mut leases = self.leases();
                for lease in ended {
                    leases.put(Lease {
                        expires: at,
                        ..lease
                    });
                }
            }
        }
        self.change();
    }
}
