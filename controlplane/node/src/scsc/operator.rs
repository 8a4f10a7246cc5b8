//! The operator's API of a scheduling center: quality, policies in force, policies by hand, decisions. It has no link state.

use std::sync::Arc;
use std::time::Duration;

use dmsc_daemon::Role;
use dmsc_linkstate::action::Topology;
use dmsc_proto::v1::operator_server::Operator;
use dmsc_proto::v1::*;
use dmsc_scsc::{Health, Pair, Share};
use dmsc_wire::{Domain, NodeId};
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use super::state::hand::{ByHand, HandError};
use super::state::look::{Ends, Measured};
use super::state::{Center, InForce};
use super::timeline::KEPT;
use crate::operator::gate::Gate;
use crate::operator::page::{Cursor, page};
use crate::operator::policies::{PolicyKey, info};
use crate::operator::{names, scheduling};

type Answer<T> = Result<Response<T>, Status>;

/// Decisions that are told when no number is asked for.
const DECISIONS: u32 = 100;

/// The service.
pub struct CenterOperator {
    /// Whom it is about.
    pub center: Arc<Center>,
    /// Roles, and what is written down.
    pub gate: Gate,
}

fn no_link_state<T>() -> Answer<T> {
    Err(Status::failed_precondition(
        "this is a scheduling center (scsc): it has no link state, no pods and nothing to drain; ask a gateway (sg) or router (sr)",
    ))
}

fn no_file<T>() -> Answer<T> {
    Err(Status::failed_precondition(
        "a scheduling center reads its file again at SIGHUP (systemctl reload dmsc-scsc); `dmsc-controlplane scsc --check --config FILE` checks one",
    ))
}

impl Cursor for Pair {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.gateway.0.to_be_bytes().to_vec();
        bytes.extend(self.member.0.to_be_bytes());
        bytes.push(u8::from(self.topology == Topology::Delay));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (gateway, rest) = bytes.split_first_chunk()?;
        let (member, rest) = rest.split_first_chunk()?;
        Some(Self {
            gateway: NodeId(u32::from_be_bytes(*gateway)),
            member: NodeId(u32::from_be_bytes(*member)),
            topology: topology(u32::from(*rest.first()?)).filter(|_| rest.len() == 1)?,
        })
    }
}

fn topology(number: u32) -> Option<Topology> {
    match number {
        0 => Some(Topology::Metric),
        1 => Some(Topology::Delay),
        _ => None,
    }
}

/// The word of the API.
pub(super) fn word(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Draining => "draining",
        Health::Overloaded => "overloaded",
    }
}

pub(super) fn ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn pair_quality(one: Measured) -> PairQuality {
    PairQuality {
        from: one.pair.gateway.0,
        to: one.pair.member.0,
        topology: u32::from(one.pair.topology == Topology::Delay),
        samples: one.samples,
        delay_p50_us: one.delay_p50_us.unwrap_or(0),
        delay_p99_us: one.delay_p99_us.unwrap_or(0),
        jitter_p99_us: one.jitter_p99_us.unwrap_or(0),
        loss_ppm: one.loss_ppm,
        available_kbps: one.available_kbps,
        narrowest_node: one.narrowest.node.0,
        narrowest_port: one.narrowest.port.0.into(),
        load_permille: one.load_permille,
        health: word(one.health).to_owned(),
        age_ms: ms(one.age),
    }
}

fn in_force(one: &InForce, left: Duration) -> PolicyInfo {
    let outcomes = one.acks.iter().map(|(node, outcome)| PolicyOutcome {
        node: node.0,
        generation: *outcome.as_ref().unwrap_or(&0),
        refused: outcome.as_ref().err().cloned().unwrap_or_default(),
    });
    PolicyInfo {
        outcomes: outcomes.collect(),
        ..info(&one.policy, left)
    }
}

impl From<HandError> for Status {
    fn from(error: HandError) -> Self {
        let sentence = error.to_string();
        match error {
            HandError::NothingSet(_) => Self::not_found(sentence),
            _ => Self::invalid_argument(sentence),
        }
    }
}

