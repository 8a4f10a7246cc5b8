//! Good files are understood, and every mistake is told with its line and field.

use super::*;

const GOOD: &str = r#"
[node]
id = 1
[[adjacency]]
id = 1
port = "sr1"
peer = 5
local = "10.0.1.0"
remote = "10.0.1.1"
[[adjacency]]
id = 2
port = "sr2"
peer = 6
encapsulation = "ethernet"
key_id = 3
key_hex = "000102030405060708090a0b0c0d0e0f"
[[gateway]]
id = 4
metric = 30
next_hops = [1]
node_protecting = 2
[[group]]
id = 1
policy = "weighted"
members = [{ gateway = 1, metric = 0 }, { gateway = 4, metric = 30, weight = 2 }]
[[prefix]]
name = "/shop/b"
group = 1
[[identity]]
id = "pod1/*"
prefixes = ["/shop/a"]
ports = ["pod1"]
[[access]]
id = 1
caller = "/id/pod3"
callee = "/shop/b"
allow = false
"#;

fn error(text: &str) -> String {
    check::check(Path::new("r.toml"), text)
        .unwrap_err()
        .to_string()
}

/// The file with `old` replaced by `new`, which must be there.
fn with(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    error(&GOOD.replacen(old, new, 1))
}

#[test]
fn a_good_file_is_understood() {
    let routes = check::check(Path::new("r.toml"), GOOD).unwrap();
    assert_eq!((routes.node, routes.domain), (NodeId(1), Domain(1)));
    let tables = &routes.tables;
    assert_eq!(tables.adjacencies[&1].minimum_ttl, 255);
    assert_eq!(tables.adjacencies[&2].key.len(), 16);
    assert_eq!(tables.gateways.len(), 2, "metric, and delay after it");
    assert_eq!(tables.gateways[&(1, 4)].next_hops, [1]);
    assert!(tables.groups[&1].weighted);
    assert_eq!(tables.prefixes.len(), 1);
    let rule = routes.rules("pod1/a").next().unwrap();
    assert!(rule.may_serve(NameBuf::parse("/shop/a/v1").unwrap().as_name()));
    assert!(!rule.may_serve(NameBuf::parse("/shop/ab").unwrap().as_name()));
    assert!(!rule.may_serve(NameBuf::parse("/shop").unwrap().as_name()));
    assert!(rule.allows_port("pod1") && !rule.allows_port("pod2"));
    assert!(routes.rules("pod1/").next().is_none() && routes.rules("pod2/a").next().is_none());
}

#[test]
fn a_delay_entry_of_its_own_counts() {
    let text =
        format!("{GOOD}\n[[gateway]]\nid = 4\ntopology = \"delay\"\nmetric = 9\nnext_hops = [2]\n");
    let routes = check::check(Path::new("r.toml"), &text).unwrap();
    assert_eq!(routes.tables.gateways[&(1, 4)].next_hops, [2]);
    assert_eq!(routes.tables.gateways[&(0, 4)].next_hops, [1]);
}

