//! Configurations of a pair of haproxy. One thread each: the machine has two cores for all.

use std::fmt::Write as _;

use super::certificates::{Certificates, SERVER_NAME};
use super::column::Protocol;
use super::site::SERVER_ADDRESS;

/// Where clients connect, in their own namespace.
pub const ENTRY: u16 = 15_001;
/// Where iperf3 connects.
pub const IPERF_ENTRY: u16 = 15_900;
/// Where the far proxy listens.
const FAR: u16 = 15_443;
const IPERF_FAR: u16 = 15_901;
/// Where the server listens.
pub const SERVER: u16 = 8_080;
/// Where iperf3 listens.
pub const IPERF: u16 = 5_201;

/// What the pair does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Reads HTTP, and picks a backend by the host.
    Http(Protocol),
    /// Passes bytes.
    Tcp,
}

fn head(mode: &str) -> String {
    format!(
        "global
  nbthread 1
  maxconn 4096
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode {mode}
  timeout connect 5s
  timeout client 60s
  timeout server 60s
"
    )
}

/// The configuration of the one at the client, and of the one at the server, for `services` services.
pub fn pair(mode: Mode, services: usize, files: &Certificates) -> [String; 2] {
    let near_tls = format!(
        "ssl verify required ca-file {} crt {} sni str({SERVER_NAME}) verifyhost {SERVER_NAME}",
        files.root.display(),
        files.client.both.display()
    );
    let far_tls = format!(
        "ssl crt {} ca-file {} verify required",
        files.server.both.display(),
        files.root.display()
    );
    match mode {
        Mode::Http(protocol) => http(protocol, services, &near_tls, &far_tls),
        Mode::Tcp => tcp(services, &near_tls, &far_tls),
    }
}

fn http(protocol: Protocol, services: usize, near_tls: &str, far_tls: &str) -> [String; 2] {
    let (plain, alpn) = match protocol {
        Protocol::H1 => ("", "alpn http/1.1"),
        Protocol::Grpc => (" proto h2", "alpn h2"),
    };
    let mut near = head("http");
    let mut far = head("http");
    // A service is found by the first label of the host, as a mesh routes by host.
    let _ = write!(
        near,
        "  http-reuse always
frontend out
  bind 127.0.0.1:{ENTRY}{plain}
  use_backend %[req.hdr(host),field(1,.)]
"
    );
    let _ = write!(
        far,
        "  http-reuse always
frontend in
  bind {SERVER_ADDRESS}:{FAR} {far_tls} {alpn}
  use_backend %[req.hdr(host),field(1,.)]
"
    );
    for number in 0..services {
        let _ = write!(
            near,
            "backend s{number:03}\n  server far {SERVER_ADDRESS}:{FAR} {near_tls} {alpn}\n"
        );
        let _ = write!(
            far,
            "backend s{number:03}\n  server app 127.0.0.1:{SERVER}{plain}\n"
        );
    }
    [near, far]
}

fn tcp(services: usize, near_tls: &str, far_tls: &str) -> [String; 2] {
    let mut near = head("tcp");
    let mut far = head("tcp");
    // Bytes have no host: every service needs a port of its own.
    let mut add = |name: &str, entry: u16, between: u16, app: u16| {
        let _ = write!(
            near,
            "listen {name}\n  bind 127.0.0.1:{entry}\n  server far {SERVER_ADDRESS}:{between} {near_tls}\n"
        );
        let _ = write!(
            far,
            "listen {name}\n  bind {SERVER_ADDRESS}:{between} {far_tls}\n  server app 127.0.0.1:{app}\n"
        );
    };
    for number in (0..services).filter_map(|n| u16::try_from(n).ok()) {
        add(
            &format!("s{number:03}"),
            ENTRY + number,
            FAR + number,
            SERVER,
        );
    }
    add("iperf", IPERF_ENTRY, IPERF_FAR, IPERF);
    [near, far]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_ask_for_a_certificate() {
        for mode in [
            Mode::Http(Protocol::H1),
            Mode::Http(Protocol::Grpc),
            Mode::Tcp,
        ] {
            let [near, far] = pair(mode, 1, &Certificates::nowhere());
            assert!(near.contains("ssl verify required ca-file /c/root.pem crt /c/client.both"));
            assert!(far.contains("ssl crt /c/server.both ca-file /c/root.pem verify required"));
        }
    }

    #[test]
    fn every_service_has_a_way() {
        let [near, far] = pair(Mode::Http(Protocol::Grpc), 100, &Certificates::nowhere());
        assert_eq!(near.matches("\nbackend s").count(), 100);
        assert_eq!(far.matches("\nbackend s").count(), 100);
        assert!(near.contains("alpn h2") && far.contains("127.0.0.1:8080 proto h2"));
        let [near, far] = pair(Mode::Tcp, 100, &Certificates::nowhere());
        assert!(near.contains("bind 127.0.0.1:15100\n") && far.contains(":15542 ssl"));
        assert!(near.contains("mode tcp") && far.contains("server app 127.0.0.1:5201"));
    }

    #[test]
    fn haproxy_itself_accepts_them_where_it_is_installed() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Certificates::make(folder.path()).expect("certificates");
        let modes = [
            Mode::Http(Protocol::H1),
            Mode::Http(Protocol::Grpc),
            Mode::Tcp,
        ];
        for text in modes.into_iter().flat_map(|mode| pair(mode, 3, &files)) {
            let path = folder.path().join("haproxy.cfg");
            std::fs::write(&path, &text).expect("written");
            let check = std::process::Command::new("haproxy")
                .args(["-c", "-f"])
                .arg(&path)
                .output();
            let Ok(output) = check else {
                return; // it is not there, and says nothing about configurations
            };
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}\n{text}");
            assert!(!said.contains("[WARNING]"), "{said}\n{text}");
        }
    }
}
