//! The operator's API of running routers: what they tell, what they let whom do, and what is written down.

mod model;
mod net;

use std::path::Path;
use std::time::{Duration, Instant};

use dmsc_proto::v1::operator_client::OperatorClient;
use dmsc_proto::v1::*;
use dmsc_spa::credentials::Credentials;
use dmsc_spa::pki::OPERATOR_DNS;
use net::{Net, Process};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Node 1 and its neighbour 2, with everything that an operator may ask.
struct Pair {
    net: Net,
    one: model::Dataplane,
    _two: model::Dataplane,
    first: Process,
    _second: Process,
}

impl Pair {
    async fn start(number: u8) -> Self {
        let net = Net::new(number);
        for (id, peer) in [(1, 2), (2, 1)] {
            net.write(id, "sr", &[peer], "");
        }
        let own = net.address(1);
        let operator = net.path("operator").display().to_string();
        net.rewrite(
            1,
            "[linkstate]",
            &format!("name = \"sr1\"\noperator = {operator:?}\noperator_listen = \"{own}:35033\"\nmetrics = \"{own}:9464\"\n[linkstate]"),
        );
        let one = net.dataplane(1, "sr", 1).await;
        let _two = net.dataplane(2, "sr", 1).await;
        let first = net.start(1, "sr");
        let _second = net.start(2, "sr");
        one.until(|tables| tables.gateways.len() == 2).await;
        net.until(1, |status| status["state"] == "running").await;
        Self {
            net,
            one,
            _two,
            first,
            _second,
        }
    }

    async fn operator(&self, role: &str) -> OperatorClient<Channel> {
        let identity = format!("operator/{role}/eve").parse().unwrap();
        let folder = self.net.credentials(&identity, &format!("eve-{role}"));
        let url = format!("https://{}:35033", self.net.address(1));
        OperatorClient::new(connect(&folder, &url).await)
    }

    fn config(&self) -> String {
        std::fs::read_to_string(self.net.config(1)).unwrap()
    }
}

async fn connect(folder: &Path, url: &str) -> Channel {
    let credentials = Credentials::load(folder).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&credentials.root_pem))
        .identity(Identity::from_pem(
            &credentials.certificate_pem,
            &credentials.key_pem,
        ))
        .domain_name(OPERATOR_DNS);
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.unwrap()
}

