//! Tests of plans, on the lab of the demo and on labs made up.

use super::*;

pub(crate) fn figure2() -> Plan {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf/lab/figure2.toml");
    Plan::new(&LabFile::read(&path).unwrap()).unwrap()
}

#[test]
fn figure_2_is_planned() {
    let plan = figure2();
    assert_eq!(
        (plan.nodes.len(), plan.links.len(), plan.pods.len()),
        (7, 11, 6)
    );
    assert_eq!(plan.nodes[0].id, NodeId(1));
    assert_eq!(
        plan.nodes[0]
            .ports
            .iter()
            .map(|p| p.name.as_str())
            .collect::<Vec<_>>(),
        ["sr1", "sr2", "pod1", "pod1b"]
    );
    assert_eq!(plan.pods[1].address, "10.1.2.2");
    let names: usize = plan
        .pods
        .iter()
        .flat_map(|p| &p.services)
        .map(|s| s.names.len())
        .sum();
    assert!(names >= 19);
}

#[test]
fn addresses_and_interface_names_are_unique_and_fit() {
    let plan = figure2();
    let mut seen = std::collections::HashSet::new();
    for node in &plan.nodes {
        for port in &node.ports {
            assert!(seen.insert(port.address.clone()), "{} twice", port.address);
            assert!(seen.insert(port.mac.clone()), "{} twice", port.mac);
            assert!(
                port.name.len() <= 13,
                "x-{} must be an interface",
                port.name
            );
        }
    }
    assert!(plan.namespaces().iter().all(|n| n.starts_with("f2-")));
}

#[test]
fn the_authority_with_the_longest_subtree_has_the_policy_of_a_name() {
    let plan = figure2();
    let of = |name| {
        let index = plan.authority_of(&NameBuf::parse(name).unwrap());
        index.map(|i| plan.authorities[i].name.as_str())
    };
    assert_eq!(of("/shop/b"), Some("spa1"));
    assert_eq!(of("/shop/payment/refunds"), Some("spa2"));
    assert_eq!(of("/elsewhere"), None);
    assert_eq!(
        plan.authorities.iter().map(|a| a.port).collect::<Vec<_>>(),
        [35_032, 35_034]
    );
}

#[test]
fn links_are_found_from_either_end() {
    let plan = figure2();
    assert_eq!(plan.link("sr1-sr3").unwrap(), plan.link("sr3-sr1").unwrap());
    assert!(
        plan.link("sr1-sr9")
            .unwrap_err()
            .to_string()
            .contains("sr1-sr3")
    );
    assert!(
        plan.namespace_of("pod9")
            .unwrap_err()
            .to_string()
            .contains("pod1b")
    );
}

#[test]
fn a_lab_that_is_too_large_is_refused_with_an_estimate() {
    let plan = figure2();
    assert!(plan.fits(1).is_ok());
    let error = plan.fits(0).unwrap_err().to_string();
    assert!(
        error.contains("at most 0") && error.contains("MB"),
        "{error}"
    );
}

#[test]
fn gateways_are_told_their_scheduling_centers() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf/lab/scheduled.toml");
    let plan = Plan::new(&LabFile::read(&path).unwrap()).unwrap();
    let centers: Vec<_> = plan.centers.iter().map(|c| (c.replica, c.port)).collect();
    assert_eq!(centers, [(1, 35_040), (2, 35_041)]);
    let paths = crate::configs::Paths(std::path::Path::new("/run/lab"));
    let file = |index| {
        let changes = crate::routes::Changes::default();
        let text = crate::configs::node_file(&plan, index, &changes, paths).unwrap();
        text.parse::<toml::Table>().unwrap()
    };
    assert_eq!(
        file(1)["scheduling"]["centers"].as_array().unwrap().len(),
        2
    );
    // A router sends nothing up, and holds no policies.
    assert!(!file(3).contains_key("scheduling"));
    let center: toml::Table = crate::configs::center_file(&plan, 1, paths)
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(center["scsc"]["replica"].as_integer(), Some(2));
    assert_eq!(
        center["scsc"]["operator"].as_str(),
        Some("/run/lab/scsc2.operator.sock")
    );
    assert_eq!(center["scsc"]["page"].as_str(), Some("127.0.0.1:9469"));
    assert_eq!(
        center["threshold"][0]["delay_ms"]["clear"].as_float(),
        Some(14.0)
    );
}
