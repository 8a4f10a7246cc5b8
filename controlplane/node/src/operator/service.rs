//! The operator's API of `sg` and `sr`: each call passes the gate, then asks the node.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dmsc_daemon::{Caller, Role};
use dmsc_linkstate::action::Topology;
use dmsc_linkstate::engine::pages::EntryKey;
use dmsc_proto::v1::operator_server::Operator;
use dmsc_proto::v1::*;
use dmsc_spa::verify::Certificate;
use dmsc_wire::{Domain, NameBuf, NodeId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convergence::Convergence;
use super::gate::Gate;
use super::page::{PodKey, StatementKey, page};
use super::policies::{self, PolicyKey};
use super::{lsdb, names, network, scheduling};
use crate::config::{Config, Mistakes};
use crate::drain::DrainStage;
use crate::handle::{ApplyError, Handle};
use crate::node::Node;
use crate::node::statements::{GiveError, voids};
use crate::tls::revoked;

type Answer<T> = Result<Response<T>, Status>;

/// How long a drain may take if the caller does not say.
const DRAIN: Duration = Duration::from_secs(30);
/// Stages on their way to the caller.
const STAGES: usize = 8;

/// The service.
#[derive(Clone)]
pub struct NodeOperator {
    pub(super) handle: Handle,
    pub(super) gate: Arc<Gate>,
    pub(super) convergence: Arc<Convergence>,
}

fn ending() -> Status {
    Status::unavailable("this control plane is ending")
}

impl From<ApplyError> for Status {
    fn from(error: ApplyError) -> Self {
        let sentence = error.to_string();
        match error {
            ApplyError::NeedsRestart(_) => Self::failed_precondition(sentence),
            ApplyError::Dataplane(error) if error.is_refusal() => Self::invalid_argument(sentence),
            ApplyError::Dataplane(_) | ApplyError::Ending => Self::unavailable(sentence),
        }
    }
}

impl From<GiveError> for Status {
    fn from(error: GiveError) -> Self {
        let sentence = error.to_string();
        match error {
            GiveError::NotBelieved(_) | GiveError::Over { .. } => Self::invalid_argument(sentence),
            GiveError::NoRoom => Self::resource_exhausted(sentence),
        }
    }
}

/// The caller's file has no name here: mistakes are told by line only.
fn lines(mistakes: &Mistakes) -> Status {
    let lines = mistakes.0.iter().map(|mistake| {
        match mistake.strip_prefix("line:") {
            // Of the file as a whole.
            Some(rest) if rest.starts_with(' ') => rest.trim_start().to_owned(),
            Some(rest) => format!("line {rest}"),
            None => mistake.clone(),
        }
    });
    Status::invalid_argument(lines.collect::<Vec<_>>().join("\n"))
}

impl NodeOperator {
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Node) -> T + Send + 'static,
    ) -> Result<T, Status> {
        self.handle.query(question).await.ok_or_else(ending)
    }

    async fn look<R, T: Send + 'static>(
        &self,
        request: &Request<R>,
        question: impl FnOnce(&Node) -> T + Send + 'static,
    ) -> Answer<T> {
        self.gate.view(request)?;
        self.ask(|node| question(node)).await.map(Response::new)
    }

    /// Another configuration of this node, and what it would change.
    async fn judge(&self, text: String) -> Result<(Config, ConfigReply), Status> {
        let role = self.ask(|node| node.config.role).await?;
        // A long text takes a while: not on a thread that forwards what neighbours say.
        let parse = move || Config::parse(&text, Path::new("line"), role);
        let parsed = tokio::task::spawn_blocking(parse).await;
        let mut new = parsed
            .map_err(|_| ending())?
            .map_err(|mistakes| lines(&mistakes))?;
        self.ask(move |node| {
            let old = &node.config;
            new.file.clone_from(&old.file);
            let diff = old.diff(&new);
            let reply = ConfigReply {
                changed: !diff.is_empty(),
                diff,
                generation: node.generation,
            };
            (new, reply)
        })
        .await
    }

    async fn generation(&self) -> u64 {
        self.handle.query(|node| node.generation).await.unwrap_or(0)
    }

    async fn apply(&self, new: Config, reply: &ConfigReply) -> Result<ConfigReply, Status> {
        let diff = self.handle.apply_config(new).await?;
        Ok(ConfigReply {
            changed: reply.changed,
            diff,
            generation: self.generation().await,
        })
    }
}

