//! The NUMA nodes of the machine, as sysfs tells of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dmsc_dpdk::{NumaNode, free_hugepages_mb};

use crate::config::PortKind;

/// Cores are numbered below this: more than a kernel is built for, so that a wrong number fills no memory.
const MOST_CORES: usize = 1 << 16;

/// A node that has cores.
#[derive(Debug, Clone, Default)]
struct Node {
    /// In rising order.
    cores: Vec<usize>,
    free_hugepages_mb: u64,
}

/// What stands where.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    sysfs: PathBuf,
    /// Empty where nothing is known.
    nodes: BTreeMap<NumaNode, Node>,
}

impl Machine {
    /// Reads below `sysfs`, usually `/sys`. What cannot be read is a machine of which nothing is known, and is in the debug log.
    pub(super) fn read(sysfs: &Path) -> Machine {
        let nodes = nodes(&sysfs.join("devices/system/node")).unwrap_or_else(|error| {
            tracing::debug!(%error, sysfs = %sysfs.display(), "NUMA nodes are not known: nothing is placed by them");
            BTreeMap::new()
        });
        Machine {
            sysfs: sysfs.to_path_buf(),
            nodes,
        }
    }

    /// Whether it makes a difference where something is.
    pub(super) fn has_several_nodes(&self) -> bool {
        self.nodes.len() > 1
    }

    /// Where a core is.
    pub(super) fn node_of(&self, core: usize) -> Option<NumaNode> {
        let found = self
            .nodes
            .iter()
            .find(|(_, node)| node.cores.binary_search(&core).is_ok());
        found.map(|(number, _)| *number)
    }

    /// Cores of a node, in rising order.
    pub(super) fn cores(&self, node: NumaNode) -> &[usize] {
        self.nodes.get(&node).map_or(&[], |node| &node.cores)
    }

    /// Hugepages that are free on a node, MiB.
    pub(super) fn free_hugepages_mb(&self, node: NumaNode) -> u64 {
        self.nodes
            .get(&node)
            .map_or(0, |node| node.free_hugepages_mb)
    }

    /// Hugepages that are free wherever, MiB.
    pub(super) fn all_free_hugepages_mb(&self) -> u64 {
        free_hugepages_mb(&self.sysfs.join("kernel/mm/hugepages"))
    }

    /// Where the NIC of a port is. `None`: there is no NIC behind it, or its place is not known, or no core is there.
    ///
    /// Not what DPDK says of the port: buffers are made before ports are, and its drivers of kernel interfaces say the node of EAL's
    /// main core.
    pub(super) fn node_of_port(&self, kind: &PortKind) -> Option<NumaNode> {
        let folder = match kind {
            PortKind::Pci { address } => self.sysfs.join("bus/pci/devices").join(address),
            PortKind::AfPacket { interface } | PortKind::AfXdp { interface } => {
                self.sysfs.join("class/net").join(interface).join("device")
            }
            _ => return None,
        };
        // The device of a virtio interface says nothing, the PCI device that it is on does.
        [folder.join("numa_node"), folder.join("../numa_node")]
            .iter()
            .find_map(|file| fs::read_to_string(file).ok())
            .and_then(|text| text.trim().parse().ok()) // -1: the firmware does not say
            .map(NumaNode)
            .filter(|node| self.nodes.contains_key(node))
    }
}

