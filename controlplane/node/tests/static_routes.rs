//! The real process between a model dataplane and a pod: programming, reloads, registration, restarts of either side.

mod model;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dmsc_proto::v1::{self, registrar_client::RegistrarClient};
use dmsc_wire::NameBuf;
use model::Dataplane;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;

const ROUTES: &str = r#"
[node]
id = 1
[[adjacency]]
id = 1
port = "sr1"
peer = 5
local = "10.0.1.0"
remote = "10.0.1.1"
[[gateway]]
id = 4
metric = 30
next_hops = [1]
[[group]]
id = 1
members = [{ gateway = 4, metric = 30 }, { gateway = 1 }]
[[prefix]]
name = "/shop/a"
group = 1
[[identity]]
id = "pod1/*"
prefixes = ["/shop/a"]
ports = ["pod1"]
"#;

/// The process, killed when the test ends.
struct ControlPlane {
    child: Child,
    registrar: String,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(place.path("routes.toml"), ROUTES).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn boot(&self, boot_nonce: u64) -> Dataplane {
        Dataplane::boot(&self.path("agent.sock"), boot_nonce)
    }

    /// Starts the process; it is ready when it says where pods register.
    fn start(&self) -> ControlPlane {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dmsc-controlplane"))
            .args(["static", "--listen", "127.0.0.1:0"])
            .arg("--routes")
            .arg(self.path("routes.toml"))
            .arg("--agent")
            .arg(self.path("agent.sock"))
            .arg("--status")
            .arg(self.path("status.json"))
            .env("DMSC_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let registrar = loop {
            let line = lines.next().expect("it ended before it was ready").unwrap();
            if let Some((_, address)) = line.split_once("registrar ready address=") {
                break format!("http://{}", address.trim());
            }
        };
        // Keeps reading, so that the pipe never fills.
        std::thread::spawn(move || lines.for_each(drop));
        ControlPlane { child, registrar }
    }

