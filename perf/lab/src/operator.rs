//! Asks the operator's API of one control plane or authority; blocking, as [`crate::agent`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use dmsc_proto::v1;
use dmsc_proto::v1::operator_client::OperatorClient;
use dmsc_proto::{Page, all_pages};
use tonic::transport::Channel;

use crate::rpc::PATIENCE;

/// A connection to one daemon.
#[derive(Debug)]
pub struct Operator {
    runtime: tokio::runtime::Runtime,
    client: OperatorClient<Channel>,
}

/// A prefix at a gateway, as one router knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announced {
    /// The name as text.
    pub name: String,
    /// Who announces it.
    pub gateway: u32,
    /// "valid", "stale" or "waiting".
    pub state: String,
}

/// An object of the link-state database without its age: kind, origin, id, sequence.
pub type Header = (u32, u32, u64, u64);

impl Operator {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers on `socket`.
    pub fn connect(socket: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = runtime
            .block_on(async { dmsc_proto::connect_unix(socket).await })
            .map(|channel| OperatorClient::new(channel).max_decoding_message_size(64 << 20))
            .map_err(|_| anyhow::anyhow!("no control plane answers on {}", socket.display()))?;
        Ok(Self { runtime, client })
    }

    fn ask<T, F>(
        &mut self,
        what: &str,
        call: impl FnOnce(OperatorClient<Channel>) -> F,
    ) -> anyhow::Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        crate::rpc::ask(
            &self.runtime,
            "the control plane",
            what,
            call(self.client.clone()),
        )
    }

    /// All pages of a list.
    fn list<R: Page, F>(
        &mut self,
        what: &str,
        page: impl Fn(OperatorClient<Channel>, Vec<u8>) -> F,
    ) -> anyhow::Result<R>
    where
        F: Future<Output = Result<tonic::Response<R>, tonic::Status>>,
    {
        let all = all_pages(0, |_, after| {
            let page = page(self.client.clone(), after);
            async move {
                let late = |_| tonic::Status::deadline_exceeded("no page in time");
                tokio::time::timeout(PATIENCE, page).await.map_err(late)?
            }
        });
        let all = self.runtime.block_on(all);
        all.with_context(|| format!("the control plane refused {what}"))
    }

    /// Who it is and how it is.
    ///
    /// # Errors
    /// When it does not answer, as all calls below.
    pub fn about(&mut self) -> anyhow::Result<v1::AboutReply> {
        self.ask("About", |mut c| async move {
            c.about(v1::AboutRequest {}).await
        })
    }

    /// Its routes by gateway, topology of metrics.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn routes(&mut self) -> anyhow::Result<BTreeMap<u32, v1::RouteInfo>> {
        let reply: v1::RoutesReply = self.list("ShowRoutes", |mut c, after| async move {
            c.show_routes(v1::PageRequest { limit: 0, after }).await
        })?;
        let metric = reply.routes.into_iter().filter(|r| r.topology == 0);
        Ok(metric.map(|r| (r.gateway, r)).collect())
    }

    /// Every prefix that it knows, at every gateway.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn prefixes(&mut self) -> anyhow::Result<BTreeSet<Announced>> {
        let reply: v1::PrefixesReply = self.list("ShowPrefixes", |mut c, after| async move {
            let request = v1::PrefixesRequest {
                after,
                ..v1::PrefixesRequest::default()
            };
            c.show_prefixes(request).await
        })?;
        let mut all = BTreeSet::new();
        for prefix in reply.prefixes {
            let name = text(&prefix.name);
            for member in prefix.members {
                all.insert(Announced {
                    name: name.clone(),
                    gateway: member.gateway,
                    state: member.state,
                });
            }
        }
        Ok(all)
    }

    /// How many prefixes it knows.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn prefix_count(&mut self) -> anyhow::Result<u64> {
        let request = v1::PrefixesRequest {
            limit: 1,
            ..v1::PrefixesRequest::default()
        };
        let reply = self.ask("ShowPrefixes", |mut c| async move {
            c.show_prefixes(request).await
        })?;
        Ok(reply.total)
    }

    /// Headers of all accepted objects; authorisations, which are renewed all the time, only of `suspect`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn objects(&mut self, suspect: u32) -> anyhow::Result<BTreeSet<Header>> {
        const AUTHORISATION: u32 = 3;
        Ok(self
            .lsdb(false)?
            .entries
            .into_iter()
            .filter(|e| e.state != "waiting" && (e.kind != AUTHORISATION || e.origin == suspect))
            .map(|e| (e.kind, e.origin, e.id, e.sequence))
            .collect())
    }

    fn lsdb(&mut self, bodies: bool) -> anyhow::Result<v1::LsdbReply> {
        self.list("ShowLsdb", |mut c, after| async move {
            let request = v1::LsdbRequest {
                bodies,
                limit: 0,
                after,
            };
            c.show_lsdb(request).await
        })
    }

    /// Its links, and what its sessions did.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn links(&mut self) -> anyhow::Result<Vec<v1::LinkInfo>> {
        let reply = self.ask("ShowLinks", |mut c| async move {
            c.show_links(v1::ShowRequest {}).await
        })?;
        Ok(reply.links)
    }

    /// Everything about it, for a file that somebody reads after a failure.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn everything(&mut self) -> anyhow::Result<String> {
        let about = self.about()?;
        let lsdb = self.lsdb(true)?;
        let (links, routes, prefixes) = (self.links()?, self.routes()?, self.prefixes()?);
        let (pods, authorisations) = (self.pods(), self.authorisations());
        Ok(format!(
            "{about:#?}\n{links:#?}\n{lsdb:#?}\n{routes:#?}\n{prefixes:#?}\n{pods:#?}\n{authorisations:#?}\n"
        ))
    }

    /// Its pods.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn pods(&mut self) -> anyhow::Result<Vec<v1::PodInfo>> {
        let reply: v1::PodsReply = self.list("ShowPods", |mut c, after| async move {
            c.show_pods(v1::PageRequest { limit: 0, after }).await
        })?;
        Ok(reply.pods)
    }

    /// What authorities signed.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn authorisations(&mut self) -> anyhow::Result<v1::AuthorisationsReply> {
        self.list("ShowAuthorisations", |mut c, after| async move {
            let request = v1::PageRequest { limit: 0, after };
            c.show_authorisations(request).await
        })
    }

    /// How long changes took, by stage.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn convergence(&mut self) -> anyhow::Result<BTreeMap<String, v1::StageTime>> {
        let reply = self.ask("ShowConvergence", |mut c| async move {
            c.show_convergence(v1::ShowRequest {}).await
        })?;
        let stages = reply.stages.into_iter();
        Ok(stages.map(|s| (s.stage.clone(), s)).collect())
    }

    /// Applies a configuration.
    ///
    /// # Errors
    /// When it refuses.
    pub fn apply_config(&mut self, text: String) -> anyhow::Result<v1::ConfigReply> {
        self.ask("ApplyConfig", |mut c| async move {
            c.apply_config(v1::ConfigRequest { text }).await
        })
    }

    /// Takes the node out of service; returns what it said last.
    ///
    /// # Errors
    /// When it refuses, or is not drained within `limit`.
    pub fn drain(&mut self, limit: Duration) -> anyhow::Result<v1::DrainProgress> {
        let mut client = self.client.clone();
        let request = v1::DrainRequest {
            timeout_ms: limit.as_millis() as u32,
            stop: false,
        };
        self.runtime.block_on(async {
            let drained = async {
                let mut stages = client.drain(request).await?.into_inner();
                while let Some(stage) = stages.message().await? {
                    if stage.done {
                        return anyhow::Ok(stage);
                    }
                }
                bail!("the control plane ended the drain without saying that it is done")
            };
            tokio::time::timeout(limit + Duration::from_secs(5), drained)
                .await
                .context("the drain did not end")?
        })
    }

    /// Takes the node back into service.
    ///
    /// # Errors
    /// When it refuses.
    pub fn undrain(&mut self) -> anyhow::Result<()> {
        self.ask("Undrain", |mut c| async move {
            c.undrain(v1::UndrainRequest {}).await
        })?;
        Ok(())
    }

    /// Ends authorisations (of an authority).
    ///
    /// # Errors
    /// When it refuses.
    pub fn revoke(
        &mut self,
        name: &str,
        gateway: u32,
        identity: &str,
        reason: &str,
    ) -> anyhow::Result<u64> {
        let request = v1::RevokeRequest {
            domain: 1,
            name: dmsc_wire::NameBuf::parse(name)?.as_bytes().to_vec(),
            gateway,
            identity: identity.into(),
            reason: reason.into(),
        };
        let reply = self.ask("Revoke", |mut c| async move { c.revoke(request).await })?;
        Ok(reply.serial)
    }
}

