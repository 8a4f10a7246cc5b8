//! Asks the agent of one dataplane; blocking, because a scenario does one thing after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use dmsc_proto::v1;
use dmsc_proto::v1::dataplane_agent_client::DataplaneAgentClient;
use tonic::transport::Channel;

/// A connection to one agent.
#[derive(Debug)]
pub struct Agent {
    runtime: tokio::runtime::Runtime,
    client: DataplaneAgentClient<Channel>,
}

/// What a router counted, by name, summed over its ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Packets that ended, by reason.
    pub drops: BTreeMap<String, u64>,
    /// What else happened.
    pub events: BTreeMap<String, u64>,
}

/// What packets are forwarded by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables {
    /// By topology and gateway.
    pub gateways: Vec<v1::Gateway>,
    /// By id.
    pub groups: Vec<v1::Group>,
    /// By domain and name.
    pub prefixes: Vec<v1::Prefix>,
}

impl Tables {
    /// What is different, for people.
    #[must_use]
    pub fn difference(&self, other: &Self) -> String {
        fn part<T: PartialEq + std::fmt::Debug>(what: &str, before: &[T], after: &[T]) -> String {
            let gone = before.iter().find(|b| !after.contains(b));
            let new = after.iter().find(|a| !before.contains(a));
            match (gone, new) {
                (None, None) => String::new(),
                _ => format!(
                    "{what} {} -> {}, e.g. {gone:?} -> {new:?}; ",
                    before.len(),
                    after.len()
                ),
            }
        }
        part("gateways", &self.gateways, &other.gateways)
            + &part("groups", &self.groups, &other.groups)
            + &part("prefixes", &self.prefixes, &other.prefixes)
    }
}

impl Agent {
    /// Connects and greets.
    ///
    /// # Errors
    /// When nobody answers on `socket`, or speaks another version.
    pub fn connect(socket: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = runtime.block_on(async {
            let channel = dmsc_proto::connect_unix(socket).await?;
            let mut client =
                DataplaneAgentClient::new(channel).max_decoding_message_size(256 << 20);
            let (version_min, version_max) = dmsc_proto::AGENT_VERSIONS;
            let mut request = tonic::Request::new(v1::GreetRequest {
                version_min,
                version_max,
                client: "dmsc-lab".into(),
            });
            request.set_timeout(Duration::from_secs(5));
            client
                .greet(request)
                .await
                .with_context(|| format!("the agent on {} does not greet", socket.display()))?;
            anyhow::Ok(client)
        })?;
        Ok(Self { runtime, client })
    }