fn wanted(request: &SetPolicyRequest) -> Result<ByHand, Status> {
    let share = |share: &PolicyShare| {
        let wrong = |what: &str| Status::invalid_argument(format!("share: {what}"));
        Ok(Share {
            gateway: NodeId(share.gateway),
            weight: u16::try_from(share.weight)
                .map_err(|_| wrong(&format!("weight {} is above 65535", share.weight)))?,
            topology: topology(share.topology).ok_or_else(|| wrong("topology is 0 or 1"))?,
        })
    };
    Ok(ByHand {
        domain: Domain(request.domain.max(1)),
        prefix: names::asked(&request.name)?,
        gateway: NodeId(request.gateway),
        shares: request
            .shares
            .iter()
            .map(share)
            .collect::<Result<_, Status>>()?,
        ttl: Duration::from_millis(request.ttl_ms.into()),
        why: request.reason.clone(),
    })
}

/// What was asked for, in words, also when it is refused.
fn described(request: &SetPolicyRequest) -> String {
    let name = names::asked(&request.name);
    let name = name.map_or_else(|_| "no name".to_owned(), |name| name.to_string());
    let shares = request.shares.iter().take(64);
    let shares = shares.map(|share| format!("{}={}", share.gateway, share.weight));
    format!(
        "domain {}, {name} at gateway {}: {} for {} ms, because: {}",
        request.domain.max(1),
        request.gateway,
        shares.collect::<Vec<_>>().join(" "),
        request.ttl_ms,
        request.reason
    )
}

#[tonic::async_trait]
impl Operator for CenterOperator {
    async fn about(&self, request: Request<AboutRequest>) -> Answer<AboutReply> {
        self.gate.view(&request)?;
        let center = &self.center;
        let uptime = center.uptime().as_millis();
        Ok(Response::new(AboutReply {
            daemon: "scsc".into(),
            name: center.name().to_owned(),
            software: crate::SOFTWARE.into(),
            uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
            state: "running".into(),
            your_role: self.gate.caller(&request).role_name(),
            sessions: u32::try_from(center.counts().streams).unwrap_or(u32::MAX),
            area: center.area(),
            ..AboutReply::default()
        }))
    }

    async fn show_quality(&self, request: Request<QualityRequest>) -> Answer<QualityReply> {
        self.gate.view(&request)?;
        let QualityRequest {
            from,
            to,
            limit,
            after,
        } = request.into_inner();
        let given = |node: u32| (node != 0).then_some(NodeId(node));
        let ends = Ends {
            from: given(from),
            to: given(to),
        };
        let chunk = async |after: Option<Pair>, most: usize| {
            let found = self.center.quality(ends, after.as_ref(), most).into_iter();
            Ok(found.map(|(pair, one)| (pair, pair_quality(one))).collect())
        };
        let (pairs, next) = page(limit, &after, chunk).await?;
        Ok(Response::new(QualityReply {
            pairs,
            total: self.center.quality_count(ends) as u64,
            next,
        }))
    }

    async fn show_policies(&self, request: Request<PageRequest>) -> Answer<PoliciesReply> {
        self.gate.view(&request)?;
        let PageRequest { limit, after } = request.into_inner();
        let chunk = async |after: Option<PolicyKey>, most: usize| {
            let after =
                after.map(|PolicyKey(domain, prefix, gateway, _)| (domain, prefix, gateway));
            let found = self.center.policies_after(after.as_ref(), most);
            let told = found.iter().map(|(one, left)| {
                let key = PolicyKey::of(&one.policy);
                (key, in_force(one, *left))
            });
            Ok(told.collect())
        };
        let (policies, next) = page(limit, &after, chunk).await?;
        Ok(Response::new(PoliciesReply {
            policies,
            total: self.center.counts().policies as u64,
            next,
        }))
    }

    async fn set_policy(&self, request: Request<SetPolicyRequest>) -> Answer<SetPolicyReply> {
        let caller = self.gate.caller(&request);
        let what = described(request.get_ref());
        let set = self.gate.permit(&caller, Role::Operate).and_then(|()| {
            let wanted = wanted(request.get_ref())?;
            Ok(self.center.set_by_hand(&caller.who, wanted)?)
        });
        self.gate.record(&caller, "SetPolicy", what, &set, 0);
        let (one, connected) = set?;
        Ok(Response::new(SetPolicyReply {
            policy: Some(in_force(&one, self.center.time_left(&one))),
            connected,
        }))
    }

