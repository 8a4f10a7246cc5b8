//! The DNS as a resolver sees it: `dig`, over UDP and TCP.

use std::net::SocketAddr;
use std::sync::Arc;

use dmsc_edge::config::Range;
use dmsc_edge::dns::{Table, Zone, serve_tcp, serve_udp};
use dmsc_wire::NameBuf;
use tokio::net::{TcpListener, UdpSocket};
use tokio::process::Command;

/// `None`: there is no dig.
async fn dig(at: SocketAddr, words: &[&str]) -> Option<String> {
    let mut command = Command::new("dig");
    command
        .arg(format!("@{}", at.ip()))
        .args(["-p", &at.port().to_string(), "+tries=1", "+time=5"])
        .args(words)
        .kill_on_drop(true);
    match command.output().await {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(_) => {
            eprintln!("skipped: dig is not here; install bind9-dnsutils");
            None
        }
    }
}

async fn server() -> (SocketAddr, Arc<Table>) {
    let names = Arc::new(Table::over(Range {
        network: [198, 18, 0, 0].into(),
        length: 16,
    }));
    let zone = Zone {
        suffix: "dmsc".into(),
        names: Arc::clone(&names),
    };
    // The same port for both.
    let (udp, tcp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let at = tcp.local_addr().unwrap();
    tokio::spawn(serve_udp(udp, zone.clone()));
    tokio::spawn(serve_tcp(tcp, zone));
    (at, names)
}

#[tokio::test]
async fn a_name_has_one_address_over_udp_and_tcp() {
    let (at, names) = server().await;
    let Some(udp) = dig(at, &["+short", "cart.shop.dmsc"]).await else {
        return;
    };
    let address = udp.trim().parse().unwrap();
    let name = NameBuf::parse("/shop/cart").unwrap();
    assert_eq!(names.name_of(address), Some(name));
    let tcp = dig(at, &["+short", "+tcp", "CART.shop.dmsc"])
        .await
        .unwrap();
    assert_eq!(tcp, udp);
    // Several on one connection.
    let two = ["+short", "+tcp", "+keepopen", "a.dmsc", "b.dmsc"];
    let two = dig(at, &two).await.unwrap();
    assert_eq!(two.lines().count(), 2, "{two}");
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let (at, _) = server().await;
    for (words, status, answers) in [
        (&["AAAA", "cart.shop.dmsc"][..], "NOERROR", 0),
        (&["+noedns", "cart.shop.dmsc"], "NOERROR", 1),
        (&["+dnssec", "cart.shop.dmsc"], "NOERROR", 1),
        (&["example.org"], "REFUSED", 0),
        (&["-x", "198.18.0.1"], "REFUSED", 0),
        (&["a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.dmsc"], "SERVFAIL", 0),
        (&["CH", "TXT", "version.bind"], "REFUSED", 0),
    ] {
        let Some(text) = dig(at, words).await else {
            return;
        };
        let expected = format!("status: {status}");
        assert!(text.contains(&expected), "{words:?}\n{text}");
        let expected = format!("ANSWER: {answers}");
        assert!(text.contains(&expected), "{words:?}\n{text}");
        assert!(!text.contains("malformed"), "{words:?}\n{text}");
    }
}