/// Asks again until it is so: digests are compared now and then.
async fn until<T, F: Future<Output = T>>(ask: impl Fn() -> F, good: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
{
    let limit = Instant::now() + Duration::from_secs(8);
    loop {
        let answer = ask().await;
        if good(&answer) {
            return answer;
        }
        assert!(Instant::now() < limit, "not in time: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_router_tells_what_it_knows() {
    let pair = Pair::start(11).await;
    let client = pair.operator("view").await;
    let about = until(
        || async { client.clone().about(AboutRequest {}).await.unwrap() },
        |about| about.get_ref().synced == 1,
    )
    .await
    .into_inner();
    assert_eq!((about.daemon.as_str(), about.node), ("sr", 1));
    assert_eq!(
        (about.state.as_str(), about.your_role.as_str()),
        ("running", "view")
    );
    assert_eq!(about.objects, 2);
    assert!(about.alarms.is_empty(), "{about:?}");
    assert!(about.routes_version > 0 && about.generation > 0);

    let mut client = client;
    let nodes = client.show_nodes(ShowRequest {}).await.unwrap();
    let nodes = nodes.into_inner().nodes;
    assert_eq!(nodes.len(), 2);
    assert!(nodes.iter().all(|node| node.reachable && node.links == 1));
    assert_eq!((nodes[1].metric, nodes[1].delay_us), (10, 100));
    assert_eq!((nodes[0].metric, nodes[0].name.as_str()), (0, "sr1"));

    let links = client.show_links(ShowRequest {}).await.unwrap();
    let links = links.into_inner().links;
    assert_eq!(links.len(), 2);
    let own = links.iter().find(|link| link.own).unwrap();
    assert!(
        own.two_way && own.session == "synced" && own.hello == "up",
        "{own:?}"
    );
    assert!(own.sent_messages > 0 && own.received_messages > 0);

    let routes = client.show_routes(PageRequest::default()).await.unwrap();
    let routes = routes.into_inner().routes;
    assert!(routes.iter().all(|route| route.peers == [2]), "{routes:?}");
    let lsdb = client
        .show_lsdb(LsdbRequest {
            bodies: true,
            ..LsdbRequest::default()
        })
        .await
        .unwrap();
    let entries = lsdb.into_inner().entries;
    assert!(entries[1].body.contains("link 1 to node 1"), "{entries:?}");
    let prefixes = client.show_prefixes(PrefixesRequest::default()).await;
    assert_eq!(prefixes.unwrap().into_inner().total, 0);
    let pods = client.show_pods(PageRequest::default()).await.unwrap();
    assert!(pods.into_inner().pods.is_empty());
    let stages = client.show_convergence(ShowRequest {}).await.unwrap();
    assert_eq!(stages.into_inner().stages.len(), 6);

    let text = metrics(&format!("{}:9464", pair.net.address(1))).await;
    for line in [
        "dmsc_sessions_synced 1",
        "dmsc_state{state=\"running\"} 1",
        "dmsc_alarm{alarm=\"clock-jump\"} 0",
        "dmsc_link_up{adjacency=\"1\",peer=\"2\"} 1",
        "dmsc_lsdb_objects 2",
        "dmsc_routes{topology=\"metric\"} 1",
        "dmsc_dataplane_programmed 1",
        "# HELP dmsc_refused_objects Link-state objects",
        "# TYPE dmsc_convergence_seconds histogram",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

async fn metrics(address: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn changes_need_a_role_and_leave_a_record() {
    let pair = Pair::start(12).await;
    let mut view = pair.operator("view").await;
    let mut operate = pair.operator("operate").await;
    let text = |text: String| ConfigRequest { text };
    let same = view.diff_config(text(pair.config())).await.unwrap();
    assert!(!same.into_inner().changed);
    let other = pair
        .config()
        .replacen("[[adjacency]]", "[[adjacency]]\nmetric = 50", 1);
    let diff = view.diff_config(text(other.clone())).await.unwrap();
    assert_eq!(diff.into_inner().diff, ["adjacency[1].metric: 10 -> 50"]);

    let status = view.apply_config(text(other.clone())).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let wrong = other.replace("metric = 50", "metric = 0");
    let status = operate.apply_config(text(wrong)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("line "), "{status}");
    let elsewhere = other.replace("digest_interval_ms = 300", "digest_interval_ms = 400");
    let status = operate.apply_config(text(elsewhere)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(
        status.message().contains("linkstate.digest_interval_ms"),
        "{status}"
    );
    let applied = operate.apply_config(text(other)).await.unwrap();
    assert!(applied.into_inner().changed);
    pair.one
        .until(|tables| {
            tables
                .gateways
                .get(&(0, 2))
                .is_some_and(|way| way.metric == 50)
        })
        .await;
    let dump = operate.dump_config(DumpConfigRequest {}).await.unwrap();
    let dump = dump.into_inner().text;
    assert!(dump.contains("metric = 50"), "{dump}");
    let same = view.diff_config(text(dump)).await.unwrap();
    assert!(!same.into_inner().changed);
    let status = operate.revoke(RevokeRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);

    // A signal is a change too: the file still says 10.
    pair.first.signal(Signal::SIGHUP);
    pair.one
        .until(|tables| {
            tables
                .gateways
                .get(&(0, 2))
                .is_some_and(|way| way.metric == 10)
        })
        .await;
    let client = view.clone();
    let records = until(
        || async {
            let audit = client.clone().show_audit(AuditRequest { limit: 0 }).await;
            audit.unwrap().into_inner().records
        },
        |records| records.len() == 6,
    )
    .await;
    let short: Vec<(&str, &str, bool)> = records
        .iter()
        .map(|one| (one.call.as_str(), one.role.as_str(), one.outcome == "ok"))
        .collect();
    assert_eq!(
        short,
        [
            ("ApplyConfig", "view", false),
            ("ApplyConfig", "operate", false),
            ("ApplyConfig", "operate", false),
            ("ApplyConfig", "operate", true),
            ("Revoke", "operate", false),
            ("Reload", "admin", true),
        ]
    );
    assert_eq!(records[3].who, "spiffe://dmsc.test/operator/operate/eve");
    assert_eq!(records[3].what, "adjacency[1].metric: 10 -> 50");
    assert_eq!(records[5].what, "adjacency[1].metric: 50 -> 10");
    // A node's own certificate is none of an operator.
    let url = format!("https://{}:35033", pair.net.address(1));
    let mut stranger = OperatorClient::new(connect(&pair.net.path("node2"), &url).await);
    let status = stranger.about(AboutRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("node/2/sr"), "{status}");
}

#[tokio::test]
async fn a_drain_tells_its_stages_and_is_taken_back() {
    let pair = Pair::start(13).await;
    let channel = dmsc_proto::connect_unix(&pair.net.path("operator")).await;
    let mut client = match nix::unistd::Uid::effective().is_root() {
        true => OperatorClient::new(channel.unwrap()),
        false => pair.operator("admin").await,
    };
    let request = DrainRequest {
        timeout_ms: 5_000,
        stop: false,
    };
    let mut stages = client.drain(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(stage) = stages.message().await.unwrap() {
        seen.push((stage.stage, stage.done));
    }
    assert_eq!(seen.first().unwrap().0, "withdrawing");
    assert_eq!(
        seen.last().unwrap(),
        &("drained".to_owned(), true),
        "{seen:?}"
    );
    let about = client.about(AboutRequest {}).await.unwrap().into_inner();
    assert_eq!(about.state, "drained");
    let nodes = client.show_nodes(ShowRequest {}).await.unwrap();
    assert!(nodes.into_inner().nodes[0].overload);
    client.undrain(UndrainRequest {}).await.unwrap();
    let asked = client.clone();
    until(
        || async { asked.clone().about(AboutRequest {}).await.unwrap() },
        |about| about.get_ref().state == "running",
    )
    .await;
    let audit = client.show_audit(AuditRequest { limit: 2 }).await.unwrap();
    let records = audit.into_inner().records;
    assert_eq!(
        (records[0].call.as_str(), records[1].call.as_str()),
        ("Drain", "Undrain")
    );
    assert!(records.iter().all(|one| one.outcome == "ok"), "{records:?}");
}

#[tokio::test]
async fn what_the_root_took_back_is_given_to_one_and_known_to_all() {
    let pair = Pair::start(16).await;
    let now_s = dmsc_node::clock::wall().as_secs();
    let node = dmsc_wire::NodeId(9);
    let signed = pair.net.root.revoke_node(node, "stolen", now_s).unwrap();
    let give = |root_revocation: &[u8]| GiveStatementRequest {
        root_revocation: root_revocation.to_vec(),
    };
    let mut operate = pair.operator("operate").await;
    let status = operate.give_statement(give(&signed)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let mut admin = pair.operator("admin").await;
    let mut forged = signed.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for bad in [&forged[..], b"", b"garbage"] {
        let status = admin.give_statement(give(bad)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("not believed: "), "{status}");
    }
    let rights = admin.show_authorisations(PageRequest::default()).await;
    assert!(rights.unwrap().into_inner().revocations.is_empty());

    let given = admin.give_statement(give(&signed)).await.unwrap();
    let given = given.into_inner();
    assert!(
        given.what.starts_with("certificates of node 9"),
        "{given:?}"
    );
    assert!(!given.known);
    let again = admin.give_statement(give(&signed)).await.unwrap();
    assert!(again.into_inner().known);
    let rights = admin.show_authorisations(PageRequest::default()).await;
    let revocations = rights.unwrap().into_inner().revocations;
    assert_eq!(revocations.len(), 1);
    assert!(
        revocations[0].by_root && revocations[0].node == 9,
        "{revocations:?}"
    );
    // The neighbour was told, and keeps it.
    let kept = pair.net.path("state2").join("root-revocations");
    until(
        || async { std::fs::read_dir(&kept).unwrap().count() },
        |kept| *kept == 1,
    )
    .await;
    let audit = admin.show_audit(AuditRequest { limit: 0 }).await.unwrap();
    let outcomes: Vec<bool> = audit
        .get_ref()
        .records
        .iter()
        .map(|one| one.outcome == "ok")
        .collect();
    assert_eq!(outcomes, [false, false, false, false, true, true]);
}

#[tokio::test]
async fn a_gateway_tells_of_its_pods_and_their_rights() {
    let net = Net::new(14);
    let authority = format!("{}:35032", net.address(9));
    net.write(1, "sg", &[2], &format!("authorities = [\"{authority}\"]\n"));
    net.write(2, "sr", &[1], "");
    let own = net.address(1);
    let lines = format!("operator_listen = \"{own}:35033\"\n[linkstate]");
    net.rewrite(1, "[linkstate]", &lines);
    let _one = net.dataplane(1, "sg", 1).await;
    let _two = net.dataplane(2, "sr", 1).await;
    let _processes = (net.start(1, "sg"), net.start(2, "sr"));
    let folder = net.credentials(&"operator/view/eve".parse().unwrap(), "eve");

    // Without an authority it waits, and says why.
    let mut pod = net::pod::Pod::new(&net, 1, "pod1/a").await;
    pod.register(4_000, &["/shop/a"]).await.unwrap();
    let client = OperatorClient::new(connect(&folder, &format!("https://{own}:35033")).await);
    let pods = async |client: OperatorClient<Channel>| {
        let mut client = client;
        let reply = client.show_pods(PageRequest::default()).await.unwrap();
        reply.into_inner().pods.remove(0)
    };
    let told = pods(client.clone()).await;
    assert_eq!((told.identity.as_str(), told.waiting), ("pod1/a", 1));
    assert!(told.reason.contains("no authority answers"), "{told:?}");

    let spa = start_spa(&net, &authority).await;
    let told = until(|| pods(client.clone()), |told| told.announced == 1).await;
    assert_eq!((told.waiting, told.reason.as_str()), (0, ""));
    let request = PrefixesRequest {
        under: net::pod::name("/shop"),
        ..PrefixesRequest::default()
    };
    let prefixes = async |client: OperatorClient<Channel>| {
        let mut client = client;
        let reply = client.show_prefixes(request.clone()).await.unwrap();
        reply.into_inner().prefixes
    };
    // It is told as waiting until it is in an object.
    let valid = |list: &Vec<PrefixInfo>| list.len() == 1 && list[0].members[0].state == "valid";
    let one = until(|| prefixes(client.clone()), valid).await;
    let member = &one[0].members[0];
    assert_eq!((member.gateway, member.state.as_str()), (1, "valid"));
    assert_eq!(
        (member.authority.as_str(), member.identity.as_str()),
        ("spa1", "pod1/a")
    );
    let mut asked = client.clone();
    let rights = asked
        .show_authorisations(PageRequest::default())
        .await
        .unwrap();
    let rights = rights.into_inner().authorisations;
    assert_eq!((rights[0].state.as_str(), rights[0].grants), ("valid", 1));

    spa.spa
        .revoke(
            dmsc_wire::Domain(1),
            None,
            None,
            Some("pod1/a".into()),
            "key was lost",
        )
        .unwrap();
    let told = until(|| pods(client.clone()), |told| told.announced == 0).await;
    assert!(told.reason.contains("key was lost"), "{told:?}");
    until(
        || prefixes(client.clone()),
        |list| {
            list.iter()
                .all(|one| one.members.iter().all(|one| one.state == "waiting"))
        },
    )
    .await;
    let rights = asked
        .show_authorisations(PageRequest::default())
        .await
        .unwrap();
    let rights = rights.into_inner();
    assert_eq!(rights.authorisations[0].state, "revoked");
    assert_eq!(rights.revocations[0].reason, "key was lost");
}

/// Names the socket to [`somebody_asks`], which is run as another user.
const SOCKET: &str = "DMSC_TEST_OPERATOR_SOCKET";

/// Not a test by itself: what a user of this machine is told.
#[tokio::test]
async fn somebody_asks() {
    let Ok(socket) = std::env::var(SOCKET) else {
        return;
    };
    let channel = dmsc_proto::connect_unix(Path::new(&socket)).await.unwrap();
    let mut client = OperatorClient::new(channel);
    match client.about(AboutRequest {}).await {
        Ok(about) => println!("about: {}", about.get_ref().your_role),
        Err(status) => println!("about: {}", status.message()),
    }
    match client.undrain(UndrainRequest {}).await {
        Ok(_) => println!("undrain: ok"),
        Err(status) => println!("undrain: {}", status.message()),
    }
}

#[tokio::test]
async fn members_of_every_group_and_strangers_are_answered_on_the_socket() {
    use std::os::unix::fs::PermissionsExt as _;

    // Groups that are on every system, by number.
    let name = |gid| {
        let group = nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(gid));
        group.unwrap().unwrap().name
    };
    let net = Net::new(19);
    net.write(1, "sr", &[], "");
    let socket = net.path("operator").display().to_string();
    let lines = format!(
        "operator = {socket:?}\nview_group = {:?}\noperate_group = {:?}\nadmin_group = {:?}\n[linkstate]",
        name(1),
        name(2),
        name(3)
    );
    net.rewrite(1, "[linkstate]", &lines);
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(net.path(""), open).unwrap();
    let _one = net.dataplane(1, "sr", 0).await;
    let _process = net.start(1, "sr");
    net.until(1, |status| status["state"] == "running").await;

    let ask = |gid: u32| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups", "--regid"]);
        command
            .arg(gid.to_string())
            .arg(std::env::current_exe().unwrap());
        command.args(["--exact", "somebody_asks", "--nocapture"]);
        command.env(SOCKET, &socket).output()
    };
    let allowed = |output: &std::process::Output| output.status.success();
    if !ask(1).is_ok_and(|output| allowed(&output)) {
        eprintln!("skipped: needs root, setpriv, and a test binary that every user may run");
        return;
    }
    for (gid, about, undrain) in [
        (
            1,
            "about: view",
            "undrain: this needs the role operate; uid 65534",
        ),
        (2, "about: operate", "undrain: ok"),
        (3, "about: admin", "undrain: ok"),
        (
            65_533,
            "about: this needs the role view; uid 65534",
            "undrain: this needs the role view",
        ),
    ] {
        let output = ask(gid).unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(
            told.contains(about) && told.contains(undrain),
            "{gid}: {told}"
        );
    }
}

/// All pages of a list with so many entries on each, each of them filled but the last.
async fn paged<R: dmsc_proto::Page, F>(limit: usize, ask: impl Fn(PageRequest) -> F) -> R
where
    F: Future<Output = Result<tonic::Response<R>, tonic::Status>>,
{
    let page = async |limit, after| {
        let answer = ask(PageRequest { limit, after }).await?;
        let (reply, most) = (answer.get_ref(), limit as usize);
        assert!(limit == 0 || reply.count() <= most, "{}", reply.count());
        Ok(answer)
    };
    let limit = u32::try_from(limit).unwrap();
    // The limit of the helper is of all pages together.
    dmsc_proto::all_pages(0, |_, after| page(limit, after))
        .await
        .unwrap()
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    // More than one chunk; few enough to read by small pages well within the pod's lease, which nobody refreshes.
    const NAMES: usize = 1_100;
    let net = Net::new(15);
    let authority = format!("{}:35032", net.address(9));
    net.write(1, "sg", &[], &format!("authorities = [\"{authority}\"]\n"));
    let own = net.address(1);
    let lines = format!("operator_listen = \"{own}:35033\"\n[linkstate]");
    net.rewrite(1, "[linkstate]", &lines);
    let _one = net.dataplane(1, "sg", 1).await;
    let _process = net.start(1, "sg");
    let _spa = start_spa(&net, &authority).await;
    let mut pod = net::pod::Pod::new(&net, 1, "pod1/a").await;
    let names: Vec<String> = (0..NAMES).map(|n| format!("/shop/a/{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    pod.register(4_000, &names).await.unwrap();
    let folder = net.credentials(&"operator/view/eve".parse().unwrap(), "eve");
    let client = OperatorClient::new(connect(&folder, &format!("https://{own}:35033")).await);
    let prefixes = |request: PageRequest| {
        let mut client = client.clone();
        let request = PrefixesRequest {
            limit: request.limit,
            after: request.after,
            under: net::pod::name("/shop/a"),
        };
        async move { client.show_prefixes(request).await }
    };
    let valid = |reply: &PrefixesReply| {
        let valid = |one: &PrefixInfo| one.members.iter().all(|one| one.state == "valid");
        reply.prefixes.len() == NAMES && reply.prefixes.iter().all(valid)
    };
    let whole = until(|| paged(0, prefixes), valid).await;
    assert_eq!(whole.total as usize, NAMES);
    for limit in [10, 700] {
        let pages: PrefixesReply = paged(limit, prefixes).await;
        assert_eq!(pages.prefixes.len(), NAMES);
        assert!(pages.prefixes == whole.prefixes, "in pages of {limit}");
    }
    // A page of one goes on from where it ended, and says so only if there is more.
    let first = prefixes(PageRequest {
        limit: 1_099,
        after: Vec::new(),
    });
    let first = first.await.unwrap().into_inner();
    let last = PageRequest {
        limit: 1,
        after: first.next,
    };
    let last = prefixes(last).await.unwrap().into_inner();
    assert_eq!((last.prefixes.len(), last.next.len()), (1, 0));
    let bad = PageRequest {
        limit: 1,
        after: vec![0, 0, 0, 1, 9],
    };
    let status = prefixes(bad).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("ask from the start"), "{status}");

    let lsdb = |request: PageRequest| {
        let mut client = client.clone();
        let request = LsdbRequest {
            bodies: false,
            limit: request.limit,
            after: request.after,
        };
        async move { client.show_lsdb(request).await }
    };
    let key = |one: &LsdbEntry| (one.kind, one.origin, one.id);
    let whole: LsdbReply = paged(0, lsdb).await;
    assert!(whole.entries.len() > NAMES / 64, "{}", whole.entries.len());
    assert_eq!(whole.total as usize, whole.entries.len());
    assert!(whole.entries.is_sorted_by(|a, b| key(a) < key(b)));
    let pages: LsdbReply = paged(1, lsdb).await;
    assert!(
        pages
            .entries
            .iter()
            .map(key)
            .eq(whole.entries.iter().map(key))
    );
    let rights: AuthorisationsReply = paged(1, |request| {
        let mut client = client.clone();
        async move { client.show_authorisations(request).await }
    })
    .await;
    assert_eq!(rights.authorisations.len(), 1);
    let pods: PodsReply = paged(1, |request| {
        let mut client = client.clone();
        async move { client.show_pods(request).await }
    })
    .await;
    assert_eq!((pods.pods.len(), pods.pods[0].serves.len()), (1, NAMES));
}

/// The real process's inside, in this one.
async fn start_spa(net: &Net, address: &str) -> dmsc_node::spa::Running {
    let folder = net.credentials(&"spa/spa1".parse().unwrap(), "spa1");
    let policy = "[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\"]\n";
    std::fs::write(net.path("policy.toml"), policy).unwrap();
    let text = format!(
        "[spa]\nname = \"spa1\"\nlisten = \"{address}\"\ncredentials = {folder:?}\nstate_dir = {:?}\npolicy = \"policy.toml\"\n",
        net.path("spa-state")
    );
    let config = dmsc_node::spa::config::SpaConfig::parse(&text, &net.path("spa.toml")).unwrap();
    dmsc_node::spa::start(config).await.unwrap()
}