    async fn unset_policy(&self, request: Request<UnsetPolicyRequest>) -> Answer<UnsetPolicyReply> {
        let caller = self.gate.caller(&request);
        let request = request.into_inner();
        let name = names::asked(&request.name);
        let mut what = format!("domain {}", request.domain.max(1));
        if let Ok(name) = &name {
            what.push_str(&format!(", {name}"));
        }
        if request.gateway != 0 {
            what.push_str(&format!(" at gateway {}", request.gateway));
        }
        let permitted = self.gate.permit(&caller, Role::Operate);
        let unset = permitted.and(name).and_then(|name| {
            let scope = (Domain(request.domain.max(1)), name);
            let gateway = (request.gateway != 0).then_some(NodeId(request.gateway));
            Ok(self.center.unset_by_hand(&caller.who, scope, gateway)?)
        });
        self.gate.record(&caller, "UnsetPolicy", what, &unset, 0);
        let gateways = unset?.iter().map(|node| node.0).collect();
        Ok(Response::new(UnsetPolicyReply { gateways }))
    }

    async fn show_decisions(&self, request: Request<DecisionsRequest>) -> Answer<DecisionsReply> {
        self.gate.view(&request)?;
        let limit = match request.get_ref().limit {
            0 => DECISIONS as usize,
            limit => (limit as usize).min(KEPT),
        };
        let latest = self.center.timeline.latest(limit).into_iter();
        let decisions = latest.map(|one| DecisionInfo {
            at_ms: one.at_ms,
            text: one.text,
        });
        Ok(Response::new(DecisionsReply {
            decisions: decisions.collect(),
        }))
    }

    async fn show_audit(&self, request: Request<AuditRequest>) -> Answer<AuditReply> {
        self.gate.view(&request)?;
        Ok(Response::new(self.gate.audited(request.get_ref())))
    }

    async fn explain_policy(&self, _: Request<ExplainPolicyRequest>) -> Answer<ExplainPolicyReply> {
        no_link_state()
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
    async fn show_authorisations(&self, _: Request<PageRequest>) -> Answer<AuthorisationsReply> {
        no_link_state()
    }
    async fn show_convergence(&self, _: Request<ShowRequest>) -> Answer<ConvergenceReply> {
        no_link_state()
    }
    async fn check_config(&self, _: Request<ConfigRequest>) -> Answer<ConfigReply> {
        no_file()
    }
    async fn diff_config(&self, _: Request<ConfigRequest>) -> Answer<ConfigReply> {
        no_file()
    }
    async fn apply_config(&self, _: Request<ConfigRequest>) -> Answer<ConfigReply> {
        no_file()
    }
    async fn dump_config(&self, _: Request<DumpConfigRequest>) -> Answer<DumpConfigReply> {
        no_file()
    }

    type DrainStream = Empty<Result<DrainProgress, Status>>;
    async fn drain(&self, _: Request<DrainRequest>) -> Answer<Self::DrainStream> {
        no_link_state()
    }
    async fn undrain(&self, _: Request<UndrainRequest>) -> Answer<UndrainReply> {
        no_link_state()
    }
    async fn revoke(&self, _: Request<RevokeRequest>) -> Answer<RevokeReply> {
        scheduling::no_authority()
    }
    async fn give_statement(
        &self,
        request: Request<GiveStatementRequest>,
    ) -> Answer<GiveStatementReply> {
        let caller = self.gate.caller(&request);
        let mut what = "a root revocation".to_owned();
        let given = self.gate.permit(&caller, Role::Admin).and_then(|()| {
            let body = request.into_inner().root_revocation;
            Ok(self.center.give_root_revocation(&body)?)
        });
        if let Ok((voided, _)) = &given {
            what.clone_from(voided);
        }
        self.gate.record(&caller, "GiveStatement", what, &given, 0);
        given.map(|(what, known)| Response::new(GiveStatementReply { what, known }))
    }
}
