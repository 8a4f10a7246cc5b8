//! What the file may say, and what it is told otherwise.

use super::*;

const GOOD: &str = r#"
operator = "/run/dmsc/edge.sock"
metrics = "127.0.0.1:9464"
access_log = "stdout"

[[pod]]
identity = "pod1/curl"
credentials = "/etc/dmsc/pods/curl"
gateway = "10.1.1.1"
netns = "/run/netns/pod1"
  [pod.shared]
  socket = "/run/dmsc/pod1v.sock"
  port = "pod1v"
  address = "10.1.9.2"
  [pod.outbound]
  http = "127.0.0.1:15001"
  dns = "127.0.0.1:53"
  tcp = "127.0.0.1:15002"
  timeout = "2500ms"
  class = 5
  [[pod.redirect]]
  address = "10.96.0.10:80"
  name = "/shop/web"
  [[pod.serve]]
  prefix = "/shop/cart/v1"
  to = "127.0.0.1:8080"
  health = { kind = "http", path = "/", every = "1s", timeout = "500ms", rise = 1, fall = 2 }
"#;

fn mistakes(text: &str) -> Vec<String> {
    Config::parse(text, Path::new("edge.toml")).unwrap_err().0
}

#[test]
fn a_whole_file() {
    let config = Config::parse(GOOD, Path::new("edge.toml")).unwrap();
    assert_eq!((config.series, config.pods.len()), (5_000, 1));
    let pod = &config.pods[0];
    assert_eq!(pod.gateway.to_string(), "10.1.1.1:35030");
    let shared = pod.shared.as_ref().unwrap();
    assert_eq!(
        (shared.port.as_str(), shared.address.to_string()),
        ("pod1v", "10.1.9.2".into())
    );
    let outbound = pod.outbound.as_ref().unwrap();
    assert_eq!(outbound.timeout, Duration::from_millis(2_500));
    assert_eq!((outbound.suffix.as_str(), outbound.class.0), ("dmsc", 5));
    assert!(outbound.range.contains("198.18.255.1".parse().unwrap()));
    assert!(!outbound.range.contains("198.19.0.0".parse().unwrap()));
    assert_eq!(
        pod.serves[0].health.kind,
        HealthKind::Http { path: "/".into() }
    );
}

#[test]
fn mistakes_name_table_and_field() {
    for (from, to, expected) in [
        (
            "\"10.1.1.1\"",
            "\"10.1.1\"",
            "[[pod]] 1 (pod1/curl) gateway = \"10.1.1\": ",
        ),
        (
            "10.1.9.2",
            "10.1.9.2/30",
            "[[pod]] 1 (pod1/curl) [pod.shared] address = \"10.1.9.2/30\": write the pod's IPv4 address",
        ),
        (
            "\"pod1v\"",
            "\"\"",
            "[pod.shared] port = \"\": write the name of the gateway's port",
        ),
        (
            "15001",
            "15002",
            "[[pod]] 1 (pod1/curl) [pod.outbound] tcp = \"127.0.0.1:15002\": [[pod]] 1 (pod1/curl) [pod.outbound] http listens there already",
        ),
        (
            "2500ms",
            "2h",
            "[pod.outbound] timeout = \"2h\": write a number with ms or s",
        ),
        (
            "10.96.0.10:80",
            "web:80",
            "[[pod.redirect]] 1 address = \"web:80\": write an IP address",
        ),
        ("/shop/web", "shop", "[[pod.redirect]] 1 name = \"shop\": "),
        (
            "\"http\"",
            "\"https\"",
            "[[pod.serve]] 1 health kind = \"https\": write \"tcp\"",
        ),
        (
            "fall = 2",
            "fall = 0",
            "[[pod.serve]] 1 health fall = \"0\": must be between 1 and 100",
        ),
        (
            "  dns",
            "  range = \"198.18.1.0/16\"\n  dns",
            "range = \"198.18.1.0/16\": the block begins at 198.18.0.0",
        ),
        ("  tcp", "  tpc", "edge.toml:18: unknown field `tpc`"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        let found = mistakes(&text);
        assert!(found[0].contains(expected), "{expected}\n{found:?}");
    }
    assert!(mistakes("")[0].contains("[[pod]]: missing"));
    let twice = format!("{GOOD}\n{}", &GOOD[GOOD.find("[[pod]]").unwrap()..]);
    assert!(
        mistakes(&twice)
            .iter()
            .any(|one| one.contains("another [[pod]] has it"))
    );
    let memory = mistakes(&twice.replacen("pod1/curl", "pod1/b", 1));
    assert!(
        memory
            .iter()
            .any(|one| one.contains("[pod.shared] socket") && one.contains("another [[pod]]")),
        "{memory:?}"
    );
    let both = GOOD.replace("10.1.1.1", "x y").replace("1s", "1x");
    assert_eq!(mistakes(&both).len(), 2);
}