/// A name in its canonical encoding as text; hex if it is none.
fn text(bytes: &[u8]) -> String {
    dmsc_wire::Name::from_bytes(bytes).map_or_else(
        |_| bytes.iter().map(|b| format!("{b:02x}")).collect(),
        |name| name.to_string(),
    )
}

/// Why a router has not converged yet, if it has not.
///
/// # Errors
/// Says what is missing.
pub fn converged(about: &v1::AboutReply, neighbours: usize) -> anyhow::Result<()> {
    if about.state == "starting" || about.state == "restarting" {
        bail!("{} is {}", about.name, about.state);
    }
    if (about.sessions as usize) < neighbours || about.synced < about.sessions {
        bail!(
            "{}: {} of {neighbours} sessions, {} of them synced",
            about.name,
            about.sessions,
            about.synced
        );
    }
    if about.programmed_version != about.routes_version {
        bail!(
            "{}: routes {} are computed, {} are in the dataplane",
            about.name,
            about.routes_version,
            about.programmed_version
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_has_converged_when_nothing_is_missing() {
        let about = v1::AboutReply {
            name: "sr1".into(),
            state: "running".into(),
            sessions: 3,
            synced: 3,
            routes_version: 7,
            programmed_version: 7,
            ..v1::AboutReply::default()
        };
        assert!(converged(&about, 3).is_ok());
        let why = |about: v1::AboutReply| converged(&about, 3).unwrap_err().to_string();
        assert_eq!(
            why(v1::AboutReply {
                state: "restarting".into(),
                ..about.clone()
            }),
            "sr1 is restarting"
        );
        assert_eq!(
            why(v1::AboutReply {
                synced: 2,
                ..about.clone()
            }),
            "sr1: 3 of 3 sessions, 2 of them synced"
        );
        assert!(
            why(v1::AboutReply {
                programmed_version: 6,
                ..about
            })
            .contains("routes 7 are computed, 6")
        );
    }

    #[test]
    fn names_are_shown_as_text() {
        let name = dmsc_wire::NameBuf::parse("/lab/a%20b").unwrap();
        assert_eq!(text(name.as_bytes()), "/lab/a%20b");
        assert_eq!(text(&[9, 1]), "0901");
    }
}
