use std::time::{Duration, Instant};

use super::*;

fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(text, Path::new("/nonexistent")).map_err(|error| error.to_string())
}

fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).expect(text)
}

#[test]
fn defaults_are_those_of_the_design() {
    let policy =
        parse("[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\"]").expect("good");
    assert_eq!(policy.authorisation_s, 3600);
    assert_eq!(policy.stale_s, 259_200);
    assert_eq!(policy.proof_s, 86_400);
    let rule = &policy.rules[0];
    assert_eq!((rule.domain, rule.maximum_depth), (Domain(1), 16));
    assert!(rule.allows_gateway(NodeId(77)));
    assert!(parse("").expect("nobody may do anything").rules.is_empty());
}

#[test]
fn patterns_are_those_of_the_routes_file() {
    let matches = |pattern: &str, identity: &str| {
        let text = format!("[[policy]]\nidentity = {pattern:?}\nsubtrees = [\"/a\"]");
        parse(&text).expect(pattern).rules[0].matches(identity)
    };
    assert!(matches("pod1/*", "pod1/a"));
    assert!(matches("pod1/*", "pod1/a/b"));
    assert!(!matches("pod1/*", "pod1/"));
    assert!(!matches("pod1/*", "pod1"));
    assert!(!matches("pod1/*", "pod10/a"));
    assert!(matches("*", "anything/at/all"));
    assert!(matches("pod1", "pod1"));
    assert!(!matches("pod1", "pod1/a"));
    for wrong in ["pod*", "*/a", "pod1/**", "", "/a", "a/", "a b", "a//*"] {
        let text = format!("[[policy]]\nidentity = {wrong:?}\nsubtrees = [\"/a\"]");
        let message = parse(&text).expect_err(wrong);
        assert!(
            message.contains("policy:2: [[policy]] identity"),
            "{message}"
        );
    }
}

#[test]
fn the_shortest_subtree_covers_on_component_boundaries() {
    let policy =
        parse("[[policy]]\nidentity = \"x\"\nsubtrees = [\"/shop/a/b\", \"/shop/a\", \"/lab\"]")
            .expect("good");
    let covers = |text: &str| match policy.rules[0].covers(name(text).as_name()) {
        Some(Cover::Subtree(subtree)) => subtree.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(covers("/shop/a/b/c"), "/shop/a");
    assert_eq!(covers("/lab"), "/lab");
    assert_eq!(covers("/shop"), "None");
    assert_eq!(covers("/shop/ab"), "None");
}

#[test]
fn all_mistakes_are_told_at_once_with_their_lines() {
    let message = parse(
        r#"[authority]
authorisation_seconds = 5

[[policy]]
identity = "pod*"
domain = 0
subtrees = ["shop", "/dmsc/1",
            "/a/b/c", "/x", "/x"]
maximum_depth = 2
gateways = []

[[policy]]
identity = "pod2"

[[policy]]
identity = "pod3"
names_file = "none.txt"
gateways = [0]
"#,
    )
    .expect_err("refused");
    let lines: Vec<&str> = message.lines().collect();
    let expected = [
        "policy:2: [authority] authorisation_seconds: must be between 10 and 2592000, not 5",
        "policy:5: [[policy]] identity: \"pod*\" is no identity",
        "policy:7: [[policy]] subtrees: \"shop\": name text, byte 0",
        "policy:7: [[policy]] subtrees: /dmsc/1 is reserved",
        "policy:8: [[policy]] subtrees: /a/b/c has 3 components, more than maximum_depth = 2",
        "policy:8: [[policy]] subtrees: /x stands there twice",
        "policy:6: [[policy]] domain: must be between 1 and",
        "policy:10: [[policy]] gateways: an empty list is nowhere",
        "policy:13: [[policy]]: lets nobody announce anything",
        "policy:17: [[policy]] names_file: /nonexistent/none.txt cannot be read",
        "policy:18: [[policy]] gateways: must be between 1",
    ];
    assert_eq!(lines.len(), expected.len(), "{message}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}\n{start}");
    }
    let message = parse("[[policy]]\nidentity = \"a\"\nsubtree = [\"/a\"]").expect_err("unknown");
    assert!(
        message.starts_with("policy:3: unknown field `subtree`"),
        "{message}"
    );
    let message = parse("[policy").expect_err("syntax");
    assert!(message.starts_with("policy:1: "), "{message}");
}

