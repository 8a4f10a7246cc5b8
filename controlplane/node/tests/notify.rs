//! What systemd hears of a control plane: when it is ready, and that it is stopping.

mod model;
mod net;

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use net::Net;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The next message; systemd's have one assignment a line.
fn told(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4_096];
    let length = socket.recv(&mut bytes).expect("told in time");
    String::from_utf8(bytes[..length].to_vec()).expect("UTF-8")
}

/// Reads on until a message has this line.
fn until(socket: &UnixDatagram, line: &str) {
    while !told(socket).lines().any(|told| told == line) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_ready_and_stopping() {
    let net = Net::new(20);
    net.write(1, "sr", &[], "");
    let path = net.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_dmsc-controlplane"))
        .args(["sr", "--config"])
        .arg(net.config(1))
        .env("NOTIFY_SOCKET", &path)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // Without a dataplane it is not ready, and says so at most.
    let mut bytes = [0; 4_096];
    while let Ok(length) = socket.recv(&mut bytes) {
        assert!(!bytes[..length].starts_with(b"READY"));
    }
    let _dataplane = net.dataplane(1, "sr", 0).await;
    let limit = Some(Duration::from_secs(10));
    socket.set_read_timeout(limit).unwrap();
    until(&socket, "READY=1");
    let process = Pid::from_raw(child.id().unwrap().try_into().unwrap());
    kill(process, Signal::SIGTERM).unwrap();
    until(&socket, "STOPPING=1");
    assert!(child.wait().await.unwrap().success());
}
