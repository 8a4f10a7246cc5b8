//! The way to the kernel: programs in the router's namespace are reached over the same port as DMSC, and answer once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use dmsc_wire::Kind;

use crate::rig::link::{mac, udp4};
use crate::rig::{Dataplane, Netns, Pod, RawLink, ip, name, need_ports};

fn port(plain_ip: &str) -> (Netns, Netns, Dataplane) {
    let (router, pods) = (Netns::new(), Netns::new());
    router.veth("pod1", &pods, "eth0");
    pods.addresses("eth0", &["10.1.1.2/24", "fd01:1::2/64"]);
    let dataplane = Dataplane::start(
        &router,
        1,
        "sg",
        &format!(
            r#"
[[port]]
name = "pod1"
kind = "af_packet"
interface = "pod1"
role = "pod"
plain_ip = "{plain_ip}"
addresses = ["10.1.1.1/24", "fd01:1::1/64"]
"#
        ),
    );
    (router, pods, dataplane)
}

#[test]
fn the_kernel_answers_once() {
    need_ports!();
    let (_router, pods, dataplane) = port("kernel");
    for address in ["10.1.1.1", "fd01:1::1"] {
        let said = pods.output(&["ping", "-c3", "-i0.1", "-W2", address]);
        assert!(
            said.contains("3 received") && !said.contains("DUP"),
            "{said}"
        );
    }
    assert!(dataplane.agent.events("pod1", "to-kernel") >= 6);
    assert!(dataplane.agent.events("pod1", "from-kernel") >= 6);
    dataplane.agent.settled("pod1", 6);
}

#[test]
fn tcp_to_a_program_of_the_router() {
    need_ports!();
    let (router, pods, dataplane) = port("kernel");
    for address in ["10.1.1.1", "fd01:1::1"] {
        let listener = router
            .inside(|| TcpListener::bind((ip(address), 0)))
            .expect("listen");
        let at = listener.local_addr().expect("bound");
        let sent: Vec<u8> = (0..400_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut got = Vec::new();
            stream.read_to_end(&mut got).expect("read");
            assert!(got == expected, "{} bytes came", got.len());
            stream.write_all(b"done").expect("write");
        });
        let mut stream = pods
            .inside(|| TcpStream::connect_timeout(&at, Duration::from_secs(5)))
            .expect("connect");
        stream.write_all(&sent).expect("write");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("shutdown");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("timeout");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        assert_eq!(answer, "done");
        server.join().expect("server");
    }
    assert_eq!(dataplane.agent.drops("pod1", "exception-rate"), 0);
}

#[test]
fn plain_ip_of_pods_may_be_dropped() {
    need_ports!();
    let (_router, pods, dataplane) = port("drop");
    let said = pods.output(&["ping", "-c2", "-i0.1", "-W1", "10.1.1.1"]);
    assert!(said.contains("0 received"), "{said}");
    // The two, and what the pod's kernel says about IPv6 by itself.
    assert!(dataplane.agent.drops("pod1", "plain-ip") >= 2);
    let pod = Pod::attach(&dataplane, &pods, "pod1", "10.1.1.2", "10.1.1.1", &[]);
    pod.send(Kind::EchoRequest, &name("/dmsc/1"), |p| p);
    pod.answer();
}

#[test]
fn the_kernel_does_not_complain_about_dmsc() {
    need_ports!();
    let (_router, pods, dataplane) = port("kernel");
    let link = RawLink::open(&pods, "eth0");
    let port = mac(&dataplane.agent.port("pod1").mac);
    let four = Pod::attach(&dataplane, &pods, "pod1", "10.1.1.2", "10.1.1.1", &[]);
    let six = Pod::attach(&dataplane, &pods, "pod1", "fd01:1::2", "fd01:1::1", &[]);
    for pod in [&four, &six] {
        pod.send_bytes(b"garbage");
        pod.send(Kind::EchoRequest, &name("/dmsc/1"), |p| p);
        pod.answer();
    }
    let stranger = udp4(
        [10, 1, 1, 3],
        [10, 1, 1, 1],
        (4000, dmsc_wire::UDP_PORT),
        b"who",
    );
    link.send(&link.frame(port, 0x0800, &stranger));
    dataplane.agent.settled("pod1", 5);
    // A ping behind it: whatever the kernel had to say is said when that is answered.
    for address in ["10.1.1.1", "fd01:1::1"] {
        let said = pods.output(&["ping", "-c1", "-W2", address]);
        assert!(said.contains("1 received"), "{said}");
    }
    let unreachable = |f: &Vec<u8>| {
        (f[12..14] == [8, 0] && f[23] == 1 && f[34] == 3)
            || (f[12..14] == [0x86, 0xdd] && f[20] == 58 && f[54] == 1)
    };
    let heard = link.heard();
    assert!(!heard.iter().any(unreachable), "{heard:02x?}");
}