#[tonic::async_trait]
impl Operator for NodeOperator {
    async fn about(&self, request: Request<AboutRequest>) -> Answer<AboutReply> {
        let mut reply = self.look(&request, network::about).await?;
        reply.get_mut().your_role = self.gate.caller(&request).role_name();
        Ok(reply)
    }

    async fn show_nodes(&self, request: Request<ShowRequest>) -> Answer<NodesReply> {
        self.look(&request, network::nodes).await
    }

    async fn show_links(&self, request: Request<ShowRequest>) -> Answer<LinksReply> {
        self.look(&request, network::links).await
    }

    async fn show_lsdb(&self, request: Request<LsdbRequest>) -> Answer<LsdbReply> {
        self.gate.view(&request)?;
        let LsdbRequest {
            bodies,
            limit,
            after,
        } = request.into_inner();
        let chunk = async |after: Option<EntryKey>, most: usize| {
            let taken = self.ask(move |node| lsdb::take(node, after, most)).await?;
            let told = taken.into_iter().map(|(key, one)| (key, one.told(bodies)));
            Ok(told.collect())
        };
        let (entries, next) = page(limit, &after, chunk).await?;
        let total = self.ask(|node| node.engine.entry_count()).await? as u64;
        Ok(Response::new(LsdbReply {
            entries,
            next,
            total,
        }))
    }

    async fn show_routes(&self, request: Request<PageRequest>) -> Answer<RoutesReply> {
        self.gate.view(&request)?;
        let PageRequest { limit, after } = request.into_inner();
        let chunk = |after: Option<(Topology, NodeId)>, most| {
            self.ask(move |node| network::routes(node, after, most))
        };
        let (routes, next) = page(limit, &after, chunk).await?;
        let version = self.ask(|node| node.engine.version()).await?;
        Ok(Response::new(RoutesReply {
            routes,
            version,
            next,
        }))
    }

    async fn show_prefixes(&self, request: Request<PrefixesRequest>) -> Answer<PrefixesReply> {
        self.gate.view(&request)?;
        let PrefixesRequest {
            limit,
            under,
            after,
        } = request.into_inner();
        let under = names::subtree(&under).map_err(Status::invalid_argument)?;
        let chunk = |after: Option<(Domain, NameBuf)>, most| {
            let under = under.clone();
            self.ask(move |node| names::prefixes(node, under.as_ref(), after.as_ref(), most))
        };
        let (prefixes, next) = page(limit, &after, chunk).await?;
        let total = self.ask(|node| node.engine.prefix_count()).await? as u64;
        Ok(Response::new(PrefixesReply {
            prefixes,
            total,
            next,
        }))
    }

    async fn show_pods(&self, request: Request<PageRequest>) -> Answer<PodsReply> {
        self.gate.view(&request)?;
        let PageRequest { limit, after } = request.into_inner();
        let chunk = |after: Option<PodKey>, most| {
            self.ask(move |node| names::pods(node, after.as_ref(), most))
        };
        let (pods, next) = page(limit, &after, chunk).await?;
        Ok(Response::new(PodsReply { pods, next }))
    }

    async fn show_authorisations(
        &self,
        request: Request<PageRequest>,
    ) -> Answer<AuthorisationsReply> {
        self.gate.view(&request)?;
        let PageRequest { limit, after } = request.into_inner();
        let chunk = |after: Option<StatementKey>, most| {
            self.ask(move |node| names::statements(node, after, most))
        };
        let (lists, next) = page(limit, &after, chunk).await?;
        Ok(Response::new(names::joined(lists, next)))
    }

