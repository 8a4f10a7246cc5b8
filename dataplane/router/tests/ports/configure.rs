//! The configuration of a running dataplane: written back, compared, and changed as far as that can be.

use dmsc_proto::v1;
use dmsc_wire::Kind;
use tonic::Code;

use crate::rig::{Dataplane, Netns, Pod, name, need_ports, wait_until};

#[test]
fn what_can_change_at_run_time_does_and_the_rest_is_named() {
    need_ports!();
    let (router, pods) = (Netns::new(), Netns::new());
    router.veth("pod1", &pods, "eth0");
    pods.addresses("eth0", &["10.1.1.2/24"]);
    let port = "[[port]]\nname = \"pod1\"\nkind = \"af_packet\"\ninterface = \"pod1\"\nrole = \"pod\"\naddresses = [\"10.1.1.1/24\"]\n";
    let dataplane = Dataplane::start(&router, 1, "sg", port);
    let agent = &dataplane.agent;
    let file = std::fs::read_to_string(dataplane.config()).expect("file");
    let diff = |text: &str| agent.config("diff", text).expect("diff").diff;

    // What is written back says the same as the file, and more.
    let dumped = agent.config("dump", "").expect("dump").text;
    assert!(dumped.contains("udp_port = 35029"), "{dumped}");
    assert!(diff(&file).is_empty() && diff(&dumped).is_empty());
    let unchanged = v1::AgentConfigReply {
        generation: 1,
        ..Default::default()
    };
    assert_eq!(agent.config("check", &dumped).expect("check"), unchanged);

    // A mistake, what only a restart can change, and an action that is none: nothing happens.
    let refused = |action: &str, text: &str, code: Code| {
        let status = agent.config(action, text).expect_err("must be refused");
        assert_eq!(status.code(), code, "{status}");
        status.message().to_string()
    };
    let broken = dumped.replace("mtu = 1500", "mtu = 15");
    let said = refused("check", &broken, Code::InvalidArgument);
    assert!(said.contains("port \"pod1\".mtu: 15 is outside"), "{said}");
    let slow = dumped.replace("budget_pps = 200000", "budget_pps = 100");
    let moved = slow.replace("10.1.1.1/24", "10.1.1.9/24");
    assert_eq!(diff(&moved).len(), 2);
    let said = refused("apply", &moved, Code::FailedPrecondition);
    assert!(
        said.contains("port \"pod1\".addresses") && said.contains("--takeover"),
        "{said}"
    );
    assert!(
        !said.contains("budget_pps"),
        "only what stands in the way: {said}"
    );
    refused("write", &dumped, Code::InvalidArgument);
    assert_eq!(agent.config("dump", "").expect("dump").text, dumped);

    // The budget takes hold at once.
    let pod = Pod::attach(&dataplane, &pods, "pod1", "10.1.1.2", "10.1.1.1", &[]);
    let reply = agent.config("apply", &slow).expect("apply");
    assert!(reply.changed);
    assert_eq!(reply.diff, ["port \"pod1\".budget_pps: 200000 -> 100"]);
    assert!(!agent.config("apply", &slow).expect("again").changed);
    wait_until("a pause because the budget is used up", || {
        for _ in 0..100 {
            pod.send(Kind::EchoRequest, &name("/dmsc/1"), |p| p);
        }
        agent.events("pod1", "budget-pause") > 0
    });

    // So does what becomes of plain IP.
    assert_eq!(agent.port("pod1").plain_ip, "kernel");
    let closed = slow.replace("plain_ip = \"kernel\"", "plain_ip = \"drop\"");
    let closed = closed.replace("budget_pps = 100\n", "budget_pps = 200000\n");
    assert_eq!(agent.config("apply", &closed).expect("apply").diff.len(), 2);
    assert_eq!(agent.port("pod1").plain_ip, "drop");
    let said = pods.output(&["ping", "-c1", "-W1", "10.1.1.1"]);
    assert!(said.contains("0 received"), "{said}");
    assert!(agent.drops("pod1", "plain-ip") > 0);
    assert_eq!(agent.config("dump", "").expect("dump").text, closed);
}
