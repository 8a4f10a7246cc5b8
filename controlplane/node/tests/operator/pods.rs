//! What a gateway tells of its pods.

use crate::*;

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

    // A file of a router is none for a gateway: told of the whole file, not of a line.
    let text = std::fs::read_to_string(net.config(2)).unwrap();
    let status = asked
        .check_config(ConfigRequest { text })
        .await
        .unwrap_err();
    assert!(
        status.message().starts_with("[gateway]: missing"),
        "{status}"
    );
}
