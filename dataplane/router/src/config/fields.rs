//! A configuration as a list of fields, complete with defaults: what is written back, and what two of them differ in.

use toml::Value;

use super::{Config, Exception, HugePages, Idle, PlainIp, PortConfig, PortKind, PortRole};

/// A section of the file and its fields in order, each with its value as TOML.
struct Section {
    header: &'static str,
    /// How its fields are called in messages: `port "pod1"`.
    place: String,
    fields: Vec<(&'static str, Value)>,
}

/// One field that differs, as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `port "pod1".budget_pps`, `port "pod1"` for a whole port.
    pub field: String,
    /// What is there.
    pub before: String,
    /// What is wanted.
    pub after: String,
    /// Whether it can be changed while the dataplane runs.
    pub at_run_time: bool,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} -> {}", self.field, self.before, self.after)
    }
}

/// Fields that a running dataplane takes up: of the workers, and of ports.
const AT_RUN_TIME: [&str; 6] = [
    "idle",
    "plain_ip",
    "budget_pps",
    "budget_mbps",
    "rate_mbps",
    "capacity_mbps",
];

fn text(text: impl ToString) -> Value {
    Value::String(text.to_string())
}

fn number(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn sections(config: &Config) -> Vec<Section> {
    let section = |header, place: &str, fields| Section {
        header,
        place: place.into(),
        fields,
    };
    let huge = match config.huge {
        HugePages::Auto => "auto",
        HugePages::Yes => "yes",
        HugePages::No => "no",
    };
    let mut eal = vec![
        ("memory_mb", number(config.memory_mb.into())),
        ("huge", text(huge)),
    ];
    if let Some(prefix) = &config.file_prefix {
        eal.push(("file_prefix", text(prefix)));
    }
    let idle = match config.idle {
        Idle::Block => "block",
        Idle::Poll => "poll",
    };
    let cores = config.cores.iter().map(|core| number(*core as u64));
    let mut agent = vec![("socket", text(config.socket.display()))];
    let groups = [
        ("view_group", &config.groups.view),
        ("operate_group", &config.groups.operate),
    ];
    let groups = groups.into_iter();
    agent.extend(groups.filter_map(|(field, group)| Some((field, text(group.as_ref()?)))));
    let mut all = vec![
        section(
            "[node]",
            "node",
            vec![
                ("id", number(config.node.0.into())),
                ("name", text(&config.name)),
                ("role", text(config.role.as_str())),
                ("udp_port", number(config.udp_port.into())),
            ],
        ),
        section("[eal]", "eal", eal),
        section(
            "[workers]",
            "workers",
            vec![
                ("cores", Value::Array(cores.collect())),
                ("idle", text(idle)),
            ],
        ),
        section("[agent]", "agent", agent),
        section("[classes]", "classes", class_fields(config)),
    ];
    all.extend(config.class_rules.iter().enumerate().map(|(index, rule)| {
        let mut fields = vec![("domain", number(rule.domain.0.into()))];
        fields.extend(rule.caller.iter().map(|name| ("caller", text(name))));
        fields.extend(rule.callee.iter().map(|name| ("callee", text(name))));
        fields.push(("class", number(rule.class.0.into())));
        Section {
            header: "[[class_rule]]",
            place: format!("class_rule {}", index + 1),
            fields,
        }
    }));
    all.extend(config.ports.iter().map(|port| Section {
        header: "[[port]]",
        place: format!("port {:?}", port.name),
        fields: port_fields(port),
    }));
    all
}

fn class_fields(config: &Config) -> Vec<(&'static str, Value)> {
    let classes = &config.classes;
    let weights = classes
        .weights
        .iter()
        .map(|weight| number((*weight).into()));
    vec![
        ("strict_from", number(classes.strict_from.into())),
        ("weights", Value::Array(weights.collect())),
        ("queue_frames", number(classes.queue_frames as u64)),
        ("mark_frames", number(classes.mark_frames as u64)),
    ]
}

fn port_fields(port: &PortConfig) -> Vec<(&'static str, Value)> {
    let is_pod = port.role == PortRole::Pod;
    let mut fields = vec![
        ("name", text(&port.name)),
        ("kind", text(port.kind.as_str())),
    ];
    match &port.kind {
        PortKind::AfPacket { interface }
        | PortKind::AfXdp { interface }
        | PortKind::Tap { interface } => fields.push(("interface", text(interface))),
        PortKind::Memif { socket, server, id } => fields.extend([
            ("socket", text(socket.display())),
            ("server", Value::Boolean(*server)),
            ("id", number((*id).into())),
        ]),
        PortKind::VirtioUser { socket, server } => fields.extend([
            ("socket", text(socket.display())),
            ("server", Value::Boolean(*server)),
        ]),
        PortKind::Vhost {
            socket,
            client,
            group,
        } => {
            fields.push(("socket", text(socket.display())));
            fields.extend(group.iter().map(|group| ("socket_group", text(group))));
            fields.push(("client", Value::Boolean(*client)));
        }
        PortKind::Null { size } => fields.push(("size", number((*size).into()))),
        PortKind::Ring => {}
        PortKind::Pcap { rx, tx } => {
            fields.extend(rx.iter().map(|path| ("rx_file", text(path.display()))));
            fields.extend(tx.iter().map(|path| ("tx_file", text(path.display()))));
        }
        PortKind::Pci { address } => fields.push(("address", text(address))),
    }
    fields.extend([
        ("role", text(if is_pod { "pod" } else { "router" })),
        ("mtu", number(port.mtu.into())),
    ]);
    fields.extend(port.mac.map(|mac| ("mac", text(mac))));
    let exception = match port.exception {
        Exception::Tap => "tap",
        Exception::None => "none",
    };
    fields.extend([
        (
            "addresses",
            Value::Array(port.addresses.iter().map(text).collect()),
        ),
        ("vlan", number(port.vlan.into())),
        ("exception", text(exception)),
        ("rate_mbps", number(port.rate_bytes_per_s / 125_000)),
        ("capacity_mbps", number(port.capacity_mbps.into())),
    ]);
    if is_pod {
        let plain_ip = match port.plain_ip {
            PlainIp::Kernel => "kernel",
            PlainIp::Drop => "drop",
        };
        fields.extend([
            ("domain", number(port.domain.0.into())),
            ("plain_ip", text(plain_ip)),
            ("budget_pps", number(port.budget.packets_per_s)),
            ("budget_mbps", number(port.budget.bytes_per_s / 125_000)),
        ]);
    }
    fields
}

impl Config {
    /// The file that says all this, complete with defaults.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for (index, section) in sections(self).iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            out += section.header;
            out.push('\n');
            for (key, value) in &section.fields {
                out += &format!("{key} = {value}\n");
            }
        }
        out
    }

    /// What is different in `wanted`, field by field. Ports are compared by name; their order is a field of its own, because it is their ids.
    pub fn differences(&self, wanted: &Config) -> Vec<Difference> {
        let (before, after) = (sections(self), sections(wanted));
        let mut all = Vec::new();
        let whole = |field: &str, before: &str, after: &str| Difference {
            field: field.into(),
            before: before.into(),
            after: after.into(),
            at_run_time: false,
        };
        let find = |sections: &'_ [Section], place: &str| {
            sections.iter().position(|section| section.place == place)
        };
        for old in &before {
            match find(&after, &old.place) {
                Some(new) => compare(old, &after[new], &mut all),
                None => all.push(whole(&old.place, "there", "removed")),
            }
        }
        for new in &after {
            if find(&before, &new.place).is_none() {
                all.push(whole(&new.place, "not there", "added"));
            }
        }
        let order = |config: &Config, other: &Config| {
            let names = config.ports.iter().map(|port| port.name.as_str());
            names
                .filter(|name| other.ports.iter().any(|port| port.name == **name))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (was, is) = (order(self, wanted), order(wanted, self));
        if was != is {
            all.push(whole("order of ports", &was, &is));
        }
        all
    }
}

