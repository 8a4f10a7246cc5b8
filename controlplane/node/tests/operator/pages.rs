//! Long lists.

use crate::*;

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
