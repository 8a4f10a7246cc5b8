//! A gateway whose routes file says who may register; nobody proves anything.

use std::collections::HashSet;
use std::sync::Arc;

use dmsc_proto::v1;
use dmsc_wire::{NameBuf, NodeId};
use tonic::{Request, Status};

use super::{Admitted, Asking, Certified, Gateway};
use crate::claims::{Proof, Proofs, TakenBack};
use crate::lease::{Lease, LeaseId};
use crate::pods::Pods;
use crate::resolve::{Caller, instances};
use crate::routes::Identity;
use crate::state::State;

/// The gateway of `static`.
#[derive(Debug)]
pub struct StaticGateway {
    state: Arc<State>,
}

impl StaticGateway {
    /// Over the state of the process.
    #[must_use]
    pub fn new(state: Arc<State>) -> Self {
        Self { state }
    }
}

#[tonic::async_trait]
impl Gateway for StaticGateway {
    fn node(&self) -> NodeId {
        self.state.routes().node
    }

    fn pods(&self) -> &Arc<Pods> {
        &self.state.pods
    }

    fn certified<T>(&self, _: &Request<T>) -> Result<Option<Certified>, Status> {
        Ok(None)
    }

    fn still(&self, _: Option<&Certified>) -> Result<(), Status> {
        Ok(())
    }

    async fn challenge(
        &self,
        _: Option<Certified>,
        _: String,
    ) -> Result<v1::ChallengeReply, Status> {
        Err(Status::unimplemented(
            "this registrar is static and knows no certificates; register without credentials",
        ))
    }

    async fn known(
        &self,
        _: Option<Certified>,
        request: &v1::RegisterRequest,
    ) -> Result<Option<Proof>, Status> {
        let routes = self.state.routes();
        let identity = &request.identity;
        if routes.rules(identity).next().is_none() {
            return Err(Status::permission_denied(format!(
                "identity {identity:?} may not register at gateway {}; add an [[identity]] for it to the routes file",
                routes.node
            )));
        }
        Ok(None)
    }

    /// Nobody proves an identity here, so nobody is believed to be where he does not call from.
    async fn allows(&self, _: &str, _: &str) -> Result<Option<bool>, Status> {
        Ok(None)
    }

    async fn admit(&self, asking: &Asking) -> Result<Admitted, Status> {
        let routes = self.state.routes();
        let (identity, port) = (&asking.identity, &asking.port.name);
        let here = |rule: &&Identity| rule.allows_port(port);
        let rule = routes.rules(identity).find(here).ok_or_else(|| {
            let ports: Vec<&str> = routes
                .rules(identity)
                .flat_map(|rule| rule.ports.iter().map(String::as_str))
                .collect();
            Status::permission_denied(format!(
                "identity {identity:?} may not appear on port {port}, only on {}",
                ports.join(", ")
            ))
        })?;
        let mut admitted = Admitted::default();
        for name in &asking.names {
            if rule.may_serve(name.as_name()) {
                admitted.serves.push(name.clone());
            } else {
                let reason = format!(
                    "{name} is not under a prefix of identity {:?}; add it to its [[identity]] in the routes file",
                    rule.pattern
                );
                admitted.refused.push((name.clone(), reason));
            }
        }
        Ok(admitted)
    }

    async fn registered(&self, _: &Lease, _: Asking, _: &mut Admitted) {}

    async fn proofs(&self, _: LeaseId) -> Proofs {
        Proofs::default()
    }

    async fn taken_back(&self, _: u64) -> TakenBack {
        TakenBack::default()
    }

    async fn changed(&self, _: Option<(LeaseId, HashSet<NameBuf>)>) {}

    async fn instances(&self, lease: &Lease, name: &NameBuf) -> Vec<v1::Instance> {
        let routes = self.state.routes();
        let leases = self.state.pods.leases();
        let caller = Caller {
            domain: lease.domain,
            name: lease.source_name.as_name(),
            serves: &lease.serves,
        };
        instances(&routes.tables, &leases, routes.node, caller, name.as_name())
    }
}
