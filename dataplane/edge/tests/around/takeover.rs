//! The program itself, replaced by another process while calls go through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::Scope;
use dmsc_wire::NodeId;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, Question, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixDatagram};
use tokio::process::{Child, Command};

use crate::gateway::Gateway;
use crate::world::World;

/// A process may take so long for each of its steps on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Programs that call at the same time.
const CALLERS: u32 = 2;

/// A world whose gateway knows certificates of the same root.
pub async fn world() -> World {
    let mut world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let node = Identity::node(NodeId(1), true);
    let scope = Scope::default();
    world
        .root
        .issue(&node, &scope, 10, false, folder.path())
        .unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let own = tonic::transport::Identity::from_pem(read("cert.pem"), read("key.pem"));
    let keys = ["cart/a", "web"].map(|identity| {
        let pod = Credentials::load(&world.credentials(identity)).unwrap();
        pod.signing_key().unwrap().public_key().to_vec()
    });
    world.gateway = Gateway::start_tls(own, read("root.pem"), keys.to_vec()).await;
    let proof = world.proof("cart/a", "/shop/cart", |_| {});
    world.gateway.authorise(vec![proof.to_vec()]);
    world
}

/// A place that nobody has, for TCP and UDP: connections of others take ports of 127.0.0.1 at any time.
pub fn free() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(8_000);
    let [_, a, b, c] = std::process::id().to_be_bytes();
    ([127, 0x40 | a, b, c], PORT.fetch_add(1, Relaxed)).into()
}

/// A program that answers every request with its number, and says nothing else.
async fn program() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while head(&mut stream).await.is_some() {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    at
}

/// Up to the empty line; `None`: it ended before.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 1_024];
        // Requests of these tests have no bodies, and answers two bytes that are read by themselves.
        let peeked = stream
            .peek(&mut piece)
            .await
            .ok()
            .filter(|some| *some > 0)?;
        let end = piece[..peeked].windows(4).position(|at| at == b"\r\n\r\n");
        let take = end.map_or(peeked, |end| end + 4);
        stream.read_exact(&mut piece[..take]).await.ok()?;
        head.extend_from_slice(&piece[..take]);
    }
    String::from_utf8(head).ok()
}

#[derive(Default)]
struct Tally {
    answered: AtomicU32,
    failed: AtomicU32,
    resolved: AtomicU32,
    stop: AtomicBool,
}

/// One caller: every connection takes many requests, until the edge says that it is the last.
async fn call(at: SocketAddr, tally: Arc<Tally>, number: u32) {
    let mut round = number;
    while !tally.stop.load(Relaxed) {
        let Ok(mut stream) = TcpStream::connect(at).await else {
            tally.failed.fetch_add(1, Relaxed);
            continue;
        };
        for _ in 0..50 {
            round += 1;
            tokio::time::sleep(Duration::from_millis(8)).await;
            // Those that are not idempotent may not be made again.
            let method = if round.is_multiple_of(2) {
                "GET"
            } else {
                "POST"
            };
            let ask = format!(
                "{method} /{round} HTTP/1.1\r\nhost: cart.shop.dmsc\r\ncontent-length: 0\r\n\r\n"
            );
            let answered = async {
                stream.write_all(ask.as_bytes()).await.ok()?;
                let head = head(&mut stream).await?;
                let mut body = [0; 2];
                if !head.starts_with("HTTP/1.1 200 ") {
                    eprintln!("{head}");
                    return None;
                }
                stream.read_exact(&mut body).await.ok()?;
                Some(head)
            };
            match answered.await {
                Some(head) => {
                    tally.answered.fetch_add(1, Relaxed);
                    if head.to_lowercase().contains("connection: close") {
                        break;
                    }
                }
                None => {
                    tally.failed.fetch_add(1, Relaxed);
                    break;
                }
            }
        }
    }
}

