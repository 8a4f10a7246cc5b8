//! The instances of a name, as the pod's gateway knows them.

use dmsc_proto::v1;
use dmsc_wire::{AttachmentId, NodeId};

use crate::config::GatewayAddress;
use crate::error::PodError;
use crate::registrar::Registrar;

/// One instance of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its gateway.
    pub gateway: NodeId,
    /// Its attachment there; 0 = any.
    pub attachment: AttachmentId,
    /// Distance of its gateway from ours.
    pub metric: u32,
    /// Its share.
    pub weight: u32,
    /// "serving", "draining", "overloaded", "unknown" or "unreachable" (its gateway cannot reach it).
    pub health: String,
}

/// A stream of all instances, sent at once and again whenever they change.
#[derive(Debug)]
pub struct Resolution {
    gateway: GatewayAddress,
    stream: tonic::Streaming<v1::ResolveReply>,
}

impl Resolution {
    pub(crate) fn new(gateway: GatewayAddress, stream: tonic::Streaming<v1::ResolveReply>) -> Self {
        Self { gateway, stream }
    }

    /// The instances as they are now, after a change; `None` when the gateway ended the stream.
    ///
    /// # Errors
    /// Away, or the lease has ended: resolve again.
    pub async fn next(&mut self) -> Result<Option<Vec<Instance>>, PodError> {
        let failed = |status| Registrar::stream_error(&self.gateway, &status);
        let Some(reply) = self.stream.message().await.map_err(failed)? else {
            return Ok(None);
        };
        let instance = |one: v1::Instance| Instance {
            gateway: NodeId(one.gateway),
            attachment: AttachmentId(u16::try_from(one.attachment).unwrap_or(0)),
            metric: one.metric,
            weight: one.weight,
            health: one.health,
        };
        Ok(Some(reply.instances.into_iter().map(instance).collect()))
    }
}
