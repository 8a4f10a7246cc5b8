//! Makes the namespaces and links of a plan.

use anyhow::bail;

use crate::net::{self, Batch, run_in};
use crate::plan::{FabricPlan, Middle, OutsidePlan, Plan, PortEnd};

/// Refuses to touch namespaces that this lab did not make.
///
/// # Errors
/// When one of the names is taken.
pub fn refuse_foreign(plan: &Plan) -> anyhow::Result<()> {
    let present = net::namespaces(&format!("{}-", plan.name))?;
    let wanted = plan.namespaces();
    if let Some(taken) = present.iter().find(|n| wanted.contains(n)) {
        bail!(
            "network namespace {taken} exists already and is not known to be this lab's: remove it with `ip netns del {taken}`, \
             or give the lab another name"
        );
    }
    Ok(())
}

/// Makes everything; what exists when it fails is removed by the caller.
///
/// # Errors
/// What the kernel refused.
pub fn network(plan: &Plan) -> anyhow::Result<()> {
    let mut batch = Batch::default();
    for namespace in plan.namespaces() {
        batch.add(format!("netns add {namespace}"));
    }
    batch.run(None)?;
    veths(plan).run(None)?;
    for node in 0..plan.nodes.len() {
        router(plan, node)?;
    }
    for link in &plan.links {
        match &link.middle {
            Middle::Cable => {}
            Middle::Wire { namespace } => wire(namespace)?,
            Middle::Fabric(fabric) => fabric_routers(fabric)?,
        }
    }
    for pod in 0..plan.pods.len() {
        pod_side(plan, pod)?;
    }
    authorities(plan)?;
    if let Some(outside) = &plan.outside {
        outside_host(plan, outside)?;
    }
    Ok(())
}

/// Index of the first veth end; all have indexes of their own.
const FIRST_INDEX: u32 = 100;

/// All veth pairs, with both ends in their namespaces from the start.
fn veths(plan: &Plan) -> Batch {
    let mut batch = Batch::default();
    let mtu = plan.mtu;
    // The kernel tells of carrier late (up to a second) when both ends have one index, although they are in different namespaces.
    let mut index = FIRST_INDEX;
    let mut pair = |batch: &mut Batch, a: (&str, &str, &str), b: (&str, &str, &str), mtu: u16| {
        let mac = |mac: &str| {
            if mac.is_empty() {
                String::new()
            } else {
                format!(" address {mac}")
            }
        };
        batch.add(format!(
            "link add {} index {index} netns {} mtu {mtu}{} type veth peer name {} index {} netns {} mtu {mtu}{}",
            a.0,
            a.1,
            mac(a.2),
            b.0,
            index + 1,
            b.1,
            mac(b.2)
        ));
        index += 2;
    };
    for (index, link) in plan.links.iter().enumerate() {
        let end = |side: usize| {
            let node = &plan.nodes[link.ends[side]];
            let port = node
                .ports
                .iter()
                .find(|p| matches!(&p.end, PortEnd::Router(a) if a.link == index));
            (
                link.ports[side].as_str(),
                node.namespace.as_str(),
                port.map_or("", |p| p.mac.as_str()),
            )
        };
        match &link.middle {
            Middle::Cable => pair(&mut batch, end(0), end(1), mtu),
            Middle::Wire { namespace } => {
                pair(&mut batch, end(0), ("a", namespace, ""), mtu);
                pair(&mut batch, end(1), ("b", namespace, ""), mtu);
            }
            Middle::Fabric(fabric) => {
                let [l, r] = &fabric.namespaces;
                pair(&mut batch, end(0), ("in", l, ""), mtu);
                pair(&mut batch, end(1), ("in", r, ""), mtu);
                for (path, (path_mtu, _)) in fabric.paths.iter().enumerate() {
                    let name = format!("p{}", path + 1);
                    pair(&mut batch, (&name, l, ""), (&name, r, ""), *path_mtu);
                }
            }
        }
    }
    for pod in &plan.pods {
        let gateway = &plan.nodes[pod.gateway];
        let port = gateway.ports.iter().find(|p| p.name == pod.name);
        pair(
            &mut batch,
            (&pod.name, &gateway.namespace, port.map_or("", |p| &p.mac)),
            ("eth0", &pod.namespace, &pod.mac),
            mtu,
        );
    }
    let authorities = plan.authority_namespace();
    for node in plan.gateways() {
        let gateway = &plan.nodes[node];
        pair(
            &mut batch,
            (AUTHORITIES, &gateway.namespace, ""),
            (&gateway.name, &authorities, ""),
            1_500,
        );
    }
    if let Some(outside) = &plan.outside {
        let gateway = &plan.nodes[outside.gateway];
        pair(
            &mut batch,
            ("outside", &gateway.namespace, ""),
            ("eth0", &outside.namespace, ""),
            1_500,
        );
    }
    batch
}

fn sysctl(namespace: &str, settings: &[String]) -> anyhow::Result<()> {
    let mut args = vec!["-q", "-w"];
    args.extend(settings.iter().map(String::as_str));
    run_in(namespace, "sysctl", &args).map(|_| ())
}

/// A veth end hands out frames with checksums still to be filled in, and several segments as one frame, because it assumes that a kernel reads
/// them at the other end. Whoever reads frames from a packet socket (dataplanes, wires) would see them broken.
fn no_offload(namespace: &str, interface: &str) -> anyhow::Result<()> {
    run_in(
        namespace,
        "ethtool",
        &["-K", interface, "tx", "off", "tso", "off", "gso", "off"],
    )
    .map(|_| ())
}

