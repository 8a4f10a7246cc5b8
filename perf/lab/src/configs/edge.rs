//! The configuration of an edge.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Paths;
use crate::file::Program;
use crate::plan::{EdgePlan, EdgePodPlan, Plan, ServePlan};

#[derive(Debug, Serialize)]
struct EdgeFile {
    operator: PathBuf,
    metrics: &'static str,
    access_log: PathBuf,
    pod: Vec<Pod>,
}

#[derive(Debug, Serialize)]
struct Pod {
    identity: String,
    credentials: PathBuf,
    gateway: String,
    netns: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<Shared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbound: Option<Outbound>,
    redirect: Vec<Redirect>,
    serve: Vec<Serve>,
}

#[derive(Debug, Serialize)]
struct Shared {
    socket: PathBuf,
    port: String,
    address: String,
}

#[derive(Debug, Serialize)]
struct Outbound {
    http: &'static str,
    dns: &'static str,
    tcp: &'static str,
    timeout: &'static str,
}

#[derive(Debug, Serialize)]
struct Redirect {
    address: String,
    name: String,
}

#[derive(Debug, Serialize)]
struct Serve {
    prefix: String,
    to: String,
    health: Health,
}

#[derive(Debug, Serialize)]
struct Health {
    kind: &'static str,
    every: &'static str,
    timeout: &'static str,
    rise: u32,
    fall: u32,
}

/// The configuration of edge `index`. `credentials` gives the folder of an identity, `logs` is where its access log goes.
///
/// # Errors
/// When credentials cannot be made, or it cannot be written as TOML.
pub fn edge_file(
    plan: &Plan,
    index: usize,
    paths: Paths<'_>,
    logs: &Path,
    credentials: impl Fn(&str) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<String> {
    let edge = &plan.edges[index];
    let node = &plan.nodes[edge.node].name;
    let mut pods = Vec::new();
    for pod in &edge.pods {
        pods.push(self::pod(plan, pod, credentials(&pod.identity)?, paths));
    }
    Ok(toml::to_string(&EdgeFile {
        operator: paths.edge_operator(node),
        metrics: EdgePlan::METRICS,
        access_log: if edge.access_log {
            logs.join(format!("{node}.access.log"))
        } else {
            "off".into()
        },
        pod: pods,
    })?)
}

fn pod(plan: &Plan, pod: &EdgePodPlan, credentials: PathBuf, paths: Paths<'_>) -> Pod {
    let at = &plan.pods[pod.pod];
    let shared = at.shared.as_ref();
    let shared = shared.filter(|shared| shared.identity == pod.identity);
    let [http, dns, tcp] = EdgePlan::OUTBOUND;
    Pod {
        identity: pod.identity.clone(),
        credentials,
        gateway: at.gateway_address.clone(),
        netns: Path::new("/run/netns").join(&at.namespace),
        shared: shared.map(|shared| Shared {
            socket: paths.shared(&plan.nodes[at.gateway].name, &shared.port),
            port: shared.port.clone(),
            address: shared.address.clone(),
        }),
        outbound: pod.outbound.then_some(Outbound {
            http,
            dns,
            tcp,
            // Short: scenarios wait for calls that cannot be answered.
            timeout: "7s",
        }),
        redirect: pod
            .redirects
            .iter()
            .map(|(address, name)| Redirect {
                address: address.to_string(),
                name: name.to_string(),
            })
            .collect(),
        serve: pod
            .serves
            .iter()
            .map(|serve| Serve {
                prefix: serve.prefix.to_string(),
                to: format!("127.0.0.1:{}", serve.port),
                health: Health {
                    kind: serve.health.text(),
                    every: every(serve),
                    timeout: "200ms",
                    rise: 1,
                    fall: 2,
                },
            })
            .collect(),
    }
}

/// Often enough that a dead program is dark for less than a second; iperf3 takes a connection that comes in the middle of a run for one of its own.
fn every(serve: &ServePlan) -> &'static str {
    match serve.program {
        Some(Program::Iperf3) => "60s",
        _ => "250ms",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::figure2;

    fn table(node: &str) -> toml::Table {
        let plan = figure2();
        let index = plan.edge(node).unwrap();
        let text = edge_file(
            &plan,
            index,
            Paths(Path::new("/run/lab")),
            Path::new("/var/log"),
            |identity| Ok(Path::new("/pods").join(identity.replace('/', "+"))),
        );
        text.unwrap().parse().unwrap()
    }

    #[test]
    fn a_calling_pod_has_its_ports_and_redirects() {
        let file = table("sg1");
        assert_eq!(file["operator"].as_str(), Some("/run/lab/sg1.edge.sock"));
        let pod = file["pod"][0].as_table().unwrap();
        assert_eq!(pod["netns"].as_str(), Some("/run/netns/f2-pod1"));
        assert_eq!(pod["credentials"].as_str(), Some("/pods/pod1+edge"));
        assert_eq!(pod["gateway"].as_str(), Some("10.1.1.1"));
        let shared = pod["shared"].as_table().unwrap();
        assert_eq!(shared["socket"].as_str(), Some("/run/lab/sg1.pod1_v.sock"));
        assert_eq!(shared["port"].as_str(), Some("pod1_v"));
        assert_eq!(shared["address"].as_str(), Some("10.1.255.2"));
        let outbound = pod["outbound"].as_table().unwrap();
        assert_eq!(outbound["dns"].as_str(), Some("127.0.0.1:53"));
        assert_eq!(pod["redirect"][0]["name"].as_str(), Some("/shop/web"));
    }

    #[test]
    fn a_serving_pod_says_where_its_programs_are() {
        let file = table("sg4");
        let pod = file["pod"][0].as_table().unwrap();
        assert!(pod.get("outbound").is_none());
        let serve = pod["serve"].as_array().unwrap();
        let web = serve
            .iter()
            .find(|s| s["prefix"].as_str() == Some("/shop/web"));
        let web = web.unwrap();
        assert_eq!(web["to"].as_str(), Some("127.0.0.1:8080"));
        assert_eq!(web["health"]["kind"].as_str(), Some("http"));
    }
}