    fn ask<T, F>(
        &mut self,
        what: &str,
        call: impl FnOnce(DataplaneAgentClient<Channel>) -> F,
    ) -> anyhow::Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        crate::rpc::ask(&self.runtime, "the agent", what, call(self.client.clone()))
    }

    /// Everything that is programmed but the prefixes.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn dump(&mut self) -> anyhow::Result<v1::DumpReply> {
        self.ask("Dump", |mut c| async move {
            c.dump(v1::DumpRequest { prefixes: false }).await
        })
    }

    /// What packets are forwarded by: gateways, groups and prefixes, in one order.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn tables(&mut self) -> anyhow::Result<Tables> {
        let dump = self.ask("Dump", |mut c| async move {
            c.dump(v1::DumpRequest { prefixes: true }).await
        })?;
        let mut tables = Tables {
            gateways: dump.gateways,
            groups: dump.groups,
            prefixes: dump.prefixes,
        };
        tables.gateways.sort_by_key(|g| (g.topology, g.gateway));
        for gateway in &mut tables.gateways {
            gateway.next_hops.sort_unstable();
        }
        tables.groups.sort_by_key(|g| g.id);
        for group in &mut tables.groups {
            group.members.sort_by_key(|m| m.gateway);
        }
        tables
            .prefixes
            .sort_by(|a, b| (a.domain, &a.name).cmp(&(b.domain, &b.name)));
        Ok(tables)
    }

    /// Applies operations.
    ///
    /// # Errors
    /// When the agent does not answer, or refuses one of them.
    pub fn apply(&mut self, ops: Vec<v1::op::Op>) -> anyhow::Result<v1::TransactionAck> {
        let transaction = v1::Transaction {
            programmer: "dmsc-lab".into(),
            ops: ops.into_iter().map(|op| v1::Op { op: Some(op) }).collect(),
        };
        self.ask("Apply", |mut c| async move { c.apply(transaction).await })
    }

    /// An echo to `name` from the router's own name, with the routers on the way.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn trace(&mut self, name: &dmsc_wire::NameBuf) -> anyhow::Result<v1::EchoReply> {
        let request = v1::EchoRequest {
            domain: 1,
            name: name.as_bytes().to_vec(),
            count: 1,
            record_slots: 20,
            ..v1::EchoRequest::default()
        };
        let mut client = self.client.clone();
        self.runtime.block_on(async {
            let answer = async {
                let mut replies = client.echo(request).await?.into_inner();
                let reply = replies.message().await?;
                reply.context("the agent ended the echo without an answer")
            };
            tokio::time::timeout(Duration::from_secs(5), answer)
                .await
                .context("the agent did not answer Echo within 5 s")?
        })
    }

    /// Version of its tables.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn generation(&mut self) -> anyhow::Result<u64> {
        Ok(self.dump()?.generation)
    }

    /// Drops and events of all ports.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn sums(&mut self) -> anyhow::Result<Sums> {
        let reply = self.ask("ListCounters", |mut c| async move {
            c.list_counters(v1::ListCountersRequest {
                port: String::new(),
            })
            .await
        })?;
        let mut sums = Sums::default();
        for port in reply.ports {
            for (name, value) in port.drops {
                *sums.drops.entry(name).or_default() += value;
            }
            for (name, value) in port.events {
                *sums.events.entry(name).or_default() += value;
            }
        }
        Ok(sums)
    }

    /// Ports and counters as they are, for a file that somebody reads after a failure.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn everything(&mut self) -> anyhow::Result<String> {
        let counters = self.ask("ListCounters", |mut c| async move {
            c.list_counters(v1::ListCountersRequest::default()).await
        })?;
        let ports = self.ask("ListPorts", |mut c| async move {
            c.list_ports(v1::ListPortsRequest {}).await
        })?;
        let dump = self.dump()?;
        Ok(format!("{counters:#?}\n{ports:#?}\n{dump:#?}\n"))
    }

    /// Answers of which it knows how long they took, to calls of a prefix (canonical encoding) that entered there.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn answers(&mut self, prefix: &[u8]) -> anyhow::Result<u64> {
        let reply = self.ask("ListTraffic", |mut c| async move {
            c.list_traffic(v1::ListTrafficRequest::default()).await
        })?;
        let services = reply.services.iter().filter(|one| one.name == prefix);
        Ok(services.flat_map(|one| &one.latency).map(|b| b.count).sum())
    }

    /// What left by a port through the queues of its classes, by class.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn classes(&mut self, port: &str) -> anyhow::Result<Vec<v1::ClassCounters>> {
        let port = port.to_owned();
        let reply = self.ask("ListCounters", |mut c| async move {
            c.list_counters(v1::ListCountersRequest { port }).await
        })?;
        Ok(reply.ports.into_iter().flat_map(|p| p.classes).collect())
    }

    /// Has at most `mbps` leave by a port from now on, 0 = as much as goes: what an operator does with `dmscctl config apply`.
    ///
    /// # Errors
    /// When the agent does not answer, or has no such port.
    pub fn set_rate(&mut self, port: &str, mbps: u32) -> anyhow::Result<()> {
        let config = |action: &str, text: String| v1::AgentConfigRequest {
            action: action.into(),
            text,
        };
        let dump = config("dump", String::new());
        let dump = self.ask("Config", |mut c| async move { c.config(dump).await })?;
        let mut file: toml::Table = dump.text.parse()?;
        let ports = file.get_mut("port").and_then(toml::Value::as_array_mut);
        let mut ports = ports.into_iter().flatten().filter_map(|p| p.as_table_mut());
        let found = ports.find(|p| p.get("name").and_then(toml::Value::as_str) == Some(port));
        let found = found.with_context(|| format!("there is no port {port}"))?;
        found.insert("rate_mbps".into(), i64::from(mbps).into());
        let apply = config("apply", file.to_string());
        self.ask("Config", |mut c| async move { c.config(apply).await })?;
        Ok(())
    }

    /// How many adjacencies there are, and the peers of those that are not up.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn adjacencies(&mut self) -> anyhow::Result<(usize, Vec<u32>)> {
        let all = self.dump()?.adjacencies;
        let down = all.iter().filter(|a| a.state != "up").map(|a| a.peer);
        Ok((all.len(), down.collect()))
    }
}

impl Sums {
    /// What was counted since `before`, drops and events, only what changed.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            now.iter()
                .map(|(name, value)| {
                    let then = then.get(name).copied().unwrap_or(0);
                    (name.clone(), value.saturating_sub(then))
                })
                .filter(|(_, value)| *value > 0)
                .collect()
        };
        Self {
            drops: less(&self.drops, &before.drops),
            events: less(&self.events, &before.events),
        }
    }

    /// What was counted under `name`.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        let found = self.drops.get(name).or_else(|| self.events.get(name));
        found.copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_what_changed() {
        let sums = |n| Sums {
            drops: BTreeMap::from([("no-route".into(), n), ("denied".into(), 1)]),
            events: BTreeMap::from([("rebound".into(), 2 * n)]),
        };
        let since = sums(5).since(&sums(2));
        assert_eq!((since.of("no-route"), since.of("rebound")), (3, 6));
        assert!(!since.drops.contains_key("denied"));
    }
}
