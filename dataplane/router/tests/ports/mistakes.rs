//! Configurations and clients with mistakes: refused as a whole, saying what is wrong, where, and what to do.

use std::process::Command;

use dmsc_proto::v1;
use dmsc_proto::v1::op::Op;
use tonic::Code;

use crate::rig::process::{PROGRAM, configuration};
use crate::rig::{Dataplane, Netns, Scratch, need_ports};

/// Runs a configuration that must be refused, without `--check`; what was said, and the line of the file that it names.
pub fn refused(netns: &Netns, scratch: &Scratch, ports: &str) -> (String, usize) {
    let (path, socket) = (scratch.path("bad.toml"), scratch.path("bad.sock"));
    let prefix = format!("dmsct-{}-bad", std::process::id());
    let text = configuration(1, "sg", &socket, &prefix, ports);
    std::fs::write(&path, &text).expect("write");
    let output = Command::new("timeout")
        .args([
            "10",
            "ip",
            "netns",
            "exec",
            netns.name(),
            PROGRAM,
            "--config",
        ])
        .arg(&path)
        .env("DMSC_LOG", "off")
        .output()
        .expect("run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!socket.exists(), "nothing is left");
    assert!(!std::path::Path::new("/var/run/dpdk").join(&prefix).exists());
    let start = format!("dmsc-dataplane: {}", path.display());
    let rest = said.lines().find_map(|l| l.strip_prefix(&start));
    let rest = rest.unwrap_or_else(|| panic!("the file is named: {said}"));
    let line = rest
        .strip_prefix(':')
        .and_then(|r| r.split(':').next())
        .and_then(|n| n.parse().ok());
    (said, line.unwrap_or(0))
}

#[test]
fn mistakes_name_file_line_and_field() {
    need_ports!();
    let (here, scratch) = (Netns::new(), Scratch::new());
    // The sections in front of the ports have 10 lines.
    let port = |more: &str| {
        format!(
            "[[port]]\nname = \"p\"\nkind = \"af_packet\"\nrole = \"pod\"\ninterface = \"v\"\n{more}\n"
        )
    };
    for (ports, line, field) in [
        (port("mtu = 100"), 16, "port \"p\".mtu"),
        (port("mtu = \"big\""), 16, "mtu"),
        (
            port("addresses = [\"10.0.0.1\"]"),
            16,
            "port \"p\".addresses",
        ),
        (port("colour = 1"), 16, "colour"),
        (port("vlan = 5000"), 16, "port \"p\".vlan"),
        (port("mac = \"01:00:00:00:00:01\""), 16, "port \"p\".mac"),
        (port("budget_pps = 0"), 16, "port \"p\".budget_pps"),
        (port("").replace("af_packet", "dpdk"), 13, "port \"p\".kind"),
        (port("") + &port(""), 18, "port.name"),
        (port("domain = "), 16, ""),
        (String::new(), 1, "port"),
    ] {
        let (said, at) = refused(&here, &scratch, &ports);
        assert!(
            at == line && said.contains(field),
            "line {line}, {field}: {said}"
        );
    }
}

#[test]
fn what_is_not_there_is_named() {
    need_ports!();
    let (here, scratch) = (Netns::new(), Scratch::new());
    let port =
        "[[port]]\nname = \"p\"\nkind = \"af_packet\"\nrole = \"pod\"\ninterface = \"nosuch\"\n";
    let (said, line) = refused(&here, &scratch, port);
    assert!(said.contains("port p") && said.contains("nosuch"), "{said}");
    assert_eq!(line, 12, "{said}");
    let output = Command::new(PROGRAM)
        .args(["--config", "/nonexistent/x.toml"])
        .output()
        .expect("run");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("/nonexistent/x.toml") && said.contains("No such file"),
        "{said}"
    );
}

#[test]
fn two_dataplanes_do_not_share_a_socket() {
    need_ports!();
    let (here, scratch) = (Netns::new(), Scratch::new());
    let null = "[[port]]\nname = \"n\"\nkind = \"null\"\nrole = \"router\"\n";
    let first = Dataplane::start(&here, 1, "sr", null);
    let path = scratch.path("second.toml");
    let prefix = format!("{}-second", first.prefix);
    std::fs::write(&path, configuration(2, "sr", &first.socket, &prefix, null)).expect("write");
    let output = Command::new("timeout")
        .args(["10", PROGRAM, "--config"])
        .arg(&path)
        .output()
        .expect("run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&first.socket.display().to_string()), "{said}");
    assert!(!std::path::Path::new("/var/run/dpdk").join(&prefix).exists());
    // The first one was not disturbed.
    assert_eq!(first.agent.greet(1, 1).expect("greet").node, 1);
}

#[test]
fn clients_of_another_time_and_bad_transactions() {
    need_ports!();
    let here = Netns::new();
    let null = "[[port]]\nname = \"n\"\nkind = \"null\"\nrole = \"router\"\nsize = 64\n[workers]\nidle = \"block\"\n";
    let dataplane = Dataplane::start(&here, 1, "sg", null);
    let status = dataplane.agent.greet(7, 9).expect_err("too new");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("7 to 9"), "{status}");
    assert_eq!(dataplane.agent.greet(0, 2).expect("greet").version, 1);

    let generation = dataplane.agent.dump().generation;
    let good = Op::PutGateway(v1::Gateway {
        gateway: 5,
        next_hops: vec![],
        ..Default::default()
    });
    for (bad, expected) in [
        (Op::DeleteAdjacency(3), "delete_adjacency"),
        (Op::Detach(9), "attachment 9 does not exist"),
        (
            Op::PutPrefix(v1::Prefix {
                domain: 1,
                name: vec![5, 1],
                group: 1,
            }),
            "not in canonical encoding",
        ),
        (
            Op::PutAdjacency(v1::Adjacency {
                id: 1,
                port: "x".into(),
                peer: 2,
                ..Default::default()
            }),
            "port \"x\" does not exist; there are n",
        ),
    ] {
        let said = dataplane.agent.refused(vec![good.clone(), bad]);
        assert!(said.contains(expected), "{said}");
    }
    let dump = dataplane.agent.dump();
    assert_eq!(dump.generation, generation, "nothing of it was applied");
    assert!(dump.gateways.is_empty());
}
