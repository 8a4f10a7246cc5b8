//! Control planes as real processes on 127.x addresses, each with a model of a dataplane, and credentials of one root.

#![allow(dead_code)] // every test binary uses another part

pub mod authority;
pub mod center;
pub mod neighbour;
pub mod pod;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dmsc_proto::v1::operator_client::OperatorClient;
use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::{OPERATOR_DNS, Root, Scope};
use dmsc_wire::NodeId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as TlsIdentity};

use crate::model::Dataplane;

/// A place for nodes: folder, root, and a /16 of loopback addresses of its own.
pub struct Net {
    pub folder: TempDir,
    pub root: Root,
    subnet: (u8, u8),
}

/// A running control plane; dropping it is `kill -9`.
pub struct Process {
    child: Child,
    id: u32,
}

/// A process whose log is read.
pub struct Logged {
    pub process: Process,
    log: tokio::sync::Mutex<tokio::sync::mpsc::UnboundedReceiver<String>>,
}

impl Logged {
    /// Reads on until such a line comes.
    pub async fn until(&self, what: &str, line: impl Fn(&str) -> bool) {
        let mut log = self.log.lock().await;
        let wait = async { while !line(&log.recv().await.expect("the process ended")) {} };
        if tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .is_err()
        {
            panic!("not in time: {what}");
        }
    }
}

impl Net {
    /// `number` is of this test only, so that tests may run side by side.
    pub fn new(number: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::init(&folder.path().join("root"), "dmsc.test", 30).unwrap();
        // Processes of nextest are apart as well.
        let low = u8::try_from(std::process::id() % 200).unwrap();
        Self {
            folder,
            root,
            subnet: (100 + number, low),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn address(&self, id: u32) -> String {
        format!("127.{}.{}.{id}", self.subnet.0, self.subnet.1)
    }

    pub fn credentials(&self, identity: &Identity, folder: &str) -> PathBuf {
        let path = self.path(folder);
        self.root
            .issue(identity, &Scope::default(), 1, false, &path)
            .unwrap();
        path
    }

    /// Writes configuration and credentials; adjacency n leads to `links[n - 1]`, with metric 10.
    pub fn write(&self, id: u32, role: &str, links: &[u32], extra: &str) {
        let identity = Identity::Node {
            id: NodeId(id),
            gateway: role == "sg",
        };
        self.credentials(&identity, &format!("node{id}"));
        let folder = self.folder.path().display();
        let own = self.address(id);
        let mut text = format!(
            "[node]\nid = {id}\nagent = \"{folder}/agent{id}\"\nstate_dir = \"{folder}/state{id}\"\n\
             credentials = \"{folder}/node{id}\"\n\
             [linkstate]\nlisten = \"{own}:35031\"\nrestart_hold_ms = 3000\ndigest_interval_ms = 300\n"
        );
        for (index, peer) in links.iter().enumerate() {
            let (number, remote) = (index + 1, self.address(*peer));
            text += &format!(
                "[[adjacency]]\nid = {number}\nport = \"sr1\"\npeer = {peer}\nlocal = \"{own}\"\nremote = \"{remote}\"\n"
            );
        }
        if role == "sg" {
            text +=
                &format!("[gateway]\nlisten = \"{own}:35030\"\nprobe_interval_ms = 100\n{extra}");
        }
        std::fs::write(self.config(id), text).unwrap();
    }

    pub fn config(&self, id: u32) -> PathBuf {
        self.path(&format!("node{id}.toml"))
    }

    pub fn rewrite(&self, id: u32, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.config(id)).unwrap();
        assert!(text.contains(old), "{text}");
        std::fs::write(self.config(id), text.replacen(old, new, 1)).unwrap();
    }

    /// A model of a dataplane with hellos on the first `links` adjacencies.
    pub async fn dataplane(&self, id: u32, role: &'static str, links: u32) -> Dataplane {
        let dataplane =
            Dataplane::boot_as(&self.path(&format!("agent{id}")), u64::from(id), id, role);
        let all: Vec<u32> = (1..=links).collect();
        dataplane.hello(&all, true).await;
        dataplane
    }

    pub fn start(&self, id: u32, role: &str) -> Process {
        self.start_logged(id, role).process
    }

    /// As the operator of these credentials, to node `id`, which listens for operators on port 35033.
    pub async fn operator(&self, id: u32, folder: &Path) -> OperatorClient<Channel> {
        let credentials = Credentials::load(folder).unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&credentials.root_pem))
            .identity(TlsIdentity::from_pem(
                &credentials.certificate_pem,
                &credentials.key_pem,
            ))
            .domain_name(OPERATOR_DNS);
        let url = format!("https://{}:35033", self.address(id));
        let endpoint = Endpoint::from_shared(url).unwrap();
        let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
        OperatorClient::new(channel)
    }

    /// All of these agree on the link state.
    pub async fn agree(&self, ids: &[u32]) {
        let limit = Instant::now() + Duration::from_secs(10);
        loop {
            let digests: Vec<_> = ids
                .iter()
                .map(|id| self.status(*id)["digest"].clone())
                .collect();
            if digests.windows(2).all(|pair| pair[0] == pair[1]) {
                return;
            }
            assert!(Instant::now() < limit, "they do not agree: {digests:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn start_logged(&self, id: u32, role: &str) -> Logged {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dmsc-controlplane"))
            .arg(role)
            .arg("--config")
            .arg(self.config(id))
            .arg("--status")
            .arg(self.path(&format!("status{id}")))
            .env("DMSC_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Keeps reading, so that the pipe never fills; libtest shows it when the test fails.
        let (sender, log) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("{id}: {line}");
                // Most tests do not listen.
                let _ = sender.send(line);
            }
        });
        Logged {
            process: Process { child, id },
            log: tokio::sync::Mutex::new(log),
        }
    }

    pub fn status(&self, id: u32) -> serde_json::Value {
        read(&self.path(&format!("status{id}")))
    }

    /// The status as soon as it is so.
    pub async fn until(
        &self,
        id: u32,
        what: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let limit = Instant::now() + Duration::from_secs(10);
        loop {
            let status = self.status(id);
            if what(&status) {
                return status;
            }
            assert!(Instant::now() < limit, "node {id}: not in time: {status}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn read(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap_or_default()).unwrap_or_default()
}

impl Process {
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Resident memory, bytes.
    pub fn memory(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.unwrap().parse::<usize>().unwrap() << 10
    }

    pub fn wait(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        eprintln!("{}: killed", self.id);
    }
}
