//! What is put on which NUMA node: buffers on that of the ports, tables on that of the workers, and what is to be said where these are not
//! the same. On a machine of one node, or one that does not tell, nothing is put anywhere.

use std::path::Path;

use dmsc_dpdk::{MemoryPolicy, NumaNode};

use super::machine::Machine;
use crate::config::{Config, HugePages, PortConfig};

/// Where the kernel tells of the machine.
const SYSFS: &str = "/sys";

/// Where everything goes. What is `None`, empty or [`MemoryPolicy::Local`] stays wherever it happens to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Placement {
    /// By port number: where its NIC is.
    pub(super) ports: Vec<Option<NumaNode>>,
    /// The node of the buffers of all ports.
    pub(super) buffers: Option<NumaNode>,
    /// EAL's main core: what EAL reserves, and what drivers of ports without a NIC have, is on its node.
    pub(super) main_core: Option<usize>,
    /// Cores for a worker that the configuration gives none.
    pub(super) floating: Vec<usize>,
    /// For the thread that makes buffers, as far as they are ordinary pages.
    pub(super) pages: MemoryPolicy,
    /// For the threads that make tables.
    pub(super) tables: MemoryPolicy,
    /// Cores of the node of the tables, for these threads.
    pub(super) near_tables: Vec<usize>,
    /// Cores of everything that is no worker, if workers have cores and leave some.
    pub(super) control: Vec<usize>,
    /// What slows packets down, and what to do about it.
    pub(super) warnings: Vec<String>,
}

impl Placement {
    /// For this machine and this process.
    pub(super) fn here(config: &Config) -> Placement {
        let allowed = core_affinity::get_core_ids();
        let allowed: Option<Vec<usize>> =
            allowed.map(|cores| cores.iter().map(|core| core.id).collect());
        let machine = Machine::read(Path::new(SYSFS));
        let mut placement = Placement::decide(config, &machine, allowed.as_deref());
        if placement != Placement::nowhere(config.ports.len())
            && MemoryPolicy::is_unset().is_ok_and(|unset| !unset)
        {
            tracing::info!(
                "the process was started with a NUMA policy (numactl, NUMAPolicy=), which stays: tables and ordinary pages follow it"
            );
            (placement.pages, placement.tables) = (MemoryPolicy::Local, MemoryPolicy::Local);
        }
        placement.set_apart(config, &machine, allowed.as_deref().unwrap_or_default());
        placement
    }

    fn nowhere(ports: usize) -> Placement {
        Placement {
            ports: vec![None; ports],
            ..Placement::default()
        }
    }

    /// For a machine; `allowed` are the cores that this process may run on, in rising order, `None` if that is not known.
    pub(super) fn decide(
        config: &Config,
        machine: &Machine,
        allowed: Option<&[usize]>,
    ) -> Placement {
        let mut placement = Placement::nowhere(config.ports.len());
        if !machine.has_several_nodes() {
            return placement;
        }
        let cores = Cores { machine, allowed };
        placement.ports = config
            .ports
            .iter()
            .map(|port| machine.node_of_port(&port.kind))
            .collect();
        let home = home(&placement.ports, &config.cores, machine);
        let mut nodes: Vec<NumaNode> = config
            .cores
            .iter()
            .filter_map(|&core| machine.node_of(core))
            .collect();
        if let Some(home) = home {
            if config.cores.is_empty() {
                placement.floating = cores.usable(home);
            }
            if !placement.floating.is_empty() {
                nodes.push(home);
            }
            placement.warnings = warnings(config, &placement, home, &cores);
        }
        nodes.sort_unstable();
        nodes.dedup();
        match nodes.as_slice() {
            [] => {}
            [node] => {
                placement.tables = MemoryPolicy::Prefer(*node);
                placement.near_tables = cores.usable(*node);
                // Of ports without a NIC only the workers touch the buffers.
                placement.buffers = Some(*node);
            }
            several => placement.tables = MemoryPolicy::Interleave(several.to_vec()),
        }
        placement.buffers = home.or(placement.buffers);
        if let Some(node) = placement.buffers {
            placement.pages = MemoryPolicy::Prefer(node);
        }
        placement.main_core = placement
            .buffers
            .filter(|&node| has_memory(config, machine, node))
            .and_then(|node| {
                let usable = cores.usable(node);
                let is_apart = |core: &&usize| !config.cores.contains(core);
                usable.iter().find(is_apart).or(usable.first()).copied()
            });
        placement
    }