/// A resolver that asks for one name after the other, each of which must have an address.
async fn resolve(at: SocketAddr, tally: Arc<Tally>) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut number = 0_u16;
    while !tally.stop.load(Relaxed) {
        number += 1;
        let host = format!("n{}.shop.dmsc", number % 300);
        let mut packet = Packet::new_query(number);
        let name = Name::new(&host).unwrap();
        packet
            .questions
            .push(Question::new(name, TYPE::A.into(), CLASS::IN.into(), false));
        let query = packet.build_bytes_vec().unwrap();
        socket.send_to(&query, at).await.unwrap();
        let mut answer = [0; 512];
        let answered = tokio::time::timeout(PATIENCE, socket.recv(&mut answer)).await;
        let Ok(Ok(length)) = answered else {
            tally.failed.fetch_add(1, Relaxed);
            continue;
        };
        let reply = Packet::parse(&answer[..length]).unwrap();
        assert_eq!(reply.id(), number);
        let RData::A(a) = &reply.answers[0].rdata else {
            panic!("no address: {reply:?}");
        };
        assert_eq!(Ipv4Addr::from(a.address).octets()[..2], [198, 18]);
        tally.resolved.fetch_add(1, Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub struct Processes {
    folder: tempfile::TempDir,
    config: PathBuf,
    notify: UnixDatagram,
}

impl Processes {
    pub fn new(world: &World, http: SocketAddr, dns: SocketAddr, program: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("edge.toml");
        let pod = |identity: &str| {
            format!(
                "[[pod]]\nidentity = {identity:?}\ncredentials = {:?}\ngateway = \"{}\"\n",
                world.credentials(identity),
                world.gateway.registrar()
            )
        };
        let text = format!(
            "operator = {:?}\n{}[[pod.serve]]\nprefix = \"/shop/cart\"\nto = \"{program}\"\n{}[pod.outbound]\nhttp = \"{http}\"\ndns = \"{dns}\"\n",
            folder.path().join("edge.sock"),
            pod("cart/a"),
            pod("web"),
        );
        std::fs::write(&config, text).unwrap();
        let notify = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self {
            folder,
            config,
            notify,
        }
    }

    /// Starts one, and waits until it says that it is ready.
    pub async fn start(&self, words: &[&str]) -> Child {
        let child = Command::new(env!("CARGO_BIN_EXE_dmsc-edge"))
            .arg("--config")
            .arg(&self.config)
            .args(words)
            .env("NOTIFY_SOCKET", self.path("notify"))
            .env("DMSC_LOG", "info")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ready = async {
            let mut said = [0; 256];
            loop {
                let length = self.notify.recv(&mut said).await.unwrap();
                if String::from_utf8_lossy(&said[..length]).contains("READY=1") {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("ready");
        child
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

async fn until(tally: &Tally, answered: u32) {
    let wait = async {
        while tally.answered.load(Relaxed) < answered {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_one_process_replaces_another() {
    let world = world().await;
    let (http, dns) = (free(), free());
    let processes = Processes::new(&world, http, dns, program().await);
    let mut old = processes.start(&[]).await;
    let tally = Arc::new(Tally::default());
    for number in 0..CALLERS {
        tokio::spawn(call(http, Arc::clone(&tally), number));
    }
    tokio::spawn(resolve(dns, Arc::clone(&tally)));
    until(&tally, 100).await;
    for _ in 0..2 {
        let new = processes.start(&["--takeover"]).await;
        let ended = tokio::time::timeout(PATIENCE, old.wait()).await;
        assert!(ended.expect("it ends").unwrap().success());
        until(&tally, tally.answered.load(Relaxed) + 100).await;
        old = new;
    }
    tally.stop.store(true, Relaxed);
    let (answered, failed) = (tally.answered.load(Relaxed), tally.failed.load(Relaxed));
    let resolved = tally.resolved.load(Relaxed);
    eprintln!("answered {answered}, resolved {resolved}, failed {failed}");
    assert_eq!(failed, 0);
    assert!(resolved > 100);
}
