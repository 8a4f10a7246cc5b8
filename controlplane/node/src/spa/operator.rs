//! The operator's API of an authority: revoke, policy, audit. It has no link state.

use std::sync::Arc;
use std::time::Duration;

use dmsc_daemon::Role;
use dmsc_proto::v1::operator_server::Operator;
use dmsc_proto::v1::*;
use dmsc_wire::{Domain, NameBuf, NodeId};
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use super::state::{ReloadError, RevokeError, Spa};
use crate::clock::wall;
use crate::operator::page::{StatementKey, page};
use crate::operator::{names, scheduling};

type Answer<T> = Result<Response<T>, Status>;

/// The service.
pub struct SpaOperator(pub Arc<Spa>);

fn no_link_state<T>() -> Answer<T> {
    Err(Status::failed_precondition(
        "this is a prefix authority (spa): it has no link state, no pods and nothing to drain; ask a gateway (sg) or router (sr)",
    ))
}

impl From<ReloadError> for Status {
    fn from(error: ReloadError) -> Self {
        let sentence = error.to_string();
        match error {
            ReloadError::Config(_) | ReloadError::Policy(_) | ReloadError::OtherDaemon => {
                Self::invalid_argument(sentence)
            }
            ReloadError::NeedsRestart(_) => Self::failed_precondition(sentence),
        }
    }
}

impl SpaOperator {
    fn check(&self, request: Request<ConfigRequest>) -> Answer<ConfigReply> {
        self.0.gate.view(&request)?;
        let candidate = self.0.judge(&request.get_ref().text)?;
        Ok(reply(candidate.diff))
    }
}

fn reply(diff: Vec<String>) -> Response<ConfigReply> {
    Response::new(ConfigReply {
        changed: !diff.is_empty(),
        diff,
        generation: 0,
    })
}

fn described(request: &RevokeRequest, name: Option<&NameBuf>) -> String {
    let mut what = format!("domain {}", request.domain.max(1));
    match name {
        Some(name) => what.push_str(&format!(", names at and below {name}")),
        None => what.push_str(", all names"),
    }
    if request.gateway != 0 {
        what.push_str(&format!(", gateway {}", request.gateway));
    }
    if !request.identity.is_empty() {
        what.push_str(&format!(", identity {}", request.identity));
    }
    what.push_str(&format!(", because: {}", request.reason));
    what
}

