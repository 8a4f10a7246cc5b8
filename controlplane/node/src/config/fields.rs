//! A configuration as a list of fields: written back as TOML, and compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use dmsc_wire::Name;

use super::Config;

/// Beginnings of fields that only a restart can change; it disturbs nothing, because the dataplane goes on.
pub const RESTART_FIELDS: &[&str] = &["node.", "linkstate.", "gateway.listen"];
/// Of fields that begin so and can be changed all the same.
const LIVE_FIELDS: &[&str] = &["node.domain", "linkstate.restart_hold_ms"];
const KEY: &str = "key_hex";

/// One table of the file: header, path for messages, fields with values as TOML.
struct Table {
    header: &'static str,
    path: String,
    fields: Vec<(&'static str, String)>,
}

fn text(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

fn ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn tables(config: &Config) -> Vec<Table> {
    let node = &config.node;
    let mut fields = vec![
        ("id", node.id.to_string()),
        ("name", text(&node.name)),
        ("area", node.area.to_string()),
        ("domain", node.domain.to_string()),
        ("agent", text(&node.agent.display().to_string())),
        ("state_dir", text(&node.state_dir.display().to_string())),
        ("credentials", text(&node.credentials.display().to_string())),
    ];
    let optional = [
        (
            "operator",
            node.operator
                .as_ref()
                .map(|path| path.display().to_string()),
        ),
        (
            "operator_listen",
            node.operator_listen.map(|address| address.to_string()),
        ),
        ("metrics", node.metrics.map(|address| address.to_string())),
        ("view_group", node.view_group.clone()),
        ("operate_group", node.operate_group.clone()),
        ("admin_group", node.admin_group.clone()),
    ];
    fields.extend(
        optional
            .into_iter()
            .filter_map(|(key, value)| Some((key, text(&value?)))),
    );
    let mut tables = vec![
        Table {
            header: "[node]",
            path: "node".into(),
            fields,
        },
        linkstate(config),
    ];
    if let Some(gateway) = &config.gateway {
        let authorities: Vec<String> = gateway
            .authorities
            .iter()
            .map(|one| text(&one.to_string()))
            .collect();
        tables.push(Table {
            header: "[gateway]",
            path: "gateway".into(),
            fields: vec![
                ("listen", text(&gateway.listen.to_string())),
                ("authorities", format!("[{}]", authorities.join(", "))),
                ("probe_interval_ms", ms(gateway.probe_interval)),
                ("max_class", gateway.max_class.to_string()),
            ],
        });
        for (name, identities) in &gateway.ports {
            let identities: Vec<String> = identities.iter().map(|one| text(one)).collect();
            tables.push(Table {
                header: "[[gateway.port]]",
                path: format!("gateway.port[{name}]"),
                fields: vec![
                    ("name", text(name)),
                    ("identities", format!("[{}]", identities.join(", "))),
                ],
            });
        }
    }
    if !config.scheduling.centers.is_empty() {
        let centers = config.scheduling.centers.iter();
        let centers: Vec<String> = centers.map(|one| text(&one.to_string())).collect();
        tables.push(Table {
            header: "[scheduling]",
            path: "scheduling".into(),
            fields: vec![("centers", format!("[{}]", centers.join(", ")))],
        });
    }
    tables.extend(config.adjacencies.values().map(adjacency));
    for rule in config.access_rules.values() {
        let side = |bytes: &[u8]| {
            text(&Name::from_bytes(bytes).map_or(String::new(), |name| name.to_string()))
        };
        tables.push(Table {
            header: "[[access]]",
            path: format!("access[{}]", rule.id),
            fields: vec![
                ("id", rule.id.to_string()),
                ("caller", side(&rule.caller)),
                ("callee", side(&rule.callee)),
                ("allow", rule.allow.to_string()),
            ],
        });
    }
    for (index, limit) in config.class_limits.iter().enumerate() {
        tables.push(Table {
            header: "[[class]]",
            path: format!("class[{}]", index + 1),
            fields: vec![
                ("identity", text(&limit.identity)),
                ("max_class", limit.max_class.to_string()),
            ],
        });
    }
    tables
}

fn linkstate(config: &Config) -> Table {
    let all = &config.linkstate;
    Table {
        header: "[linkstate]",
        path: "linkstate".into(),
        fields: vec![
            ("listen", text(&all.listen.to_string())),
            ("restart_hold_ms", ms(all.restart_hold)),
            ("lifetime_s", all.lifetime_s.to_string()),
            ("spf_initial_ms", ms(all.spf_initial)),
            ("spf_short_ms", ms(all.spf_short)),
            ("spf_long_ms", ms(all.spf_long)),
            ("originate_delay_ms", ms(all.originate_delay)),
            ("min_arrival_ms", ms(all.min_arrival)),
            ("digest_interval_ms", ms(all.digest_interval)),
            ("session_timeout_ms", ms(all.session_timeout)),
            ("restart_time_s", all.restart_time.as_secs().to_string()),
            ("objects_per_origin", all.objects_per_origin.to_string()),
            ("objects", all.objects.to_string()),
            ("objects_per_second", all.objects_per_second.to_string()),
        ],
    }
}

fn adjacency(one: &super::Adjacency) -> Table {
    let programmed = &one.programmed;
    let mut fields = vec![
        ("id", programmed.id.to_string()),
        ("port", text(&programmed.port)),
        ("peer", programmed.peer.to_string()),
        ("encapsulation", text(&programmed.encapsulation)),
    ];
    if let Some((local, remote)) = one.session {
        fields.push(("local", text(&local.to_string())));
        fields.push(("remote", text(&remote.to_string())));
    }
    if !programmed.next_hop.is_empty() {
        fields.push(("next_hop", text(&programmed.next_hop)));
    }
    for (key, value) in [
        ("vlan", programmed.vlan),
        ("minimum_ttl", programmed.minimum_ttl),
        ("mtu", programmed.mtu),
        ("hello_interval_ms", programmed.hello_interval_ms),
        ("hello_multiplier", programmed.hello_multiplier),
        ("key_id", programmed.key_id),
    ] {
        fields.push((key, value.to_string()));
    }
    if !programmed.key.is_empty() {
        let mut hex = String::new();
        for byte in &programmed.key {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        fields.push((KEY, text(&hex)));
    }
    fields.push(("metric", one.settings.metric.to_string()));
    fields.push(("delay_us", one.settings.delay_us.to_string()));
    fields.push(("capacity_kbps", one.settings.capacity_kbps.to_string()));
    Table {
        header: "[[adjacency]]",
        path: format!("adjacency[{}]", programmed.id),
        fields,
    }
}

pub(super) fn dump(config: &Config, secrets: bool) -> String {
    let mut out = String::new();
    for table in tables(config) {
        out.push_str(table.header);
        out.push('\n');
        for (key, value) in table.fields {
            if key == KEY && !secrets {
                out.push_str("# key_hex is not shown: it needs the role admin\n");
            } else {
                // Writing to a string cannot fail.
                let _ = writeln!(out, "{key} = {value}");
            }
        }
        out.push('\n');
    }
    out
}

fn flat(config: &Config) -> BTreeMap<String, String> {
    tables(config)
        .into_iter()
        .flat_map(|table| {
            let path = table.path;
            table
                .fields
                .into_iter()
                .map(move |(key, value)| (format!("{path}.{key}"), value))
        })
        .collect()
}

pub(super) fn diff(old: &Config, new: &Config) -> Vec<String> {
    let (old, new) = (flat(old), flat(new));
    let mut lines = Vec::new();
    for key in old
        .keys()
        .chain(new.keys().filter(|key| !old.contains_key(*key)))
    {
        let shown = |value: Option<&String>| match value {
            None => "(none)".to_owned(),
            Some(_) if key.ends_with(KEY) => "(a key)".to_owned(),
            Some(value) => value.clone(),
        };
        let (before, after) = (old.get(key), new.get(key));
        if before != after {
            lines.push(format!("{key}: {} -> {}", shown(before), shown(after)));
        }
    }
    lines.sort();
    lines
}

pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let begins = |line: &String, list: &[&str]| list.iter().any(|start| line.starts_with(start));
    diff(old, new)
        .into_iter()
        .filter(|line| begins(line, RESTART_FIELDS) && !begins(line, LIVE_FIELDS))
        .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
        .collect()
}