#[test]
fn a_dump_reads_back_as_the_same_policy() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("a \"b\".txt"), "# names\n/n/1\n\n/n/2\n").expect("write");
    let text = r#"
[authority]
authorisation_seconds = 20
[[policy]]
identity = "pod1/*"
subtrees = ["/shop/a", "/%2F"]
names_file = 'a "b".txt'
maximum_depth = 8
gateways = [1, 4]
[[policy]]
identity = "*"
domain = 7
subtrees = ["/lab"]
"#;
    let policy = Policy::parse(text, folder.path()).expect("good");
    assert_eq!(policy.rules[0].names.len(), 2);
    assert_eq!(
        policy.rules[0].covers(name("/n/2").as_name()),
        Some(Cover::Exact)
    );
    assert_eq!(policy.rules[0].covers(name("/n/2/x").as_name()), None);
    let again = Policy::parse(&policy.dump(), folder.path()).expect("dump");
    assert_eq!(again, policy);
    assert_eq!(again.dump(), policy.dump());
    assert!(policy.diff(&again).is_empty());
}

#[test]
fn a_difference_is_a_line() {
    let old = parse("[[policy]]\nidentity = \"a\"\nsubtrees = [\"/x\", \"/y\"]\n[[policy]]\nidentity = \"b\"\nsubtrees = [\"/z\"]").expect("good");
    let new = parse("[authority]\nstale_seconds = 0\n[[policy]]\nidentity = \"a\"\nsubtrees = [\"/y\", \"/w\"]\ngateways = [1]\nmaximum_depth = 4\n[[policy]]\nidentity = \"c\"\nsubtrees = [\"/z\"]").expect("good");
    assert_eq!(
        old.diff(&new),
        [
            "[authority] stale_seconds: 259200 -> 0",
            "[[policy]] a in domain 1: subtree /x removed",
            "[[policy]] a in domain 1: subtree /w added",
            "[[policy]] a in domain 1: maximum_depth: 16 -> 4",
            "[[policy]] a in domain 1: gateways: any -> 1",
            "[[policy]] b in domain 1: removed",
            "[[policy]] c in domain 1: added: /z, at most 16 components, gateways any",
        ]
    );
}

#[test]
fn many_names_load_quickly_and_their_mistakes_have_lines() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("names.txt");
    let names: String = (0..20_000)
        .map(|n| format!("/real/service-{n}/instance/v{}\n", n % 7))
        .collect();
    std::fs::write(&path, &names).expect("write");
    let text = "[[policy]]\nidentity = \"x\"\nnames_file = \"names.txt\"";
    // The least of several: other processes share this machine.
    let least = (0..5)
        .map(|_| {
            let start = Instant::now();
            let policy = Policy::parse(text, folder.path()).expect("good");
            let time = start.elapsed();
            assert_eq!(policy.rules[0].names.len(), 20_000);
            time
        })
        .min()
        .expect("runs");
    assert!(least < Duration::from_millis(100), "{least:?}");

    std::fs::write(&path, format!("{names}/bad//name\n")).expect("write");
    let error = Policy::parse(text, folder.path()).expect_err("refused");
    assert_eq!(error.0.len(), 1);
    assert!(error.0[0].contains("names.txt:20001: "), "{error}");
    std::fs::write(&path, "nonsense\n".repeat(1000)).expect("write");
    let error = Policy::parse(text, folder.path()).expect_err("refused");
    assert_eq!(error.0.len(), 101);
    assert!(error.0[100].ends_with("and 900 more"), "{error}");
}

#[test]
fn the_example_is_a_policy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf/spa.policy.toml");
    let policy = Policy::load(&path).expect("conf/spa.policy.toml");
    assert!(policy.rules.len() > 1);
}