    fn status(&self) -> serde_json::Value {
        let bytes = std::fs::read(self.path("status.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Sends SIGHUP; gives the status of that reload.
    async fn reload(&self, process: &ControlPlane) -> serde_json::Value {
        let before = self.status()["applied_at_ns"].clone();
        process.signal(Signal::SIGHUP);
        let limit = Instant::now() + Duration::from_secs(10);
        while self.status()["applied_at_ns"] == before {
            assert!(Instant::now() < limit, "no status after SIGHUP");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.status()
    }

    fn rewrite(&self, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.path("routes.toml")).unwrap();
        assert!(text.contains(old));
        std::fs::write(self.path("routes.toml"), text.replacen(old, new, 1)).unwrap();
    }
}

impl ControlPlane {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    async fn client(&self) -> RegistrarClient<Channel> {
        RegistrarClient::connect(self.registrar.clone())
            .await
            .unwrap()
    }
}

fn registration(identity: &str, udp_port: u32, names: &[&str]) -> v1::RegisterRequest {
    v1::RegisterRequest {
        version_min: 1,
        version_max: 1,
        identity: identity.into(),
        udp_port,
        prefixes: names
            .iter()
            .map(|name| NameBuf::parse(name).unwrap().as_bytes().to_vec())
            .collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn routes_are_programmed_reloaded_and_left_behind() {
    let place = Place::new();
    let dataplane = place.boot(1);
    let mut process = place.start();
    let tables = dataplane.until(|tables| !tables.prefixes.is_empty()).await;
    assert_eq!(
        tables.transactions,
        [5],
        "adjacency, gateway twice, group, prefix"
    );
    assert_eq!(tables.gateways.len(), 2);
    assert_eq!(
        (&place.status()["ok"], &place.status()["generation"]),
        (&true.into(), &1.into())
    );

    // Only the difference is told.
    place.rewrite("{ gateway = 1 }", "{ gateway = 1, weight = 3 }");
    let status = place.reload(&process).await;
    assert_eq!(
        (&status["ok"], &status["generation"]),
        (&true.into(), &2.into())
    );
    assert_eq!(dataplane.tables().transactions, [5, 1]);

    // A mistake in the file, and one that only the dataplane sees, leave everything.
    place.rewrite("next_hops = [1]", "next_hops = [7]");
    let status = place.reload(&process).await;
    assert_eq!(status["ok"], false);
    assert!(
        status["error"]
            .as_str()
            .unwrap()
            .contains("routes.toml:13: [[gateway]] next_hops: adjacency 7"),
        "{status}"
    );
    place.rewrite("next_hops = [7]", "next_hops = [1]");
    place.rewrite("\"sr1\"", "\"nowhere\"");
    let status = place.reload(&process).await;
    assert!(
        status["error"]
            .as_str()
            .unwrap()
            .contains("port \"nowhere\" does not exist"),
        "{status}"
    );
    assert_eq!(status["generation"], 2);
    assert_eq!(dataplane.tables().transactions, [5, 1]);

    // Nothing to tell is no transaction.
    place.rewrite("\"nowhere\"", "\"sr1\"");
    assert_eq!(place.reload(&process).await["ok"], true);
    assert_eq!(dataplane.tables().transactions, [5, 1]);

    process.signal(Signal::SIGTERM);
    assert!(process.child.wait().unwrap().success());
    assert_eq!(dataplane.tables().prefixes.len(), 1);
}

#[tokio::test]
async fn pods_register_refresh_and_withdraw() {
    let place = Place::new();
    let dataplane = place.boot(1);
    let process = place.start();
    let mut client = process.client().await;

    let request = registration("pod1/a", 4_000, &["/shop/a/v1", "/shop/b", "/dmsc/1"]);
    let reply = client.register(request).await.unwrap().into_inner();
    assert_eq!((reply.gateway, reply.attachment, reply.domain), (1, 1, 1));
    assert_eq!(
        (reply.lease_seconds, reply.refresh_seconds, reply.max_packet),
        (30, 10, 1_472)
    );
    assert_eq!(
        (reply.data_address.as_str(), reply.data_port),
        ("127.0.0.1", 35_029)
    );
    assert_eq!(
        reply.source_name,
        NameBuf::parse("/id/pod1/a").unwrap().as_bytes()
    );
    assert_eq!(reply.refused.len(), 2);
    let attachment = dataplane.tables().attachments[&1].clone();
    assert_eq!(
        (
            attachment.port.as_str(),
            attachment.udp_port,
            attachment.serves.len()
        ),
        ("pod1", 4_000, 1)
    );

    // Again: the same attachment. Another endpoint: another.
    let again = client
        .register(registration("pod1/a", 4_000, &["/shop/a/v1"]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((again.attachment, again.lease), (1, reply.lease));
    let second = client
        .register(registration("pod1/c", 4_001, &[]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(second.attachment, 2);

    for (request, code, word) in [
        (
            registration("pod2/a", 4_002, &[]),
            Code::PermissionDenied,
            "[[identity]]",
        ),
        (
            registration("pod1//a", 4_002, &[]),
            Code::InvalidArgument,
            "does not make a name",
        ),
        (
            registration("pod1/a", 0, &[]),
            Code::InvalidArgument,
            "udp_port",
        ),
        (
            v1::RegisterRequest {
                domain: 2,
                ..registration("pod1/a", 4_002, &[])
            },
            Code::PermissionDenied,
            "domain",
        ),
        (
            v1::RegisterRequest {
                version_min: 9,
                version_max: 9,
                ..registration("pod1/a", 4_002, &[])
            },
            Code::FailedPrecondition,
            "versions",
        ),
    ] {
        let status = client.register(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(word), "{status}");
    }

    // What the second pod may call: the first, and the gateway with metric 30; health as it is known.
    let name = NameBuf::parse("/shop/a/v1/x").unwrap().as_bytes().to_vec();
    let request = v1::ResolveRequest {
        lease: second.lease,
        name,
    };
    let mut stream = client.resolve(request).await.unwrap().into_inner();
    let mut next = async || {
        let reply = stream.message().await.unwrap().unwrap();
        reply
            .instances
            .into_iter()
            .map(|one| (one.gateway, one.attachment, one.health))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        next().await,
        [(1, 1, "serving".to_owned()), (4, 0, "unknown".to_owned())]
    );
    client
        .health(v1::HealthRequest {
            lease: reply.lease,
            state: "draining".into(),
        })
        .await
        .unwrap();
    assert_eq!(next().await[0].2, "draining");
    dataplane.tell(1, "unreachable").await;
    assert_eq!(next().await[0].2, "unreachable");

    // What a pod tells of its calls is of its own domain, and the dataplane knows what is wrong with it.
    let mut answered = async |lease, calls| {
        let told = client.answered(v1::AnsweredRequest { lease, calls });
        told.await.map_err(|status| status.code()).map(drop)
    };
    let calls = vec![v1::AnsweredCalls {
        name: NameBuf::parse("/shop/a/v1").unwrap().as_bytes().to_vec(),
        latency: vec![v1::LatencyBucket {
            from_us: 320,
            to_us: 336,
            count: 7,
        }],
    }];
    assert_eq!(answered(reply.lease, calls.clone()).await, Ok(()));
    let soon = answered(reply.lease, calls.clone()).await;
    assert_eq!(soon, Err(Code::ResourceExhausted));
    let wrong = answered(second.lease, vec![]).await;
    assert_eq!(wrong, Err(Code::InvalidArgument));
    let unknown = answered(reply.lease ^ 1, calls.clone()).await;
    assert_eq!(unknown, Err(Code::NotFound));
    let domain = reply.domain;
    assert_eq!(
        dataplane.answers(),
        [v1::AddAnswersRequest { domain, calls }]
    );

    client
        .refresh(v1::RefreshRequest {
            lease: reply.lease,
            ..Default::default()
        })
        .await
        .unwrap();
    client
        .withdraw(v1::WithdrawRequest {
            lease: reply.lease,
            prefixes: vec![],
        })
        .await
        .unwrap();
    assert_eq!(next().await.len(), 1);
    assert_eq!(dataplane.tables().attachments.len(), 1);
    let status = client
        .refresh(v1::RefreshRequest {
            lease: reply.lease,
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn restarts_of_either_side_keep_attachments() {
    let place = Place::new();
    let dataplane = place.boot(1);
    let process = place.start();
    let mut client = process.client().await;
    let lost = client
        .register(registration("pod1/x", 3_999, &[]))
        .await
        .unwrap()
        .into_inner();
    let first = client
        .register(registration("pod1/a", 4_000, &["/shop/a"]))
        .await
        .unwrap()
        .into_inner();
    client
        .withdraw(v1::WithdrawRequest {
            lease: lost.lease,
            prefixes: vec![],
        })
        .await
        .unwrap();
    assert_eq!(first.attachment, 2);

    // kill -9 of the control plane: nothing is told to the dataplane, the lease is unknown, the attachment is the same.
    drop(process);
    let transactions = dataplane.tables().transactions;
    let process = place.start();
    let mut client = process.client().await;
    assert_eq!(dataplane.tables().transactions, transactions);
    let status = client
        .refresh(v1::RefreshRequest {
            lease: first.lease,
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let again = client
        .register(registration("pod1/a", 4_000, &["/shop/a"]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.attachment, 2);

    // kill -9 of the dataplane: it comes back empty, and gets tables and attachment under the same id.
    drop(dataplane);
    let dataplane = place.boot(2);
    let tables = dataplane
        .until(|tables| !tables.attachments.is_empty())
        .await;
    assert_eq!(tables.prefixes.len(), 1);
    assert_eq!(tables.attachments[&2].identity, "pod1/a");
    client
        .refresh(v1::RefreshRequest {
            lease: again.lease,
            ..Default::default()
        })
        .await
        .unwrap();
}

#[test]
fn a_mistake_at_the_start_is_told_and_ends_it() {
    let place = Place::new();
    place.rewrite("metric = 30", "metric = \"far\"");
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_dmsc-controlplane"))
            .arg("static")
            .args(arguments)
            .arg("--routes")
            .arg(place.path("routes.toml"))
            .output()
            .unwrap()
    };
    for arguments in [["--check", "--json"].as_slice(), &["--agent", "/nowhere"]] {
        let output = run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text.contains("routes.toml:12: [[gateway]] metric: invalid type: string \"far\""),
            "{text}"
        );
    }
    place.rewrite("metric = \"far\"", "metric = 30");
    let output = run(&["--check", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["node"], &report["gateways"]),
        (&1.into(), &2.into())
    );
}
