//! Mistakes are told all at once; what is dumped reads back the same; a difference names its fields.

use super::*;

const GOOD: &str = r#"
[node]
id = 1
name = "sg1"
agent = "/run/dmsc/sg1.agent.sock"
state_dir = "/var/lib/dmsc/sg1"
credentials = "/etc/dmsc/sg1"
operator = "/run/dmsc/sg1.operator.sock"
[[adjacency]]
id = 1
port = "sr1"
peer = 5
local = "10.0.1.0"
remote = "10.0.1.1"
metric = 20
minimum_ttl = 250
key_id = 1
key_hex = "000102030405060708090a0b0c0d0e0f"
[[adjacency]]
id = 2
port = "sr2"
peer = 6
encapsulation = "ethernet"
local = "fd00::1"
remote = "fd00::2"
[gateway]
authorities = ["10.99.1.2:35032"]
[[gateway.port]]
name = "pod1v"
identities = ["pod1/curl", "pod2/*"]
[[access]]
id = 1
callee = "/shop/b"
allow = false
[[class]]
identity = "pod1/*"
max_class = 7
"#;

fn parse(text: &str, role: Role) -> Result<Config, Mistakes> {
    Config::parse(text, Path::new("sg1.toml"), role)
}

#[test]
fn what_is_dumped_reads_back_the_same() {
    let config = parse(GOOD, Role::Gateway).unwrap();
    assert_eq!(config.adjacencies.len(), 2);
    let again = parse(&config.dump(true), Role::Gateway).unwrap();
    assert_eq!(again, config);
    assert!(!config.dump(false).contains("000102"));
    assert!(config.diff(&again).is_empty());
}

#[test]
fn a_difference_names_its_fields_and_hides_keys() {
    let old = parse(GOOD, Role::Gateway).unwrap();
    let text = GOOD
        .replace("metric = 20", "metric = 30")
        .replace("0e0f", "0e00")
        .replace("sg1\"\nagent", "sgx\"\nagent");
    let new = parse(&text, Role::Gateway).unwrap();
    assert_eq!(
        old.diff(&new),
        [
            "adjacency[1].key_hex: (a key) -> (a key)",
            "adjacency[1].metric: 20 -> 30",
            "node.name: \"sg1\" -> \"sgx\""
        ]
    );
    assert_eq!(old.needs_restart(&new), ["node.name"]);
}

#[test]
fn all_mistakes_are_told_with_file_line_and_field() {
    let text = GOOD
        .replace("metric = 20", "metric = 0")
        .replace("\"fd00::2\"", "\"fd00::zz\"")
        .replace("10.99.1.2:35032", "10.99.1.2");
    let Mistakes(list) = parse(&text, Role::Gateway).unwrap_err();
    assert_eq!(list.len(), 3, "{list:?}");
    assert!(
        list[0].starts_with("sg1.toml:15: [[adjacency]] metric: must be between"),
        "{list:?}"
    );
    assert!(
        list[1].contains("sg1.toml:25: [[adjacency]] remote: \"fd00::zz\" is not an IP address"),
        "{list:?}"
    );
    assert!(
        list[2].contains("[gateway] authorities: \"10.99.1.2\""),
        "{list:?}"
    );
    let Mistakes(list) = parse(GOOD, Role::Router).unwrap_err();
    assert!(
        list[0].contains("[gateway]: not used by a router"),
        "{list:?}"
    );
    let Mistakes(list) = parse(&GOOD.replace("name =", "nome ="), Role::Gateway).unwrap_err();
    assert!(list[0].contains("unknown field `nome`"), "{list:?}");
}

#[test]
fn wrong_types_empty_paths_and_addresses_taken_twice_name_the_field() {
    for (old, new, told) in [
        (
            "id = 1\nname",
            "id = \"one\"\nname",
            "sg1.toml:3: [node] id: invalid type: string \"one\", expected a whole number",
        ),
        (
            "/run/dmsc/sg1.operator.sock",
            "",
            "sg1.toml:8: [node] operator: is empty; write a path",
        ),
        (
            "[gateway]",
            "[gateway]\nlisten = \"[::]:35031\"",
            "[gateway] listen: is the address of [linkstate] listen already; give each its own port",
        ),
    ] {
        let Mistakes(list) = parse(&GOOD.replace(old, new), Role::Gateway).unwrap_err();
        assert_eq!(list.len(), 1, "{list:?}");
        assert!(list[0].contains(told), "{list:?}");
    }
}

#[test]
fn the_examples_are_right() {
    for (file, role) in [("sg.toml", Role::Gateway), ("sr.toml", Role::Router)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../conf")
            .join(file);
        let config = Config::load(&path, role).unwrap();
        assert!(!config.adjacencies.is_empty());
    }
}

#[test]
fn who_may_use_which_class() {
    let config = parse(GOOD, Role::Gateway).unwrap();
    assert_eq!(config.class_limit("pod1/a"), 7);
    assert_eq!(config.class_limit("pod2"), 5);
    let low = GOOD.replace("[gateway]", "[gateway]\nmax_class = 2");
    assert_eq!(parse(&low, Role::Gateway).unwrap().class_limit("pod2"), 2);
    for (from, to, expected) in [
        ("max_class = 7", "max_class = 8", "[[class]] max_class"),
        ("max_class = 7", "max_class = 0", "[[class]] max_class"),
        ("pod1/*", "pod1//*", "[[class]] identity"),
        ("pod1/*", "pod*", "[[class]] identity"),
        ("pod2/*", "pod*", "[[gateway.port]] identities"),
        (
            "[gateway]",
            "[gateway]\nmax_class = 9",
            "[gateway] max_class",
        ),
    ] {
        let mistakes = parse(&GOOD.replace(from, to), Role::Gateway).unwrap_err();
        assert!(mistakes.to_string().contains(expected), "{mistakes}");
    }
}

#[test]
fn scheduling_centers_are_few_and_only_a_gateways() {
    let text =
        format!("{GOOD}[scheduling]\ncenters = [\"10.99.1.3:35034\", \"[fd00::9]:35034\"]\n");
    let config = parse(&text, Role::Gateway).unwrap();
    assert_eq!(config.scheduling.centers.len(), 2);
    let again = parse(&config.dump(true), Role::Gateway).unwrap();
    assert_eq!(again, config);
    let without = parse(GOOD, Role::Gateway).unwrap();
    let diff = without.diff(&config);
    assert!(
        diff[0].starts_with("scheduling.centers: (none) -> "),
        "{diff:?}"
    );
    assert!(without.needs_restart(&config).is_empty());
    for wrong in ["center", "10.99.1.3:35034\", \"10.99.1.3:35034"] {
        let text = text.replace("[fd00::9]:35034", wrong);
        let mistakes = parse(&text, Role::Gateway).unwrap_err().to_string();
        assert!(mistakes.contains("[scheduling] centers"), "{mistakes}");
    }
    let nine: Vec<String> = (1..=9).map(|n| format!("\"10.0.0.{n}:35034\"")).collect();
    let text = format!("{GOOD}[scheduling]\ncenters = [{}]\n", nine.join(", "));
    let mistakes = parse(&text, Role::Gateway).unwrap_err().to_string();
    assert!(mistakes.contains("at most 8"), "{mistakes}");
}
