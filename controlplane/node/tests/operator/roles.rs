//! Who may do what, on TCP and on the socket, and what is written down.

use crate::*;

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
        command.args(["--exact", "roles::somebody_asks", "--nocapture"]);
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