#[test]
fn mistakes_are_named_with_file_line_and_field() {
    for (old, new, expected) in [
        ("id = 1", "id = 0", "r.toml:3: [node] id: must be between 1"),
        (
            "peer = 5",
            "peer = \"x\"",
            "r.toml:7: [[adjacency]] peer: invalid type: string \"x\"",
        ),
        (
            "peer = 5",
            "peers = 5",
            "r.toml:7: [[adjacency]]: unknown field `peers`",
        ),
        (
            "local = \"10.0.1.0\"",
            "",
            "r.toml:5: [[adjacency]] local: missing",
        ),
        (
            "10.0.1.1",
            "10.0.1.1/31",
            "r.toml:9: [[adjacency]] remote: \"10.0.1.1/31\" is not an IP address",
        ),
        (
            "10.0.1.1",
            "fd00::1",
            "r.toml:9: [[adjacency]] remote: local 10.0.1.0 and remote fd00::1",
        ),
        (
            "\"ethernet\"",
            "\"vxlan\"",
            "r.toml:14: [[adjacency]] encapsulation: \"vxlan\" is not known",
        ),
        (
            "000102",
            "00010",
            "r.toml:16: [[adjacency]] key_hex: is not hexadecimal",
        ),
        (
            "000102030405060708",
            "00",
            "r.toml:16: [[adjacency]] key_hex: is 8 bytes long",
        ),
        (
            "id = 2",
            "id = 1",
            "r.toml:11: [[adjacency]] id: adjacency 1 is already defined",
        ),
        (
            "next_hops = [1]",
            "next_hops = [9]",
            "r.toml:20: [[gateway]] next_hops: adjacency 9 is not defined; add a [[adjacency]]",
        ),
        (
            "next_hops = [1]",
            "next_hops = []",
            "r.toml:20: [[gateway]] next_hops: is empty",
        ),
        (
            "node_protecting = 2",
            "node_protecting = 7",
            "r.toml:21: [[gateway]] node_protecting: adjacency 7",
        ),
        (
            "\"weighted\"",
            "\"random\"",
            "r.toml:24: [[group]] policy: \"random\" is not known",
        ),
        (
            "gateway = 4,",
            "gateway = 1,",
            "r.toml:25: [[group]] members: member gateway 1 is already",
        ),
        (
            "/shop/b",
            "shop/b",
            "r.toml:27: [[prefix]] name: \"shop/b\" is not a name: name text, byte 0",
        ),
        (
            "/shop/b",
            "/dmsc/b",
            "r.toml:27: [[prefix]] name: /dmsc/b starts with /dmsc",
        ),
        (
            "group = 1",
            "group = 2",
            "r.toml:28: [[prefix]] group: group 2 is not defined",
        ),
        (
            "pod1/*",
            "pod1*",
            "r.toml:30: [[identity]] id: \"pod1*\" is not an identity",
        ),
        (
            "\"/shop/a\"",
            "\"/shop//a\"",
            "r.toml:31: [[identity]] prefixes:",
        ),
        (
            "caller = \"/id/pod3\"",
            "caller = \"x\"",
            "r.toml:35: [[access]] caller:",
        ),
        (
            "remote = \"10.0.1.1\"",
            "remote = \"10.0.1.1\"\nminimum_ttl = 64",
            "r.toml:10: [[adjacency]] minimum_ttl: 64 accepts packets from beyond",
        ),
        (
            "remote = \"10.0.1.1\"",
            "remote = \"10.0.1.1\"\nmetric = 10",
            "r.toml:10: [[adjacency]] metric: not used in a routes file",
        ),
    ] {
        let message = with(old, new);
        assert!(message.starts_with(expected), "{old} -> {new}: {message}");
    }
}

#[test]
fn names_come_from_files_beside_the_routes() {
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("r.toml");
    let names = folder.path().join("names.txt");
    let text = format!(
        "{GOOD}\n[[prefix_file]]\npath = \"names.txt\"\ngroup = 1\n[[identity]]\nid = \"x\"\nprefix_file = \"names.txt\"\n"
    );
    std::fs::write(&routes, text).unwrap();
    std::fs::write(&names, "# a comment\n/n/1\n\n/n/2\n").unwrap();
    let loaded = Routes::load(&routes).unwrap();
    assert_eq!(loaded.tables.prefixes.len(), 3);
    assert_eq!(loaded.rules("x").next().unwrap().prefixes.len(), 2);

    std::fs::write(&names, "/n/1\n/n/ 2\n").unwrap();
    let message = Routes::load(&routes).unwrap_err().to_string();
    assert!(
        message.contains("names.txt:2: [[prefix_file]] path: \"/n/ 2\" is not a name"),
        "{message}"
    );
}

#[test]
fn another_node_is_refused() {
    let routes = check::check(Path::new("r.toml"), GOOD).unwrap();
    assert!(routes.check_node(NodeId(1)).is_ok());
    let message = routes.check_node(NodeId(2)).unwrap_err().to_string();
    assert!(
        message
            .starts_with("r.toml:3: [node] id: is 1, but the dataplane on this socket is node 2"),
        "{message}"
    );
}
