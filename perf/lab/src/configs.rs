//! The configuration files of a lab's processes, in the formats of the programs themselves.

mod authority;
mod center;
mod dataplane;
mod edge;
mod node;
mod paths;
mod policy;

pub use authority::authority_file;
pub use center::center_file;
pub use dataplane::{dataplane_file, tap};
pub use edge::edge_file;
pub use node::node_file;
pub use paths::Paths;
pub use policy::policy_file;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::Plan;
    use crate::plan::tests::figure2;
    use crate::routes::Changes;

    const PATHS: fn() -> Paths<'static> = || Paths(Path::new("/run/lab"));

    fn node(plan: &Plan, name: &str, changes: &Changes) -> toml::Table {
        let index = plan.node(name).unwrap();
        let text = node_file(plan, index, changes, PATHS()).unwrap();
        text.parse().unwrap()
    }

    fn adjacencies_of(table: &toml::Table) -> Vec<&toml::Table> {
        let all = table["adjacency"].as_array().unwrap();
        all.iter().filter_map(toml::Value::as_table).collect()
    }

    #[test]
    fn a_gateway_knows_its_authorities_and_links() {
        let plan = figure2();
        let table = node(&plan, "sg4", &Changes::default());
        assert_eq!(
            table["gateway"]["authorities"],
            toml::Value::from(vec!["10.99.4.2:35032", "10.99.4.2:35034"])
        );
        assert_eq!(
            table["node"]["operator"].as_str(),
            Some("/run/lab/sg4.operator.sock")
        );
        let links = adjacencies_of(&table);
        assert_eq!(links.len(), 2);
        assert_eq!(links[1]["encapsulation"].as_str(), Some("ethernet"));
        assert_eq!(links[1]["metric"].as_integer(), Some(30));
        assert!(!links[1]["remote"].as_str().unwrap().is_empty());
        assert!(
            node(&plan, "sr1", &Changes::default())
                .get("gateway")
                .is_none()
        );
    }

    #[test]
    fn a_changed_metric_is_in_the_files_of_both_ends() {
        let plan = figure2();
        let changes = Changes {
            metrics: [(plan.link("sr1-sr3").unwrap(), 77)].into(),
            ..Changes::default()
        };
        for name in ["sr1", "sr3"] {
            let table = node(&plan, name, &changes);
            let links = adjacencies_of(&table);
            let changed = links
                .iter()
                .filter(|l| l["metric"].as_integer() == Some(77));
            assert_eq!(changed.count(), 1);
        }
    }

    #[test]
    fn the_foreign_fabric_has_a_next_hop_and_a_key() {
        let plan = figure2();
        let table = node(&plan, "sr1", &Changes::default());
        let links = adjacencies_of(&table);
        let foreign: Vec<_> = links
            .iter()
            .filter(|a| a.contains_key("next_hop"))
            .collect();
        assert_eq!(foreign.len(), 1);
        assert_eq!(foreign[0]["minimum_ttl"].as_integer(), Some(253));
        assert_eq!(foreign[0]["key_hex"].as_str().unwrap().len(), 64);
        let other = node(&plan, "sr2", &Changes::default());
        let links = adjacencies_of(&other);
        let keys: Vec<_> = links.iter().filter_map(|a| a.get("key_hex")).collect();
        assert_eq!(keys, [&foreign[0]["key_hex"]]);
    }

    #[test]
    fn each_authority_has_its_own_part_of_the_policy() {
        let plan = figure2();
        let policy = |index| -> toml::Table {
            let text = policy_file(&plan, index, &Changes::default(), 60).unwrap();
            text.parse().unwrap()
        };
        for index in 0..2 {
            let text = policy_file(&plan, index, &Changes::default(), 60).unwrap();
            dmsc_spa::policy::Policy::parse(&text, Path::new("/")).unwrap();
        }
        let (first, second) = (policy(0), policy(1));
        assert_eq!(
            first["authority"]["authorisation_seconds"].as_integer(),
            Some(60)
        );
        let of = |table: &toml::Table, identity: &str| {
            table["policy"]
                .as_array()
                .unwrap()
                .iter()
                .find(|p| p["identity"].as_str() == Some(identity))
                .map(|p| p["subtrees"].as_array().unwrap().len())
        };
        assert_eq!(of(&first, "pod3/shop"), Some(1));
        assert_eq!(of(&second, "pod3/shop"), Some(3));
        assert_eq!(of(&second, "pod1/a"), None);
        assert_eq!(of(&first, "pod2/late"), Some(1));
        let spa: toml::Table = authority_file(&plan, 1, PATHS()).unwrap().parse().unwrap();
        assert_eq!(spa["spa"]["listen"].as_str(), Some("0.0.0.0:35034"));
    }

    #[test]
    fn a_dataplane_gets_its_ports_in_order() {
        let plan = figure2();
        let table: toml::Table = dataplane_file(&plan, 0, PATHS()).unwrap().parse().unwrap();
        let ports = table["port"].as_array().unwrap();
        assert_eq!(ports.len(), 5);
        assert_eq!(ports[2]["role"].as_str(), Some("pod"));
        assert_eq!(ports[2]["budget_pps"].as_integer(), Some(400_000));
        assert_eq!(ports[3]["budget_pps"].as_integer(), Some(20_000));
        assert!(ports[0].get("budget_pps").is_none());
    }

    #[test]
    fn a_shared_port_has_a_socket_and_is_for_one_identity() {
        let plan = figure2();
        let table: toml::Table = dataplane_file(&plan, 0, PATHS()).unwrap().parse().unwrap();
        let port = table["port"][4].as_table().unwrap();
        assert_eq!(port["name"].as_str(), Some("pod1_v"));
        assert_eq!(port["kind"].as_str(), Some("vhost"));
        assert_eq!(port["socket"].as_str(), Some("/run/lab/sg1.pod1_v.sock"));
        assert_eq!(port["addresses"][0].as_str(), Some("10.1.255.1/30"));
        assert!(port.get("interface").is_none());
        let table = node(&plan, "sg1", &Changes::default());
        let may = &table["gateway"]["port"][0];
        assert_eq!(may["name"].as_str(), Some("pod1_v"));
        assert_eq!(may["identities"][0].as_str(), Some("pod1/edge"));
        let other = node(&plan, "sg3", &Changes::default());
        assert!(other["gateway"].get("port").is_none());
    }
}
