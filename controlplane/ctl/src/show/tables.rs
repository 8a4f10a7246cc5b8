//! `show tables`: what is programmed: a summary, and the contents that are asked for.

use dmsc_proto::v1::{DumpReply, DumpRequest};
use serde::Serialize;

use crate::agent::Agent;
use crate::cli::TablesArgs;
use crate::failure::Failure;
use crate::output::{Grid, Output};
use crate::text::{joined, name, name_or_null, or_none};

/// JSON of `show tables`; lists that were not asked for are absent.
#[derive(Debug, Serialize)]
pub struct TablesView {
    generation: u64,
    prefix_count: u64,
    gateway_count: usize,
    group_count: usize,
    adjacency_count: usize,
    attachment_count: usize,
    access_rule_count: usize,
    table_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateways: Option<Vec<GatewayView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<GroupView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_rules: Option<Vec<AccessRuleView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefixes: Option<Vec<PrefixView>>,
}

#[derive(Debug, Serialize)]
struct GatewayView {
    topology: &'static str,
    gateway: u32,
    metric: u32,
    next_hops: Vec<u32>,
    node_protecting: Option<u32>,
    link_protecting: Option<u32>,
}

#[derive(Debug, Serialize)]
struct GroupView {
    group: u32,
    policy: &'static str,
    members: Vec<MemberView>,
}

#[derive(Debug, Serialize)]
struct MemberView {
    gateway: u32,
    metric: u32,
    weight: u32,
    /// How much of it goes there by the topology of least delay, whatever the class.
    delay_weight: u32,
}

#[derive(Debug, Serialize)]
struct AccessRuleView {
    id: u32,
    domain: u32,
    caller: Option<String>,
    callee: Option<String>,
    allow: bool,
}

#[derive(Debug, Serialize)]
struct PrefixView {
    domain: u32,
    prefix: String,
    group: u32,
}

/// Asks and prints.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(agent: &mut Agent, args: &TablesArgs, output: &mut Output) -> Result<(), Failure> {
    let request = DumpRequest {
        prefixes: args.prefixes,
    };
    let dump = agent.client.dump(request).await?.into_inner();
    let view = view(dump, args);
    if output.is_json() {
        output.document(&view)?;
        return Ok(());
    }
    output.line(&format!(
        "generation {}: {} prefixes, {} gateways, {} groups, {} adjacencies, {} attachments, {} access rules; {} kB",
        view.generation,
        view.prefix_count,
        view.gateway_count,
        view.group_count,
        view.adjacency_count,
        view.attachment_count,
        view.access_rule_count,
        view.table_bytes.div_ceil(1000),
    ))?;
    let parts = [
        (view.gateways.as_deref().map(gateways), "no gateways"),
        (view.groups.as_deref().map(groups), "no groups"),
        (
            view.access_rules.as_deref().map(rules),
            "no access rules: everybody may call everything",
        ),
        (view.prefixes.as_deref().map(prefixes), "no prefixes"),
    ];
    for (grid, nothing) in parts {
        if let Some(grid) = grid {
            output.line("")?;
            output.table(&grid, nothing)?;
        }
    }
    Ok(())
}

/// With no flag: everything but the prefixes, which may be many.
fn view(dump: DumpReply, args: &TablesArgs) -> TablesView {
    let all = !(args.prefixes || args.gateways || args.groups || args.access);
    TablesView {
        generation: dump.generation,
        prefix_count: dump.prefix_count,
        gateway_count: dump.gateways.len(),
        group_count: dump.groups.len(),
        adjacency_count: dump.adjacencies.len(),
        attachment_count: dump.attachments.len(),
        access_rule_count: dump.access_rules.len(),
        table_bytes: dump.table_bytes,
        gateways: (all || args.gateways).then(|| gateway_views(&dump)),
        groups: (all || args.groups).then(|| group_views(&dump)),
        access_rules: (all || args.access).then(|| rule_views(&dump)),
        prefixes: args.prefixes.then(|| prefix_views(&dump)),
    }
}

fn gateway_views(dump: &DumpReply) -> Vec<GatewayView> {
    let some = |adjacency: u32| (adjacency != 0).then_some(adjacency);
    let mut list = dump.gateways.clone();
    list.sort_by_key(|gateway| (gateway.topology, gateway.gateway));
    list.into_iter()
        .map(|gateway| GatewayView {
            topology: if gateway.topology == 0 {
                "metric"
            } else {
                "delay"
            },
            gateway: gateway.gateway,
            metric: gateway.metric,
            node_protecting: some(gateway.node_protecting),
            link_protecting: some(gateway.link_protecting),
            next_hops: gateway.next_hops,
        })
        .collect()
}

