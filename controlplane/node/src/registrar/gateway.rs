//! What differs between gateways, and what passes between them and the service.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use dmsc_proto::v1;
use dmsc_wire::{NameBuf, NodeId};
use tonic::{Request, Status};

use crate::claims::{Proof, Proofs, TakenBack};
use crate::config::DEFAULT_CLASS;
use crate::lease::{Lease, LeaseId};
use crate::pods::{PodPort, Pods};

/// What differs between gateways: who may register, and what then.
#[tonic::async_trait]
pub trait Gateway: Send + Sync + 'static {
    /// This gateway.
    fn node(&self) -> NodeId;

    /// Leases and the agent.
    fn pods(&self) -> &Arc<Pods>;

    /// Who calls, by certificate; `None` where there are none.
    ///
    /// # Errors
    /// A certificate that is not a pod's.
    fn certified<T>(&self, request: &Request<T>) -> Result<Option<Certified>, Status>;

    /// Whether the certificate of a call that is under way still counts.
    ///
    /// # Errors
    /// It was taken back meanwhile.
    fn still(&self, certified: Option<&Certified>) -> Result<(), Status>;

    /// Gives a nonce to a pod that is about to register.
    ///
    /// # Errors
    /// UNIMPLEMENTED where nobody proves anything.
    async fn challenge(
        &self,
        certified: Option<Certified>,
        identity: String,
    ) -> Result<v1::ChallengeReply, Status>;

    /// Whether this identity may register here at all.
    ///
    /// # Errors
    /// Why not, in words for the pod's owner.
    async fn known(
        &self,
        certified: Option<Certified>,
        request: &v1::RegisterRequest,
    ) -> Result<Option<Proof>, Status>;

    /// Whether the configuration lets `identity` be attached on a pod port by naming it; `None` if it says nothing of that port.
    ///
    /// # Errors
    /// The process ends.
    async fn allows(&self, port: &str, identity: &str) -> Result<Option<bool>, Status>;

    /// Which of the wanted prefixes the pod may serve.
    ///
    /// # Errors
    /// When it may not be where it is.
    async fn admit(&self, asking: &Asking) -> Result<Admitted, Status>;

    /// The highest class of packets that an identity may use.
    ///
    /// # Errors
    /// UNAVAILABLE while the control plane ends.
    async fn class_limit(&self, _identity: &str) -> Result<u8, Status> {
        Ok(DEFAULT_CLASS)
    }

    /// The pod is attached, and has a lease; names that cannot even wait become refused ones. Called before anybody else can change leases.
    async fn registered(&self, lease: &Lease, asking: Asking, admitted: &mut Admitted);

    /// What the pod of a lease can prove its names with; none where nobody proves anything.
    async fn proofs(&self, lease: LeaseId) -> Proofs;

    /// What authorities and the root took back, for a pod that has the lists of version `known`; none where nobody proves anything.
    async fn taken_back(&self, known: u64) -> TakenBack;

    /// Leases or what they serve changed.
    async fn changed(&self, withdrawn: Option<(LeaseId, HashSet<NameBuf>)>);

    /// Instances of `name` that the pod may use.
    async fn instances(&self, lease: &Lease, name: &NameBuf) -> Vec<v1::Instance>;
}

/// A pod by its certificate.
#[derive(Debug, Clone)]
pub struct Certified {
    /// Its identity.
    pub identity: String,
    /// Its key.
    pub public_key: [u8; 32],
    /// X.509 DER.
    pub certificate: Bytes,
}

/// A registration in the making.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Who.
    pub identity: String,
    /// From which port.
    pub port: PodPort,
    /// What; canonical, not reserved, ascending.
    pub names: Vec<NameBuf>,
    /// That it is who it says.
    pub proof: Option<Proof>,
    /// Wall clock, ms since 1970, when it asked.
    pub at_ms: u64,
}

/// What became of the wanted prefixes.
#[derive(Debug, Clone, Default)]
pub struct Admitted {
    /// Served from now on.
    pub serves: Vec<NameBuf>,
    /// Not the pod's, in words.
    pub refused: Vec<(NameBuf, String)>,
    /// Served later, with the reason for now.
    pub waiting: Vec<(NameBuf, String)>,
}