    /// Says which of the `allowed` cores everything but the workers has: those that no worker has, first those on the node of the tables. None
    /// where workers are not pinned. EAL stays on the node where it would be without: there are its hugepages.
    fn set_apart(&mut self, config: &Config, machine: &Machine, allowed: &[usize]) {
        if config.cores.is_empty() {
            return;
        }
        let is_apart = |core: &usize| !config.cores.contains(core);
        self.control = allowed.iter().copied().filter(is_apart).collect();
        self.control
            .sort_by_key(|core| !self.near_tables.contains(core));
        if self.control.is_empty() || !machine.has_several_nodes() || self.main_core.is_some() {
            return;
        }
        let lowest = allowed.iter().min();
        let node = lowest.map(|core| machine.node_of(*core));
        let is_near = |core: &&usize| Some(machine.node_of(**core)) == node;
        self.main_core = self.control.iter().find(is_near).or(lowest).copied();
    }

    /// Writes into the log what is to be known of it.
    pub(super) fn tell(&self, data: &[usize]) {
        if !self.control.is_empty() {
            tracing::info!(?data, control = ?self.control, "cores");
        } else if !data.is_empty() {
            tracing::warn!(
                "no core is left beside the data cores: agent, publisher and exception path share them"
            );
        }
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        let buffers = self.buffers.map(|node| node.0);
        match &self.tables {
            MemoryPolicy::Local => {}
            MemoryPolicy::Prefer(node) => {
                tracing::info!(tables = node.0, buffers, "NUMA nodes");
            }
            MemoryPolicy::Interleave(nodes) => {
                let tables: Vec<_> = nodes.iter().map(|node| node.0).collect();
                tracing::info!(
                    ?tables,
                    buffers,
                    "NUMA nodes: workers are on several, so the pages of tables are on these in turn, and each worker has some of them far away"
                );
            }
        }
    }
}

/// What [`crate::start::run`] would warn of on this machine: ports that are on another NUMA node than the workers, and what to do about it.
pub fn placement_warnings(config: &Config) -> Vec<String> {
    Placement::here(config).warnings
}

/// The cores of a node, as far as this process may have them.
struct Cores<'a> {
    machine: &'a Machine,
    allowed: Option<&'a [usize]>,
}

impl Cores<'_> {
    fn usable(&self, node: NumaNode) -> Vec<usize> {
        let all = self.machine.cores(node).iter().copied();
        all.filter(|core| self.allowed.is_none_or(|allowed| allowed.contains(core)))
            .collect()
    }

    /// For people: what may be used, or what would have to be allowed.
    fn remedy(&self, node: NumaNode) -> String {
        let usable = self.usable(node);
        if usable.is_empty() {
            let all = ranges(self.machine.cores(node));
            return format!(
                "{all} (allow this process to run on them: taskset, cpuset, CPUAffinity= of its unit)"
            );
        }
        ranges(&usable)
    }
}

/// The node of most NICs, of those the one of most workers, of those the lowest.
fn home(ports: &[Option<NumaNode>], cores: &[usize], machine: &Machine) -> Option<NumaNode> {
    let there = ports.iter().flatten().copied();
    let workers = |node| {
        let on = cores
            .iter()
            .filter(|&&core| machine.node_of(core) == Some(node));
        on.count()
    };
    there.max_by_key(|&node| {
        let nics = ports.iter().filter(|&&other| other == Some(node)).count();
        (nics, workers(node), std::cmp::Reverse(node))
    })
}