fn compare(old: &Section, new: &Section, all: &mut Vec<Difference>) {
    let get = |section: &Section, key: &str| {
        let found = section.fields.iter().find(|(name, _)| *name == key);
        found.map_or_else(|| "not set".to_string(), |(_, value)| value.to_string())
    };
    let mut keys: Vec<_> = old.fields.iter().map(|(key, _)| *key).collect();
    keys.extend(
        new.fields
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| !old.fields.iter().any(|(other, _)| other == key)),
    );
    for key in keys {
        let (before, after) = (get(old, key), get(new, key));
        if before != after {
            all.push(Difference {
                field: format!("{}.{key}", old.place),
                at_run_time: AT_RUN_TIME.contains(&key)
                    && before != "not set"
                    && after != "not set",
                before,
                after,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const EXAMPLE: &str = include_str!("../../../../conf/dataplane.toml");

    fn parse(text: &str) -> Config {
        Config::parse(Path::new("x.toml"), text).expect("good")
    }

    #[test]
    fn what_is_written_back_says_the_same() {
        let kinds = "
[[port]]\nname = \"m\"\nkind = \"memif\"\nsocket = \"/tmp/m\"\nserver = true\nid = 3\nrole = \"router\"\nmac = \"02:00:00:00:00:07\"
[[port]]\nname = \"v\"\nkind = \"virtio_user\"\nsocket = \"/tmp/v\"\nrole = \"pod\"
[[port]]\nname = \"g\"\nkind = \"vhost\"\nsocket = \"/tmp/g\"\nsocket_group = \"dmsc\"\nrole = \"pod\"
[[port]]\nname = \"h\"\nkind = \"vhost\"\nsocket = \"/tmp/h\"\nclient = true\nrole = \"pod\"\nplain_ip = \"drop\"
[[port]]\nname = \"n\"\nkind = \"null\"\nrole = \"router\"\nsize = 99\nexception = \"none\"
[[port]]\nname = \"p\"\nkind = \"pcap\"\nrx_file = \"a b\"\nrole = \"router\"\nvlan = 7
[[port]]\nname = \"r\"\nkind = \"ring\"\nrole = \"router\"
[[port]]\nname = \"x\"\nkind = \"pci\"\naddress = \"0000:03:00.0\"\nrole = \"router\"";
        let rules = "
[[class_rule]]\ncaller = \"/a\"\nclass = 3
[[class_rule]]\ndomain = 7\ncallee = \"/b/c\"\nclass = 0";
        let config = parse(&format!("{EXAMPLE}{kinds}{rules}"));
        let text = config.to_text();
        let again = parse(&text);
        assert_eq!(config.differences(&again), []);
        assert_eq!(again.to_text(), text);
        assert!(text.contains("udp_port = 35029"), "defaults too: {text}");
    }

    #[test]
    fn differences_are_named_field_by_field() {
        let before = parse(EXAMPLE);
        let told = |from: &str, to: &str| {
            let after = parse(&EXAMPLE.replacen(from, to, 1));
            let all = before.differences(&after).into_iter();
            all.map(|d| (d.to_string(), d.at_run_time))
                .collect::<Vec<_>>()
        };
        for (from, to, expected, at_run_time) in [
            (
                "budget_pps = 200000",
                "budget_pps = 30",
                "port \"pod1\".budget_pps: 200000 -> 30",
                true,
            ),
            (
                "plain_ip = \"kernel\"",
                "plain_ip = \"drop\"",
                "port \"pod1\".plain_ip: \"kernel\" -> \"drop\"",
                true,
            ),
            (
                "idle = \"block\"",
                "idle = \"poll\"",
                "workers.idle: \"block\" -> \"poll\"",
                true,
            ),
            (
                "# rate_mbps = 0",
                "rate_mbps = 50",
                "port \"sr1\".rate_mbps: 0 -> 50",
                true,
            ),
            (
                "# strict_from = 6",
                "strict_from = 5",
                "classes.strict_from: 6 -> 5",
                false,
            ),
            (
                "10.1.1.1/24",
                "10.1.1.3/24",
                "port \"pod1\".addresses: [\"10.1.1.1/24\"] -> [\"10.1.1.3/24\"]",
                false,
            ),
            (
                "cores = []",
                "cores = [2]",
                "workers.cores: [] -> [2]",
                false,
            ),
            (
                "# file_prefix",
                "file_prefix",
                "eal.file_prefix: not set -> \"sg1\"",
                false,
            ),
        ] {
            assert_eq!(told(from, to), [(expected.to_string(), at_run_time)]);
        }
        assert_eq!(
            told("name = \"pod1\"", "name = \"pod2\""),
            [
                ("port \"pod1\": there -> removed".to_string(), false),
                ("port \"pod2\": not there -> added".to_string(), false),
            ]
        );
        let mut turned = before.clone();
        turned.ports.reverse();
        assert_eq!(
            before.differences(&turned)[0].to_string(),
            "order of ports: sr1, pod1, pod1v -> pod1v, pod1, sr1"
        );
    }
}