fn router(plan: &Plan, index: usize) -> anyhow::Result<()> {
    let node = &plan.nodes[index];
    // The kernel forwards between the taps of the exception path; it must stay silent on the ports themselves, whose addresses belong to the dataplane.
    let mut settings = vec![
        "net.ipv4.ip_forward=1".to_string(),
        "net.ipv6.conf.all.forwarding=1".into(),
        "net.ipv4.conf.all.rp_filter=0".into(),
        "net.ipv4.conf.default.rp_filter=0".into(),
    ];
    settings.extend(
        node.ports
            .iter()
            .map(|p| format!("net.ipv6.conf.{}.disable_ipv6=1", p.name)),
    );
    sysctl(&node.namespace, &settings)?;
    let mut batch = Batch::default();
    batch.add("link set dev lo up");
    for port in &node.ports {
        batch.add(format!("link set dev {} up", port.name));
    }
    batch.run(Some(&node.namespace))
}

fn wire(namespace: &str) -> anyhow::Result<()> {
    sysctl(
        namespace,
        &["a", "b"].map(|i| format!("net.ipv6.conf.{i}.disable_ipv6=1")),
    )?;
    for interface in ["a", "b"] {
        no_offload(namespace, interface)?;
    }
    let mut batch = Batch::default();
    batch.add("link set dev a up");
    batch.add("link set dev b up");
    batch.run(Some(namespace))
}

fn fabric_routers(fabric: &FabricPlan) -> anyhow::Result<()> {
    for side in 0..2 {
        let namespace = &fabric.namespaces[side];
        sysctl(
            namespace,
            &[
                "net.ipv4.ip_forward=1".into(),
                // Ports, too, choose the path: the entropy of the UDP source port is what an IP fabric sees of a flow.
                "net.ipv4.fib_multipath_hash_policy=1".into(),
                "net.ipv4.conf.all.rp_filter=0".into(),
                "net.ipv4.conf.default.rp_filter=0".into(),
            ],
        )?;
        let mut batch = Batch::default();
        batch.add("link set dev lo up");
        batch.add(format!("address add {} dev in", fabric.inner[side]));
        batch.add("link set dev in up");
        let mut route = format!("route add {}/32", fabric.outer[1 - side]);
        for (path, (_, addresses)) in fabric.paths.iter().enumerate() {
            let name = format!("p{}", path + 1);
            batch.add(format!("address add {}/31 dev {name}", addresses[side]));
            batch.add(format!("link set dev {name} up"));
            route.push_str(&format!(" nexthop via {} dev {name}", addresses[1 - side]));
        }
        batch.run(Some(namespace))?;
        let mut batch = Batch::default();
        batch.add(route);
        batch.run(Some(namespace))?;
    }
    Ok(())
}

fn pod_side(plan: &Plan, index: usize) -> anyhow::Result<()> {
    let pod = &plan.pods[index];
    no_offload(&pod.namespace, "eth0")?;
    let mut batch = Batch::default();
    batch.add("link set dev lo up");
    batch.add(format!("address add {}/24 dev eth0", pod.address));
    batch.add("link set dev eth0 up");
    batch.add(format!("route add default via {}", pod.gateway_address));
    batch.run(Some(&pod.namespace))
}

/// The interface of a gateway's kernel towards the authorities: signalling only, no port of the router.
const AUTHORITIES: &str = "spa";

fn authorities(plan: &Plan) -> anyhow::Result<()> {
    let mut there = Batch::default();
    there.add("link set dev lo up");
    for node in plan.gateways() {
        let gateway = &plan.nodes[node];
        let [own, remote] = Plan::authority_addresses(node);
        let mut here = Batch::default();
        here.add(format!("address add {own}/30 dev {AUTHORITIES}"));
        here.add(format!("link set dev {AUTHORITIES} up"));
        here.run(Some(&gateway.namespace))?;
        there.add(format!("address add {remote}/30 dev {}", gateway.name));
        there.add(format!("link set dev {} up", gateway.name));
    }
    there.run(Some(&plan.authority_namespace()))
}

fn outside_host(plan: &Plan, outside: &OutsidePlan) -> anyhow::Result<()> {
    let mut batch = Batch::default();
    batch.add(format!(
        "address add {}/24 dev outside",
        OutsidePlan::GATEWAY
    ));
    batch.add("link set dev outside up");
    batch.run(Some(&plan.nodes[outside.gateway].namespace))?;
    let mut batch = Batch::default();
    batch.add("link set dev lo up");
    batch.add(format!("address add {}/24 dev eth0", OutsidePlan::ADDRESS));
    batch.add("link set dev eth0 up");
    batch.add(format!("route add default via {}", OutsidePlan::GATEWAY));
    batch.run(Some(&outside.namespace))?;
    // The pods behind that gateway resolve names there; `ip netns exec` puts this file in place of /etc/resolv.conf.
    for pod in plan.pods.iter().filter(|p| p.gateway == outside.gateway) {
        let dir = format!("/etc/netns/{}", pod.namespace);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(
            format!("{dir}/resolv.conf"),
            format!("nameserver {}\n", OutsidePlan::ADDRESS),
        )?;
    }
    Ok(())
}