/// Whether moving EAL there takes no hugepages from it: it would not start where it finds fewer than it shall reserve.
fn has_memory(config: &Config, machine: &Machine, node: NumaNode) -> bool {
    let wanted = u64::from(config.memory_mb);
    config.huge == HugePages::No
        || machine.free_hugepages_mb(node) >= wanted
        || machine.all_free_hugepages_mb() < wanted
}

fn warnings(
    config: &Config,
    placement: &Placement,
    home: NumaNode,
    cores: &Cores<'_>,
) -> Vec<String> {
    let placed = || config.ports.iter().zip(&placement.ports);
    let mut warnings = Vec::new();
    for (port, node) in placed().filter_map(|(port, node)| Some((port, (*node)?))) {
        if node != home {
            let others = placed().filter(|(_, node)| **node == Some(home));
            let others: Vec<_> = others.map(|(port, _)| format!("{:?}", port.name)).collect();
            let (name, others) = (&port.name, others.join(", "));
            warnings.push(format!(
                "port {name:?} is on NUMA node {node}, and the buffers are on node {home}, that of port {others}: its packets cross between the nodes; put its NIC into a slot of node {home}, or give it a dataplane of its own on cores {}",
                cores.remedy(node)
            ));
        } else if config.cores.is_empty() {
            warnings.extend(shut_out(port, placement, home, cores));
        } else {
            warnings.extend(far_cores(port, &config.cores, home, cores));
        }
    }
    warnings
}

/// The worker may run anywhere but where the port is.
fn shut_out(
    port: &PortConfig,
    placement: &Placement,
    home: NumaNode,
    cores: &Cores<'_>,
) -> Option<String> {
    let name = &port.name;
    placement.floating.is_empty().then(|| format!(
        "port {name:?} is on NUMA node {home}, and this process may run on no core of it: its packets cross between the nodes; use cores {}",
        cores.remedy(home)
    ))
}

