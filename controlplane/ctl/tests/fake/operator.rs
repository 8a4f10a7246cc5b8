//! A small control plane on a real Unix socket, with fixed answers: gateway 1 with one pod, in a network of two.

use std::sync::Mutex;

use dmsc_proto::v1::operator_server::{Operator, OperatorServer};
use dmsc_proto::v1::*;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::{Answer, Streamed, streamed};

/// What `config dump` says; `metric = 20` differs from it, "mistake" is one.
pub const CONFIG: &str = "[node]\nid = 1\n";

/// The control plane.
#[derive(Default)]
pub struct FakeOperator {
    /// The role of the caller is "view".
    pub only_view: bool,
    /// The drain never comes to its end.
    pub stuck: bool,
    /// Of another node than 1.
    pub node: Option<u32>,
    /// Revocations that were asked for.
    pub revoked: Mutex<Vec<RevokeRequest>>,
}

/// A running server; removed with its socket when dropped.
pub struct OperatorSocket {
    path: std::path::PathBuf,
    _directory: Option<tempfile::TempDir>,
    pub operator: std::sync::Arc<FakeOperator>,
    task: tokio::task::JoinHandle<()>,
}

impl OperatorSocket {
    pub fn start(operator: FakeOperator) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let socket = directory.path().join("sg1.operator.sock");
        let mut started = Self::start_at(operator, &socket);
        started._directory = Some(directory);
        started
    }

    /// At a socket that is somebody else's to remove.
    pub fn start_at(operator: FakeOperator, socket: &std::path::Path) -> Self {
        let listener = UnixListener::bind(socket).expect("bind");
        let operator = std::sync::Arc::new(operator);
        let service = OperatorServer::from_arc(operator.clone());
        let task = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .expect("serve");
        });
        Self {
            path: socket.to_path_buf(),
            _directory: None,
            operator,
            task,
        }
    }

    pub fn socket(&self) -> String {
        self.path.display().to_string()
    }

    /// A file beside the socket.
    pub fn file(&self, text: &str) -> String {
        let path = self.path.with_file_name("file.toml");
        std::fs::write(&path, text).expect("write");
        path.display().to_string()
    }
}

impl Drop for OperatorSocket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn shop(last: &str) -> Vec<u8> {
    let name = dmsc_wire::NameBuf::parse(&format!("/shop/{last}")).expect("a name");
    name.as_bytes().to_vec()
}

/// For /shop/b at gateway 1, as a gateway tells it.
fn policy() -> PolicyInfo {
    let share = |gateway, weight| PolicyShare {
        gateway,
        weight,
        topology: 0,
    };
    PolicyInfo {
        domain: 1,
        prefix: shop("b"),
        gateway: 1,
        shares: vec![share(2, 750), share(3, 250), share(4, 0)],
        ttl_left_ms: 8_200,
        id: 5,
        epoch: u64::MAX,
        replica: 2,
        reason: "/shop/b at gateway 1: to 3 delay 60.0 ms ≥ 20.0 ms".to_owned(),
        state: "applied".to_owned(),
        ..PolicyInfo::default()
    }
}

impl FakeOperator {
    fn judge(&self, text: &str, call: &str) -> Answer<ConfigReply> {
        if text.contains("mistake") {
            return Err(Status::invalid_argument(
                "line 3: [node] id: must be 1, not 2\nline 9: [[adjacency]] port: missing",
            ));
        }
        let changed = text.contains("metric = 20");
        let line = "adjacency[1].metric: 10 -> 20".to_owned();
        Ok(Response::new(ConfigReply {
            changed,
            diff: if changed { vec![line] } else { vec![] },
            generation: if call == "apply" { 13 } else { 12 },
        }))
    }