    async fn give_statement(
        &self,
        request: Request<GiveStatementRequest>,
    ) -> Answer<GiveStatementReply> {
        let caller = self.gate.caller(&request);
        let mut what = "a root revocation".to_owned();
        let mut given = self.gate.permit(&caller, Role::Admin).map(|()| None);
        if given.is_ok() {
            let body = request.into_inner().root_revocation.into();
            let taken = self.ask(|node| node.give_root_revocation(body)).await;
            given = taken.and_then(|taken| Ok(Some(taken?)));
        }
        if let Ok(Some(given)) = &given {
            what = voids(&given.statement);
        }
        let generation = self.generation().await;
        self.gate
            .record(&caller, "GiveStatement", what.clone(), &given, generation);
        let known = given?.is_some_and(|given| given.known);
        Ok(Response::new(GiveStatementReply { what, known }))
    }

    async fn show_convergence(&self, request: Request<ShowRequest>) -> Answer<ConvergenceReply> {
        self.gate.view(&request)?;
        let times = self.ask(|node| node.engine.take_stage_times()).await?;
        self.convergence.add(times);
        Ok(Response::new(self.convergence.report()))
    }

    async fn show_audit(&self, request: Request<AuditRequest>) -> Answer<AuditReply> {
        self.gate.view(&request)?;
        Ok(Response::new(self.gate.audited(request.get_ref())))
    }

    async fn check_config(&self, request: Request<ConfigRequest>) -> Answer<ConfigReply> {
        self.gate.view(&request)?;
        let (_, reply) = self.judge(request.into_inner().text).await?;
        Ok(Response::new(reply))
    }

    async fn diff_config(&self, request: Request<ConfigRequest>) -> Answer<ConfigReply> {
        self.check_config(request).await
    }

    async fn apply_config(&self, request: Request<ConfigRequest>) -> Answer<ConfigReply> {
        let caller = self.gate.caller(&request);
        let mut what = "a configuration".to_owned();
        let mut outcome = self.gate.permit(&caller, Role::Operate);
        let mut applied = None;
        if outcome.is_ok() {
            outcome = match self.judge(request.into_inner().text).await {
                Ok((new, reply)) => {
                    what = reply.diff.join("\n");
                    let reply = self.apply(new, &reply).await;
                    reply.map(|reply| applied = Some(reply))
                }
                Err(status) => Err(status),
            };
        }
        let generation = self.generation().await;
        self.gate
            .record(&caller, "ApplyConfig", what, &outcome, generation);
        outcome?;
        applied.map(Response::new).ok_or_else(ending)
    }

    async fn dump_config(&self, request: Request<DumpConfigRequest>) -> Answer<DumpConfigReply> {
        // Keys of adjacencies are for those who may read the file.
        let secrets = self.gate.caller(&request).role == Some(Role::Admin);
        self.look(&request, move |node| DumpConfigReply {
            text: node.config.dump(secrets),
        })
        .await
    }

    type DrainStream = ReceiverStream<Result<DrainProgress, Status>>;