/// Workers' cores that are on other nodes than the port, a warning for each of these nodes.
fn far_cores(
    port: &PortConfig,
    workers: &[usize],
    home: NumaNode,
    cores: &Cores<'_>,
) -> Vec<String> {
    let node_of = |core| cores.machine.node_of(core).filter(|&node| node != home);
    let mut nodes: Vec<NumaNode> = workers.iter().filter_map(|&core| node_of(core)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let warning = |node| {
        let far = workers.iter().copied();
        let mut far: Vec<usize> = far.filter(|&core| node_of(core) == Some(node)).collect();
        far.sort_unstable();
        let (noun, are) = if far.len() == 1 {
            ("core", "is")
        } else {
            ("cores", "are")
        };
        let (name, far) = (&port.name, ranges(&far));
        format!(
            "port {name:?} is on NUMA node {home}, and {noun} {far} of workers.cores {are} on node {node}: its packets cross between the nodes; name cores of node {home} in [workers] cores: {}",
            cores.remedy(home)
        )
    };
    nodes.into_iter().map(warning).collect()
}

/// Rising numbers as the kernel writes them: `0-3,8`.
fn ranges(cores: &[usize]) -> String {
    let runs = cores.chunk_by(|one, next| one + 1 == *next);
    let texts = runs.filter_map(|run| match run {
        [] => None,
        [one] => Some(one.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::machine;
    use super::*;

    const NODES: [NumaNode; 2] = [NumaNode(0), NumaNode(1)];

    /// A gateway whose ports are on these interfaces, with these cores for workers.
    fn config(interfaces: &[&str], cores: &str) -> Config {
        let mut text = format!(
            "[node]\nid = 1\nname = \"sg1\"\nrole = \"sg\"\n[agent]\nsocket = \"/tmp/a\"\n[workers]\ncores = {cores}\n"
        );
        for interface in interfaces {
            text += &match *interface {
                "memory" => "[[port]]\nname = \"memory\"\nkind = \"vhost\"\nsocket = \"/tmp/v\"\nrole = \"pod\"\n".to_owned(),
                nic => format!("[[port]]\nname = \"to-{nic}\"\nkind = \"af_packet\"\ninterface = \"{nic}\"\nrole = \"router\"\n"),
            };
        }
        Config::parse(Path::new("x.toml"), &text).unwrap()
    }

    /// On a machine of nodes 0 (cores 0 to 3, eth0, eth2) and 1 (4 to 7, eth1).
    fn of_two(interfaces: &[&str], cores: &str, allowed: Option<&[usize]>) -> Placement {
        let nics = [("eth0", "0\n"), ("eth1", "1\n"), ("eth2", "0\n")];
        let (_sysfs, machine) = machine(&["0-3\n", "4-7\n"], &nics);
        Placement::decide(&config(interfaces, cores), &machine, allowed)
    }

    #[test]
    fn on_one_node_nothing_is_placed() {
        let (_sysfs, one) = machine(&["0-7\n"], &[("eth0", "0\n")]);
        for cores in ["[]", "[2, 3]"] {
            let config = config(&["eth0", "memory"], cores);
            assert_eq!(
                Placement::decide(&config, &one, Some(&[0, 1, 2, 3])),
                Placement::nowhere(2)
            );
        }
        // Memory without cores is no second node for workers.
        let (_sysfs, one) = machine(&["0-7\n", "\n"], &[("eth0", "0\n")]);
        let config = config(&["eth0"], "[2]");
        assert_eq!(
            Placement::decide(&config, &one, None),
            Placement::nowhere(1)
        );
    }

    #[test]
    fn where_nothing_is_known_nothing_is_placed() {
        let sysfs = tempfile::tempdir().unwrap();
        let machine = Machine::read(&sysfs.path().join("none"));
        let config = config(&["eth0"], "[2]");
        assert_eq!(
            Placement::decide(&config, &machine, None),
            Placement::nowhere(1)
        );
    }

    #[test]
    fn cores_on_the_node_of_the_ports_are_no_matter() {
        let placement = of_two(&["eth1", "memory"], "[5, 6]", None);
        assert_eq!(
            placement,
            Placement {
                ports: vec![Some(NODES[1]), None],
                buffers: Some(NODES[1]),
                main_core: Some(4),
                floating: vec![],
                pages: MemoryPolicy::Prefer(NODES[1]),
                tables: MemoryPolicy::Prefer(NODES[1]),
                near_tables: vec![4, 5, 6, 7],
                control: vec![],
                warnings: vec![],
            }
        );
    }

    #[test]
    fn a_worker_without_cores_goes_to_the_ports() {
        let placement = of_two(&["eth1"], "[]", Some(&[0, 1, 6, 7]));
        assert_eq!(placement.floating, [6, 7]);
        assert_eq!(placement.main_core, Some(6));
        assert_eq!(placement.tables, MemoryPolicy::Prefer(NODES[1]));
        assert!(placement.warnings.is_empty());
        let placement = of_two(&["eth1"], "[]", Some(&[0, 1]));
        assert!(placement.floating.is_empty());
        assert_eq!(placement.main_core, None);
        assert_eq!(placement.tables, MemoryPolicy::Local);
        assert_eq!(
            placement.warnings,
            [
                "port \"to-eth1\" is on NUMA node 1, and this process may run on no core of it: its packets cross between the nodes; \
                 use cores 4-7 (allow this process to run on them: taskset, cpuset, CPUAffinity= of its unit)"
            ]
        );
    }

    #[test]
    fn cores_far_from_a_port_are_named_with_the_remedy() {
        let placement = of_two(&["eth1", "memory"], "[2]", None);
        assert_eq!(
            placement.warnings,
            [
                "port \"to-eth1\" is on NUMA node 1, and core 2 of workers.cores is on node 0: its packets cross between the nodes; \
                 name cores of node 1 in [workers] cores: 4-7"
            ]
        );
        // Buffers are written by the NIC and tables read by the workers.
        assert_eq!(placement.buffers, Some(NODES[1]));
        assert_eq!(placement.tables, MemoryPolicy::Prefer(NODES[0]));

        let placement = of_two(&["eth0"], "[5, 1, 7, 6]", Some(&[0, 1, 5, 6, 7]));
        assert_eq!(
            placement.warnings,
            [
                "port \"to-eth0\" is on NUMA node 0, and cores 5-7 of workers.cores are on node 1: its packets cross between the nodes; \
                 name cores of node 0 in [workers] cores: 0-1"
            ]
        );
        assert_eq!(placement.tables, MemoryPolicy::Interleave(NODES.to_vec()));
    }

    #[test]
    fn buffers_go_to_the_node_of_most_ports() {
        let placement = of_two(&["eth1", "eth0", "eth2"], "[0]", None);
        assert_eq!(placement.buffers, Some(NODES[0]));
        assert_eq!(
            placement.warnings,
            [
                "port \"to-eth1\" is on NUMA node 1, and the buffers are on node 0, that of port \"to-eth0\", \"to-eth2\": its packets \
                 cross between the nodes; put its NIC into a slot of node 0, or give it a dataplane of its own on cores 4-7"
            ]
        );
        // One each: where the workers are.
        let placement = of_two(&["eth0", "eth1"], "[4]", None);
        assert_eq!(placement.buffers, Some(NODES[1]));
        assert_eq!(placement.warnings.len(), 1);
        let placement = of_two(&["eth1", "eth0"], "[]", None);
        assert_eq!(placement.buffers, Some(NODES[0]));
    }

    #[test]
    fn ports_without_a_nic_follow_the_workers() {
        let placement = of_two(&["memory"], "[5]", None);
        assert_eq!(placement.buffers, Some(NODES[1]));
        assert_eq!(placement.tables, MemoryPolicy::Prefer(NODES[1]));
        assert!(placement.warnings.is_empty());
        assert_eq!(of_two(&["memory"], "[]", None), Placement::nowhere(1));
        let placement = of_two(&["memory"], "[3, 5]", None);
        assert_eq!((placement.buffers, placement.main_core), (None, None));
        assert!(placement.warnings.is_empty());
    }

    #[test]
    fn what_is_no_worker_has_the_other_cores_and_eal_stays_on_its_node() {
        let apart = |cores: &str, allowed: &[usize]| {
            let (_sysfs, machine) = machine(&["0-3\n", "4-7\n"], &[]);
            let config = config(&["memory"], cores);
            let mut placement = Placement::decide(&config, &machine, Some(allowed));
            placement.set_apart(&config, &machine, allowed);
            (placement.control, placement.main_core)
        };
        let all = [0, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(apart("[]", &all), (vec![], None));
        assert_eq!(apart("[0, 5]", &all), (vec![1, 2, 3, 4, 6, 7], Some(1)));
        // No core of its node is left: EAL starts beside a worker.
        assert_eq!(apart("[0, 1, 2, 3, 5]", &all), (vec![4, 6, 7], Some(0)));
        assert_eq!(apart("[0, 5]", &[0, 5]), (vec![], None));
        // Near the tables first.
        assert_eq!(apart("[5]", &all).0, [4, 6, 7, 0, 1, 2, 3]);
    }

    #[test]
    fn eal_is_not_moved_to_where_it_would_find_too_few_hugepages() {
        let (sysfs, _) = machine(&["0-3\n", "4-7\n"], &[("eth1", "1\n")]);
        let free = |folder: &str, pages: &str| {
            let size = sysfs.path().join(folder).join("hugepages-2048kB");
            std::fs::create_dir_all(&size).unwrap();
            std::fs::write(size.join("free_hugepages"), pages).unwrap();
            Machine::read(sysfs.path())
        };
        let config = config(&["eth1"], "[5]"); // 128 MiB
        let main_core = |machine| Placement::decide(&config, &machine, None).main_core;
        assert_eq!(main_core(free("kernel/mm/hugepages", "63\n")), Some(4));
        assert_eq!(main_core(free("kernel/mm/hugepages", "64\n")), None);
        let node = "devices/system/node/node1/hugepages";
        assert_eq!(main_core(free(node, "63\n")), None);
        assert_eq!(main_core(free(node, "64\n")), Some(4));
    }

    #[test]
    fn ranges_are_written_as_the_kernel_does() {
        assert_eq!(ranges(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
        assert_eq!(ranges(&[]), "");
    }
}