    fn operate(&self) -> Result<(), Status> {
        if self.only_view {
            return Err(Status::permission_denied(
                "this needs the role operate, yours is view",
            ));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Operator for FakeOperator {
    async fn about(&self, _: Request<AboutRequest>) -> Answer<AboutReply> {
        Ok(Response::new(AboutReply {
            daemon: "sg".to_owned(),
            node: 1,
            name: "sg1".to_owned(),
            software: "dmsc-controlplane 0.1.0".to_owned(),
            uptime_ms: 1500,
            state: "running".to_owned(),
            alarms: vec!["3 installed prefixes outlive their authorisation".to_owned()],
            digest: u64::MAX,
            objects: 5,
            routes_version: 8,
            programmed_version: 7,
            generation: 12,
            your_role: "admin".to_owned(),
            sessions: 2,
            synced: 1,
            area: 0,
        }))
    }

    async fn show_nodes(&self, _: Request<ShowRequest>) -> Answer<NodesReply> {
        let node = |node, reachable| NodeInfo {
            node,
            name: format!("sg{node}"),
            role: "sg".to_owned(),
            reachable,
            metric: 30,
            sequence: (3 << 32) | 17,
            ..NodeInfo::default()
        };
        Ok(Response::new(NodesReply {
            nodes: vec![node(4, false), node(1, true)],
        }))
    }

    async fn show_links(&self, _: Request<ShowRequest>) -> Answer<LinksReply> {
        let link = |node, peer, own| LinkInfo {
            node,
            id: 1,
            peer,
            metric: 10,
            two_way: true,
            own,
            hello: "up".to_owned(),
            session: "connecting: no route to host".to_owned(),
            refused_objects: 2,
            ..LinkInfo::default()
        };
        let measured = LinkInfo {
            measured_delay_us: Some(1_480),
            delay_variation_us: Some(12),
            loss_ppm: Some(2_500),
            capacity_kbps: Some(1_000_000),
            available_kbps: Some(0),
            ..link(1, 5, true)
        };
        Ok(Response::new(LinksReply {
            links: vec![link(5, 1, false), measured],
        }))
    }

    async fn give_statement(
        &self,
        request: Request<GiveStatementRequest>,
    ) -> Answer<GiveStatementReply> {
        if request.into_inner().root_revocation != b"signed" {
            return Err(Status::invalid_argument("not believed: bad signature"));
        }
        Ok(Response::new(GiveStatementReply {
            what: "node 3: certificates issued before 2026-01-01T00:00:00Z".to_owned(),
            known: false,
        }))
    }

    async fn show_lsdb(&self, request: Request<LsdbRequest>) -> Answer<LsdbReply> {
        let request = request.into_inner();
        assert!(request.after.is_empty());
        let body = if request.bodies {
            "link 1 to node 5"
        } else {
            ""
        };
        Ok(Response::new(LsdbReply {
            entries: vec![LsdbEntry {
                kind: 1,
                kind_name: "adjacency".to_owned(),
                origin: 1,
                id: u64::MAX,
                sequence: (3 << 32) | 17,
                lifetime_left_s: 3000,
                bytes: 40,
                body: body.to_owned(),
                state: "accepted".to_owned(),
                ..LsdbEntry::default()
            }],
            ..LsdbReply::default()
        }))
    }

    async fn show_routes(&self, _: Request<PageRequest>) -> Answer<RoutesReply> {
        Ok(Response::new(RoutesReply {
            version: 8,
            routes: vec![RouteInfo {
                topology: 1,
                gateway: 4,
                metric: 30,
                next_hops: vec![1, 2],
                link_protecting: 2,
                peers: vec![5, 6],
                ..RouteInfo::default()
            }],
            ..RoutesReply::default()
        }))
    }

    async fn show_prefixes(&self, request: Request<PrefixesRequest>) -> Answer<PrefixesReply> {
        let request = request.into_inner();
        assert!(request.under.is_empty() || request.under == b"\x04shop");
        // Two pages.
        let (last, next) = match request.after.as_slice() {
            b"" => ("a", b"more".to_vec()),
            b"more" => ("b", Vec::new()),
            other => return Err(Status::invalid_argument(format!("after: {other:?}"))),
        };
        Ok(Response::new(PrefixesReply {
            total: 2,
            prefixes: vec![PrefixInfo {
                domain: 1,
                name: shop(last),
                members: vec![PrefixMember {
                    gateway: 4,
                    metric: 30,
                    weight: 1,
                    state: "stale".to_owned(),
                    authority: "spa1".to_owned(),
                    identity: "pod1/a".to_owned(),
                }],
            }],
            next,
        }))
    }

    async fn show_pods(&self, _: Request<PageRequest>) -> Answer<PodsReply> {
        Ok(Response::new(PodsReply {
            pods: vec![PodInfo {
                identity: "pod1/a".to_owned(),
                attachment: 3,
                port: "pod1".to_owned(),
                address: "fd00::2".to_owned(),
                udp_port: 4000,
                domain: 1,
                health: "ready".to_owned(),
                reachable: true,
                lease_left_s: 25,
                serves: ["a", "b", "c", "d"].map(shop).to_vec(),
                announced: 3,
                waiting: 1,
                reason: "no authority answers; asked again in 2 s".to_owned(),
                kind: "vhost".to_owned(),
            }],
            ..PodsReply::default()
        }))
    }

    async fn show_authorisations(
        &self,
        request: Request<PageRequest>,
    ) -> Answer<AuthorisationsReply> {
        // Revocations have a page of their own.
        if request.into_inner().after == b"revocations" {
            return Ok(Response::new(AuthorisationsReply {
                revocations: vec![
                    RevocationInfo {
                        authority: "spa1".to_owned(),
                        serial: 7,
                        domain: 1,
                        reason: "key was lost".to_owned(),
                        forgotten_in_s: 60,
                        ..RevocationInfo::default()
                    },
                    RevocationInfo {
                        by_root: true,
                        node: 5,
                        reason: "stolen".to_owned(),
                        ..RevocationInfo::default()
                    },
                    RevocationInfo {
                        by_root: true,
                        key_sha256: vec![vec![0xab; 32]],
                        ..RevocationInfo::default()
                    },
                ],
                ..AuthorisationsReply::default()
            }));
        }
        Ok(Response::new(AuthorisationsReply {
            authorisations: vec![AuthorisationInfo {
                authority: "spa1".to_owned(),
                serial: u64::MAX,
                domain: 1,
                gateway: 1,
                identity: "pod1/a".to_owned(),
                expires_in_s: -5,
                state: "expired".to_owned(),
                grants: 1,
                names: vec![shop("a")],
                fragment: 1,
                fragments: 1,
            }],
            next: b"revocations".to_vec(),
            ..AuthorisationsReply::default()
        }))
    }

    async fn show_convergence(&self, _: Request<ShowRequest>) -> Answer<ConvergenceReply> {
        Ok(Response::new(ConvergenceReply {
            stages: vec![StageTime {
                stage: "routed-programmed".to_owned(),
                count: 3,
                p50_us: 1_500,
                p99_us: 2_000,
                max_us: 2_500,
            }],
        }))
    }

    async fn show_audit(&self, request: Request<AuditRequest>) -> Answer<AuditReply> {
        assert_eq!(request.into_inner().limit, 100);
        Ok(Response::new(AuditReply {
            records: vec![AuditRecord {
                at_ms: 1_700_000_000_000,
                who: "uid 0 (root)".to_owned(),
                role: "admin".to_owned(),
                call: "ApplyConfig".to_owned(),
                what: "adjacency[1].metric: 10 -> 20".to_owned(),
                outcome: "ok".to_owned(),
                generation: 13,
            }],
        }))
    }

    async fn check_config(&self, request: Request<ConfigRequest>) -> Answer<ConfigReply> {
        self.judge(&request.into_inner().text, "check")
    }

    async fn diff_config(&self, request: Request<ConfigRequest>) -> Answer<ConfigReply> {
        self.judge(&request.into_inner().text, "diff")
    }

    async fn apply_config(&self, request: Request<ConfigRequest>) -> Answer<ConfigReply> {
        self.operate()?;
        self.judge(&request.into_inner().text, "apply")
    }

    async fn dump_config(&self, _: Request<DumpConfigRequest>) -> Answer<DumpConfigReply> {
        Ok(Response::new(DumpConfigReply {
            text: CONFIG.to_owned(),
        }))
    }

    type DrainStream = Streamed<DrainProgress>;
    async fn drain(&self, request: Request<DrainRequest>) -> Answer<Self::DrainStream> {
        self.operate()?;
        assert_eq!(request.into_inner().timeout_ms, 2_000);
        let stage = |stage: &str, what: &str, done| DrainProgress {
            stage: stage.to_owned(),
            what: what.to_owned(),
            done,
        };
        let last = if self.stuck {
            stage("flooding", "node 5 has not taken it within 2 s", true)
        } else {
            stage("drained", "nothing depends on this node", true)
        };
        streamed(vec![stage("withdrawing", "3 prefixes", false), last])
    }

    async fn undrain(&self, _: Request<UndrainRequest>) -> Answer<UndrainReply> {
        self.operate()?;
        Ok(Response::new(UndrainReply {}))
    }

    async fn show_quality(&self, request: Request<QualityRequest>) -> Answer<QualityReply> {
        let good = PairQuality {
            from: 1,
            to: 2,
            samples: 10,
            delay_p50_us: 1_500,
            delay_p99_us: 2_000,
            jitter_p99_us: 250,
            loss_ppm: Some(10_000),
            available_kbps: Some(9_500),
            narrowest_node: 4,
            narrowest_port: 3,
            load_permille: 255,
            health: "healthy".to_owned(),
            age_ms: 700,
            ..PairQuality::default()
        };
        let silent = PairQuality {
            from: 1,
            to: 3,
            loss_ppm: Some(1_000_000),
            health: "draining".to_owned(),
            ..PairQuality::default()
        };
        let to = request.get_ref().to;
        let pairs = [good, silent].into_iter();
        let pairs: Vec<_> = pairs.filter(|pair| to == 0 || pair.to == to).collect();
        Ok(Response::new(QualityReply {
            total: pairs.len() as u64,
            pairs,
            next: Vec::new(),
        }))
    }

    async fn show_policies(&self, _: Request<PageRequest>) -> Answer<PoliciesReply> {
        let center = PolicyInfo {
            state: String::new(),
            outcomes: vec![
                PolicyOutcome {
                    node: 1,
                    generation: 12,
                    refused: String::new(),
                },
                PolicyOutcome {
                    node: 2,
                    generation: 0,
                    refused: "older".to_owned(),
                },
            ],
            ..policy()
        };
        Ok(Response::new(PoliciesReply {
            policies: vec![policy(), center],
            total: 2,
            next: Vec::new(),
        }))
    }

    async fn set_policy(&self, request: Request<SetPolicyRequest>) -> Answer<SetPolicyReply> {
        self.operate()?;
        let request = request.into_inner();
        if request.gateway == 9 {
            return Err(Status::invalid_argument(
                "gateway: 9 tells of no calls to /shop/b; these do: 1",
            ));
        }
        Ok(Response::new(SetPolicyReply {
            policy: Some(PolicyInfo {
                shares: request.shares,
                ttl_left_ms: request.ttl_ms,
                ..policy()
            }),
            connected: true,
        }))
    }

    async fn unset_policy(&self, request: Request<UnsetPolicyRequest>) -> Answer<UnsetPolicyReply> {
        self.operate()?;
        let gateway = request.get_ref().gateway;
        Ok(Response::new(UnsetPolicyReply {
            gateways: if gateway == 0 {
                vec![1, 2]
            } else {
                vec![gateway]
            },
        }))
    }

    async fn show_decisions(&self, _: Request<DecisionsRequest>) -> Answer<DecisionsReply> {
        Ok(Response::new(DecisionsReply {
            decisions: vec![DecisionInfo {
                at_ms: 1_700_000_000_000,
                text: policy().reason,
            }],
        }))
    }

    async fn explain_policy(
        &self,
        request: Request<ExplainPolicyRequest>,
    ) -> Answer<ExplainPolicyReply> {
        let matched = request.get_ref().name.starts_with(&shop("b"));
        Ok(Response::new(ExplainPolicyReply {
            node: self.node.unwrap_or(1),
            matched: if matched { shop("b") } else { vec![] },
            policy: matched.then(policy),
        }))
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Answer<RevokeReply> {
        self.operate()?;
        let mut revoked = self.revoked.lock().expect("unpoisoned");
        revoked.push(request.into_inner());
        Ok(Response::new(RevokeReply { serial: u64::MAX }))
    }
}