    async fn drain(&self, request: Request<DrainRequest>) -> Answer<Self::DrainStream> {
        let caller = self.gate.caller(&request);
        let certificate = self.gate.certificate(&request);
        let timeout = match request.get_ref().timeout_ms {
            0 => DRAIN,
            ms => Duration::from_millis(u64::from(ms)),
        };
        if let Err(status) = self.gate.permit(&caller, Role::Operate) {
            let (outcome, generation) = (Err::<(), _>(status.clone()), self.generation().await);
            self.gate
                .record(&caller, "Drain", String::new(), &outcome, generation);
            return Err(status);
        }
        let times = self.ask(|node| node.engine.take_stage_times()).await?;
        self.convergence.add(times);
        let settle = self.convergence.settle();
        let stages = match request.get_ref().stop {
            false => self.handle.drain(timeout, settle),
            true => self.handle.drain_and_stop(timeout, settle),
        };
        let (sender, receiver) = mpsc::channel(STAGES);
        let this = self.clone();
        tokio::spawn(async move {
            this.follow((caller, certificate), stages, sender).await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn undrain(&self, request: Request<UndrainRequest>) -> Answer<UndrainReply> {
        let caller = self.gate.caller(&request);
        let outcome = self.gate.permit(&caller, Role::Operate);
        if outcome.is_ok() {
            self.handle.undrain().await;
        }
        let generation = self.generation().await;
        self.gate
            .record(&caller, "Undrain", String::new(), &outcome, generation);
        outcome.map(|()| Response::new(UndrainReply {}))
    }

    async fn show_policies(&self, request: Request<PageRequest>) -> Answer<PoliciesReply> {
        self.gate.view(&request)?;
        let PageRequest { limit, after } = request.into_inner();
        let chunk = |after: Option<PolicyKey>, most| {
            self.ask(move |node| policies::held(node, after.as_ref(), most))
        };
        let (policies, next) = page(limit, &after, chunk).await?;
        let total = self.ask(|node| policies::count(node)).await? as u64;
        Ok(Response::new(PoliciesReply {
            policies,
            total,
            next,
        }))
    }

    async fn explain_policy(
        &self,
        request: Request<ExplainPolicyRequest>,
    ) -> Answer<ExplainPolicyReply> {
        self.gate.view(&request)?;
        let (domain, name) = {
            let request = request.get_ref();
            (Domain(request.domain.max(1)), names::asked(&request.name)?)
        };
        let explained = self.ask(move |node| policies::explain(node, domain, name.as_name()));
        explained.await.map(Response::new)
    }

    async fn show_quality(&self, _: Request<QualityRequest>) -> Answer<QualityReply> {
        scheduling::no_center()
    }
    async fn set_policy(&self, request: Request<SetPolicyRequest>) -> Answer<SetPolicyReply> {
        scheduling::refuse(&self.gate, &request, "SetPolicy")
    }
    async fn unset_policy(&self, request: Request<UnsetPolicyRequest>) -> Answer<UnsetPolicyReply> {
        scheduling::refuse(&self.gate, &request, "UnsetPolicy")
    }
    async fn show_decisions(&self, _: Request<DecisionsRequest>) -> Answer<DecisionsReply> {
        scheduling::no_center()
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Answer<RevokeReply> {
        let caller = self.gate.caller(&request);
        let outcome = self
            .gate
            .permit(&caller, Role::Operate)
            .and(Err::<(), _>(Status::failed_precondition(
                "a gateway or router revokes nothing: ask the prefix authority (spa) that gave the right",
            )));
        let generation = self.generation().await;
        self.gate
            .record(&caller, "Revoke", String::new(), &outcome, generation);
        outcome.and(Err(ending()))
    }
}

impl NodeOperator {
    /// Returns when the certificate is taken back; never for a caller without one.
    async fn dismissed(&self, certificate: Option<Certificate>) {
        let revoked = self.handle.query(|node| node.signals.revoked.subscribe());
        if let (Some(certificate), Some(mut revoked)) = (certificate, revoked.await) {
            while !self.gate.has_revoked(&certificate) {
                if revoked.changed().await.is_err() {
                    break;
                }
            }
            if self.gate.has_revoked(&certificate) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Tells the caller each stage, and writes down how it ended, whether the caller waits for it or not.
    async fn follow(
        &self,
        (caller, certificate): (Caller, Option<Certificate>),
        mut stages: mpsc::Receiver<DrainStage>,
        sender: mpsc::Sender<Result<DrainProgress, Status>>,
    ) {
        let mut last = None;
        let mut sender = Some(sender);
        let mut dismissed = std::pin::pin!(self.dismissed(certificate));
        loop {
            let next = tokio::select! {
                next = stages.recv() => next,
                () = &mut dismissed, if sender.is_some() => {
                    // What was ordered while it counted goes on.
                    if let Some(sender) = sender.take() {
                        let _ = sender.send(Err(revoked())).await;
                    }
                    continue;
                }
            };
            let Some(DrainStage { stage, what, done }) = next else {
                break;
            };
            let progress = DrainProgress {
                stage: stage.to_owned(),
                what,
                done,
            };
            // The caller may have gone; the drain goes on.
            if let Some(sender) = &sender {
                let _ = sender.send(Ok(progress.clone())).await;
            }
            last = Some(progress);
            // With stop the process ends when `stages` is dropped, after the record.
            if done {
                break;
            }
        }
        let (what, outcome) = match last {
            Some(last) if last.done && last.stage == "drained" => (last.what, Ok(())),
            Some(last) => (last.stage, Err(Status::deadline_exceeded(last.what))),
            None => (String::new(), Err(ending())),
        };
        let generation = self.generation().await;
        self.gate
            .record(&caller, "Drain", what, &outcome, generation);
    }
}