/// Nodes that have cores.
fn nodes(folder: &Path) -> io::Result<BTreeMap<NumaNode, Node>> {
    let mut nodes = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node"));
        let Some(number) = number.and_then(|number| number.parse().ok()) else {
            continue; // "online", "possible", …
        };
        let list = entry.path().join("cpulist");
        let text = fs::read_to_string(&list)?;
        let cores = cores(&text).ok_or_else(|| {
            let what = format!("{}: {text:?} is no list of cores", list.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        if !cores.is_empty() {
            let node = Node {
                cores,
                free_hugepages_mb: free_hugepages_mb(&entry.path().join("hugepages")),
            };
            nodes.insert(NumaNode(number), node);
        }
    }
    Ok(nodes)
}

/// The cores of a list of the kernel, `0-3,8`, in rising order. Empty for a node that has memory only.
fn cores(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for piece in list.trim().split(',').filter(|piece| !piece.is_empty()) {
        let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST_CORES {
            return None;
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    Some(cores)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A machine in a folder: of each node its cores, of each interface what `numa_node` of its device says.
    pub(in crate::start) fn machine(
        nodes: &[&str],
        interfaces: &[(&str, &str)],
    ) -> (tempfile::TempDir, Machine) {
        let sysfs = tempfile::tempdir().unwrap();
        let write = |path: String, text: &str| {
            let path = sysfs.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("devices/system/node/online".into(), "0\n");
        for (number, cores) in nodes.iter().enumerate() {
            write(format!("devices/system/node/node{number}/cpulist"), cores);
        }
        for (name, node) in interfaces {
            write(format!("class/net/{name}/device/numa_node"), node);
        }
        let machine = Machine::read(sysfs.path());
        (sysfs, machine)
    }

    #[test]
    fn lists_of_cores() {
        assert_eq!(cores("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(cores("8,0-1,1"), Some(vec![0, 1, 8]));
        assert_eq!(cores("\n"), Some(vec![]));
        for bad in [
            "x",
            "1-",
            "-1",
            "3-1",
            "0-4294967295",
            "0:3",
            "18446744073709551616",
        ] {
            assert_eq!(cores(bad), None, "{bad}");
        }
    }

    #[test]
    fn nodes_and_what_is_on_them() {
        let nics = [
            ("eth0", "0\n"),
            ("eth1", "1\n"),
            ("eth2", "-1\n"),
            ("eth3", "7\n"),
        ];
        let (sysfs, machine) = machine(&["0-3\n", "4-7\n", "\n"], &nics);
        assert!(machine.has_several_nodes());
        assert_eq!(machine.cores(NumaNode(1)), [4, 5, 6, 7]);
        assert_eq!(machine.node_of(3), Some(NumaNode(0)));
        assert_eq!(machine.node_of(8), None);
        let of = |interface: &str| {
            machine.node_of_port(&PortKind::AfPacket {
                interface: interface.into(),
            })
        };
        assert_eq!(of("eth0"), Some(NumaNode(0)));
        assert_eq!(of("eth1"), Some(NumaNode(1)));
        assert_eq!((of("eth2"), of("eth3"), of("veth")), (None, None, None));
        assert_eq!(machine.node_of_port(&PortKind::Ring), None);

        let pci = sysfs.path().join("bus/pci/devices/0000:81:00.0");
        fs::create_dir_all(pci.join("virtio5")).unwrap();
        fs::write(pci.join("numa_node"), "1\n").unwrap();
        let address = "0000:81:00.0".to_owned();
        assert_eq!(
            machine.node_of_port(&PortKind::Pci { address }),
            Some(NumaNode(1))
        );
        let net = sysfs.path().join("class/net/eth4");
        fs::create_dir_all(&net).unwrap();
        std::os::unix::fs::symlink(pci.join("virtio5"), net.join("device")).unwrap();
        assert_eq!(of("eth4"), Some(NumaNode(1)));
    }

    #[test]
    fn hugepages_are_counted_by_node() {
        let (sysfs, _) = machine(&["0", "1"], &[]);
        let size = sysfs
            .path()
            .join("devices/system/node/node1/hugepages/hugepages-2048kB");
        fs::create_dir_all(&size).unwrap();
        fs::write(size.join("free_hugepages"), "64\n").unwrap();
        let machine = Machine::read(sysfs.path());
        assert_eq!(machine.free_hugepages_mb(NumaNode(0)), 0);
        assert_eq!(machine.free_hugepages_mb(NumaNode(1)), 128);
        assert_eq!(machine.all_free_hugepages_mb(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let (sysfs, whole) = machine(&["0-1", "2-3"], &[]);
        assert!(whole.has_several_nodes());
        fs::write(
            sysfs.path().join("devices/system/node/node1/cpulist"),
            "two, three",
        )
        .unwrap();
        let broken = Machine::read(sysfs.path());
        assert!(!broken.has_several_nodes() && broken.node_of(0).is_none());
        assert!(!Machine::read(&sysfs.path().join("none")).has_several_nodes());
    }
}