#[tonic::async_trait]
impl Operator for SpaOperator {
    async fn about(&self, request: Request<AboutRequest>) -> Answer<AboutReply> {
        self.0.gate.view(&request)?;
        let spa = &self.0;
        Ok(Response::new(AboutReply {
            daemon: "spa".into(),
            name: spa.config.name.clone(),
            software: crate::SOFTWARE.into(),
            uptime_ms: u64::try_from(spa.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            state: "running".into(),
            your_role: spa.gate.caller(&request).role_name(),
            ..AboutReply::default()
        }))
    }

    async fn show_nodes(&self, _: Request<ShowRequest>) -> Answer<NodesReply> {
        no_link_state()
    }
    async fn show_links(&self, _: Request<ShowRequest>) -> Answer<LinksReply> {
        no_link_state()
    }
    async fn show_lsdb(&self, _: Request<LsdbRequest>) -> Answer<LsdbReply> {
        no_link_state()
    }
    async fn show_routes(&self, _: Request<PageRequest>) -> Answer<RoutesReply> {
        no_link_state()
    }
    async fn show_prefixes(&self, _: Request<PrefixesRequest>) -> Answer<PrefixesReply> {
        no_link_state()
    }
    async fn show_pods(&self, _: Request<PageRequest>) -> Answer<PodsReply> {
        no_link_state()
    }
    async fn give_statement(
        &self,
        request: Request<GiveStatementRequest>,
    ) -> Answer<GiveStatementReply> {
        let caller = self.0.gate.caller(&request);
        let mut what = "a root revocation".to_owned();
        let given = self.0.gate.permit(&caller, Role::Admin).and_then(|()| {
            let body = request.into_inner().root_revocation;
            Ok(self.0.give_root_revocation(&body)?)
        });
        if let Ok((voided, _)) = &given {
            what.clone_from(voided);
        }
        self.0
            .gate
            .record(&caller, "GiveStatement", what, &given, 0);
        given.map(|(what, known)| Response::new(GiveStatementReply { what, known }))
    }

    async fn show_convergence(&self, _: Request<ShowRequest>) -> Answer<ConvergenceReply> {
        no_link_state()
    }

    /// Authorisations are with the gateways; revocations are kept here.
    async fn show_authorisations(
        &self,
        request: Request<PageRequest>,
    ) -> Answer<AuthorisationsReply> {
        self.0.gate.view(&request)?;
        let PageRequest { limit, after } = request.into_inner();
        let now_s = wall().as_secs();
        let mut known: Vec<(StatementKey, RevocationInfo)> = self
            .0
            .in_force()
            .iter()
            .map(|one| {
                let key = StatementKey::Revocation(one.serial);
                (key, names::revocation(one, now_s))
            })
            .collect();
        known.extend(self.0.root_revocations().iter().map(|(id, one)| {
            let key = StatementKey::RootRevocation(*id);
            (key, names::root_revocation(one, now_s))
        }));
        known.sort_by_key(|(key, _)| *key);
        let chunk = async |after: Option<StatementKey>, most: usize| {
            let rest = known
                .iter()
                .filter(|(key, _)| after.is_none_or(|after| *key > after));
            let told = rest.map(|(key, one)| (*key, names::taken_back(one.clone())));
            Ok(told.take(most).collect())
        };
        let (lists, next) = page(limit, &after, chunk).await?;
        Ok(Response::new(names::joined(lists, next)))
    }

    async fn show_audit(&self, request: Request<AuditRequest>) -> Answer<AuditReply> {
        self.0.gate.view(&request)?;
        Ok(Response::new(self.0.gate.audited(request.get_ref())))
    }

    async fn check_config(&self, request: Request<ConfigRequest>) -> Answer<ConfigReply> {
        self.check(request)
    }

    async fn diff_config(&self, request: Request<ConfigRequest>) -> Answer<ConfigReply> {
        self.check(request)
    }

    async fn apply_config(&self, request: Request<ConfigRequest>) -> Answer<ConfigReply> {
        let spa = &self.0;
        let caller = spa.gate.caller(&request);
        let applied = spa.gate.permit(&caller, Role::Operate).and_then(|()| {
            let candidate = spa.judge(&request.get_ref().text)?;
            Ok(spa.apply(candidate)?)
        });
        let what = applied
            .as_ref()
            .map_or_else(|_| "policy".to_owned(), |diff| diff.join("\n"));
        spa.gate.record(&caller, "ApplyConfig", what, &applied, 0);
        applied.map(reply)
    }

    async fn dump_config(&self, request: Request<DumpConfigRequest>) -> Answer<DumpConfigReply> {
        self.0.gate.view(&request)?;
        Ok(Response::new(DumpConfigReply {
            text: self.0.policy_text(),
        }))
    }

    type DrainStream = Empty<Result<DrainProgress, Status>>;
    async fn drain(&self, _: Request<DrainRequest>) -> Answer<Self::DrainStream> {
        no_link_state()
    }
    async fn undrain(&self, _: Request<UndrainRequest>) -> Answer<UndrainReply> {
        no_link_state()
    }

    async fn show_policies(&self, _: Request<PageRequest>) -> Answer<PoliciesReply> {
        scheduling::no_center()
    }
    async fn explain_policy(&self, _: Request<ExplainPolicyRequest>) -> Answer<ExplainPolicyReply> {
        no_link_state()
    }
    async fn show_quality(&self, _: Request<QualityRequest>) -> Answer<QualityReply> {
        scheduling::no_center()
    }
    async fn set_policy(&self, request: Request<SetPolicyRequest>) -> Answer<SetPolicyReply> {
        scheduling::refuse(&self.0.gate, &request, "SetPolicy")
    }
    async fn unset_policy(&self, request: Request<UnsetPolicyRequest>) -> Answer<UnsetPolicyReply> {
        scheduling::refuse(&self.0.gate, &request, "UnsetPolicy")
    }
    async fn show_decisions(&self, _: Request<DecisionsRequest>) -> Answer<DecisionsReply> {
        scheduling::no_center()
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Answer<RevokeReply> {
        let caller = self.0.gate.caller(&request);
        let request = request.into_inner();
        let name = match request.name.is_empty() {
            true => Ok(None),
            false => NameBuf::from_bytes(&request.name)
                .map(Some)
                .map_err(|error| Status::invalid_argument(format!("name: {error}"))),
        };
        let what = described(&request, name.as_ref().ok().and_then(Option::as_ref));
        let revoked = self
            .0
            .gate
            .permit(&caller, Role::Operate)
            .and(name)
            .and_then(|name| {
                let domain = Domain(request.domain.max(1));
                let gateway = (request.gateway != 0).then_some(NodeId(request.gateway));
                let identity = (!request.identity.is_empty()).then_some(request.identity);
                self.0
                    .revoke(domain, name, gateway, identity, &request.reason)
                    .map_err(|error| match error {
                        RevokeError::Refused(_) => Status::invalid_argument(error.to_string()),
                        RevokeError::NotKept(_) => Status::internal(error.to_string()),
                    })
            });
        self.0.gate.record(&caller, "Revoke", what, &revoked, 0);
        revoked.map(|serial| Response::new(RevokeReply { serial }))
    }
}

/// Revocations that are over are removed from the disk this often.
pub(super) const TIDY: Duration = Duration::from_secs(3_600);