fn group_views(dump: &DumpReply) -> Vec<GroupView> {
    let mut list = dump.groups.clone();
    list.sort_by_key(|group| group.id);
    list.into_iter()
        .map(|group| GroupView {
            group: group.id,
            policy: if group.weighted {
                "weighted"
            } else {
                "nearest"
            },
            members: group
                .members
                .iter()
                .map(|member| MemberView {
                    gateway: member.gateway,
                    metric: member.metric,
                    weight: member.weight,
                    delay_weight: member.delay_weight,
                })
                .collect(),
        })
        .collect()
}

fn rule_views(dump: &DumpReply) -> Vec<AccessRuleView> {
    let mut list = dump.access_rules.clone();
    list.sort_by_key(|rule| rule.id);
    list.into_iter()
        .map(|rule| AccessRuleView {
            id: rule.id,
            domain: rule.domain,
            caller: name_or_null(&rule.caller),
            callee: name_or_null(&rule.callee),
            allow: rule.allow,
        })
        .collect()
}

fn prefix_views(dump: &DumpReply) -> Vec<PrefixView> {
    let mut list: Vec<PrefixView> = dump
        .prefixes
        .iter()
        .map(|prefix| PrefixView {
            domain: prefix.domain,
            prefix: name(&prefix.name),
            group: prefix.group,
        })
        .collect();
    list.sort_by(|a, b| (a.domain, &a.prefix).cmp(&(b.domain, &b.prefix)));
    list
}

fn gateways(list: &[GatewayView]) -> Grid {
    let mut grid = Grid::new(&[
        "topology",
        ">gateway",
        ">metric",
        "next hops (adjacencies)",
        ">node-protecting",
        ">link-protecting",
    ]);
    for gateway in list {
        grid.row([
            gateway.topology.to_owned(),
            gateway.gateway.to_string(),
            gateway.metric.to_string(),
            joined(&gateway.next_hops),
            or_none(gateway.node_protecting.unwrap_or(0)),
            or_none(gateway.link_protecting.unwrap_or(0)),
        ]);
    }
    grid
}

fn groups(list: &[GroupView]) -> Grid {
    let mut grid = Grid::new(&[">group", "policy", "members (gateway, metric, weight)"]);
    for group in list {
        let members = group.members.iter().map(|member| {
            let by_delay = match member.delay_weight {
                0 => String::new(),
                part => format!(", {part} of it by delay"),
            };
            format!(
                "({}, {}, {}{by_delay})",
                member.gateway, member.metric, member.weight
            )
        });
        grid.row([
            group.group.to_string(),
            group.policy.to_owned(),
            joined(members),
        ]);
    }
    grid
}

fn rules(list: &[AccessRuleView]) -> Grid {
    let mut grid = Grid::new(&[">rule", ">domain", "caller", "callee", "verdict"]);
    let any = |name: &Option<String>| name.clone().unwrap_or_else(|| "any".to_owned());
    for rule in list {
        grid.row([
            rule.id.to_string(),
            rule.domain.to_string(),
            any(&rule.caller),
            any(&rule.callee),
            if rule.allow { "allow" } else { "deny" }.to_owned(),
        ]);
    }
    grid
}

fn prefixes(list: &[PrefixView]) -> Grid {
    let mut grid = Grid::new(&[">domain", "prefix", ">group"]);
    for prefix in list {
        grid.row([
            prefix.domain.to_string(),
            prefix.prefix.clone(),
            prefix.group.to_string(),
        ]);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_proto::v1::{Gateway, Prefix};

    fn dump() -> DumpReply {
        DumpReply {
            generation: 4,
            prefix_count: 2,
            gateways: vec![Gateway {
                topology: 0,
                gateway: 4,
                metric: 30,
                next_hops: vec![1, 2],
                node_protecting: 3,
                link_protecting: 0,
            }],
            prefixes: vec![
                Prefix {
                    domain: 1,
                    name: b"\x01b".to_vec(),
                    group: 2,
                },
                Prefix {
                    domain: 1,
                    name: b"\x01a".to_vec(),
                    group: 1,
                },
            ],
            ..DumpReply::default()
        }
    }

    #[test]
    fn without_flags_everything_but_prefixes() {
        let json = serde_json::to_value(view(dump(), &TablesArgs::default())).expect("JSON");
        assert_eq!(json["gateways"][0]["next_hops"], serde_json::json!([1, 2]));
        assert_eq!(
            json["gateways"][0]["link_protecting"],
            serde_json::Value::Null
        );
        assert!(json.get("prefixes").is_none());
        assert!(json.get("groups").is_some());
    }

    #[test]
    fn prefixes_are_sorted_and_alone_when_asked_for() {
        let args = TablesArgs {
            prefixes: true,
            ..TablesArgs::default()
        };
        let view = view(dump(), &args);
        assert!(view.gateways.is_none());
        let text = prefixes(view.prefixes.as_deref().expect("asked for")).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("/a") && lines[2].contains("/b"), "{text}");
    }
}
