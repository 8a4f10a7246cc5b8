//! Transactions: all or nothing, ids that rest, state that stays.

use v1::op::Op as O;

use crate::attachment::Endpoint;
use crate::counters::DropReason;
use crate::packet::Verdict;
use crate::stage::testing::{World, name, op, request};
use dmsc_fib::AdjacencyId;
use dmsc_proto::v1;
use dmsc_wire::{AttachmentId, Domain};

fn refused(world: &mut World, ops: &[v1::Op]) -> String {
    let before = (
        world.programmer.tables().fib.len(),
        world.programmer.tables().attachments.len(),
    );
    let message = world
        .programmer
        .apply(ops)
        .expect_err("refused")
        .to_string();
    let after = (
        world.programmer.tables().fib.len(),
        world.programmer.tables().attachments.len(),
    );
    assert_eq!(before, after, "nothing changed");
    message
}

#[test]
fn a_transaction_is_all_or_nothing_and_names_what_is_wrong() {
    let mut world = World::new();
    let good = op(O::PutPrefix(v1::Prefix {
        domain: 1,
        name: name("/new").as_bytes().to_vec(),
        group: 1,
    }));
    for (bad, expected) in [
        (
            O::PutPrefix(v1::Prefix {
                domain: 1,
                name: name("/x").as_bytes().to_vec(),
                group: 99,
            }),
            "group 99",
        ),
        (
            O::PutPrefix(v1::Prefix {
                domain: 1,
                name: vec![9, 9],
                group: 1,
            }),
            "operation 1 (put_prefix): name",
        ),
        (
            O::PutPrefix(v1::Prefix {
                domain: 1,
                name: name("/dmsc/1").as_bytes().to_vec(),
                group: 1,
            }),
            "reserved",
        ),
        (O::DeleteAdjacency(1), "adjacency 1"),
        (O::DeleteGroup(1), "still used"),
        (O::Detach(7), "attachment 7 does not exist"),
        (
            O::PutAdjacency(v1::Adjacency {
                id: 3,
                peer: 7,
                port: "p9".into(),
                ..Default::default()
            }),
            "port \"p9\" does not exist; there are p0, p1, p2",
        ),
        (
            O::PutAdjacency(v1::Adjacency {
                id: 3,
                peer: 7,
                port: "p0".into(),
                local_address: "10.0.0.1".into(),
                remote_address: "10.9.0.2".into(),
                ..Default::default()
            }),
            "next_hop",
        ),
        (
            O::PutAdjacency(v1::Adjacency {
                id: 3,
                peer: 7,
                port: "p0".into(),
                local_address: "10.0.0.1".into(),
                remote_address: "10.0.0.3".into(),
                minimum_ttl: 250,
                ..Default::default()
            }),
            "hellos need a key",
        ),
    ] {
        let message = refused(&mut world, &[good.clone(), op(bad)]);
        assert!(
            message.contains(expected),
            "{message:?} should contain {expected:?}"
        );
    }
    world.apply(&[good]);
    assert!(
        world
            .programmer
            .tables()
            .fib
            .lookup(Domain(1), name("/new/x").as_name())
            .is_some()
    );
}

#[test]
fn attachment_ids_stay_with_their_endpoint_and_rest_before_reuse() {
    let mut world = World::new();
    let first = world.attach(2, &["/shop/b"]);
    assert_eq!(world.attach(2, &["/shop/b", "/more"]), first, "refreshed");
    let second = world.attach(3, &["/shop/b"]);
    let found = world
        .programmer
        .tables()
        .fib
        .lookup(Domain(1), name("/shop/b").as_name())
        .expect("prefix");
    let set = world
        .programmer
        .tables()
        .attachments
        .set(found.value.local.expect("served here"));
    assert_eq!(
        set.iter().map(|a| a.id).collect::<Vec<_>>(),
        [first, second]
    );
    world.apply(&[op(O::Detach(u32::from(first.0)))]);
    assert_ne!(world.attach(4, &[]), first, "rests");
    let message = refused(
        &mut world,
        &[op(O::Attach(v1::Attachment {
            id: u32::from(first.0),
            port: "p2".into(),
            address: "10.1.0.9".into(),
            udp_port: 1,
            identity: "x".into(),
            ..Default::default()
        }))],
    );
    assert!(message.contains("rests"), "{message}");
    let found = world
        .programmer
        .tables()
        .fib
        .lookup(Domain(1), name("/shop/b").as_name())
        .expect("prefix");
    let set = world
        .programmer
        .tables()
        .attachments
        .set(found.value.local.expect("served here"));
    assert_eq!(set.iter().map(|a| a.id).collect::<Vec<_>>(), [second]);
    world.apply(&[op(O::Detach(u32::from(second.0)))]);
    let found = world
        .programmer
        .tables()
        .fib
        .lookup(Domain(1), name("/shop/b").as_name())
        .expect("routed still");
    assert_eq!(found.value.local, None);
    assert!(
        world
            .programmer
            .tables()
            .fib
            .lookup(Domain(1), name("/more").as_name())
            .is_none()
    );
}

#[test]
fn an_unchanged_adjacency_keeps_its_state() {
    let mut world = World::new();
    let put = |mtu: u32| {
        op(O::PutAdjacency(v1::Adjacency {
            id: 1,
            peer: 5,
            port: "p0".into(),
            local_address: "10.0.0.1".into(),
            remote_address: "10.0.0.2".into(),
            mtu,
            ..Default::default()
        }))
    };
    world.apply(&[put(0)]);
    world.apply(&[put(1400)]);
    let adjacency = world
        .programmer
        .tables()
        .adjacencies
        .get(AdjacencyId(1))
        .expect("adjacency")
        .clone();
    assert!(adjacency.is_up());
    assert_eq!(adjacency.config.mtu, 1400);
}

fn put(text: &str, group: u32) -> v1::Op {
    op(O::PutPrefix(v1::Prefix {
        domain: 1,
        name: name(text).as_bytes().to_vec(),
        group,
    }))
}

fn delete(text: &str) -> v1::Op {
    op(O::DeletePrefix(v1::PrefixKey {
        domain: 1,
        name: name(text).as_bytes().to_vec(),
    }))
}

fn is_there(world: &World, text: &str) -> bool {
    let fib = &world.programmer.tables().fib;
    fib.prefix(Domain(1), name(text).as_name()).is_some()
}

#[test]
fn transactions_that_are_done_together_go_as_if_one_by_one() {
    let mut world = World::new();
    let transactions = [
        vec![put("/x/1", 1), put("/x/2", 1)],
        vec![delete("/x/1"), put("/x/3", 1)],
        vec![delete("/nowhere"), put("/x/4", 1)],
        vec![put("/x/5", 1)],
        vec![put("/x/6", 99)],
        vec![delete("/x/5"), put("/x/5", 1)],
        // What comes later mends nothing.
        vec![put("/x/7", 99)],
        vec![put("/x/7", 1)],
        vec![put("/x/8", 99), put("/x/8", 1)],
    ];
    let parts: Vec<&[v1::Op]> = transactions.iter().map(Vec::as_slice).collect();
    let outcomes = world.programmer.apply_each(&parts);
    let done: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(
        done,
        [true, true, false, true, false, true, false, true, false]
    );
    let there = [1, 2, 3, 4, 5, 6, 7, 8].map(|n| is_there(&world, &format!("/x/{n}")));
    assert_eq!(there, [false, true, true, false, true, false, true, false]);
    let good = world.programmer.apply_each(&parts[3..4]);
    assert!(good.iter().all(Result::is_ok));
    let both = [vec![delete("/x/5")], vec![put("/x/5", 1), delete("/x/2")]];
    let both: Vec<&[v1::Op]> = both.iter().map(Vec::as_slice).collect();
    assert!(world.programmer.apply_each(&both).iter().all(Result::is_ok));
    assert!(is_there(&world, "/x/5") && !is_there(&world, "/x/2"));
}

fn group(id: u32) -> v1::Op {
    op(O::PutGroup(v1::Group {
        id,
        members: vec![v1::Member {
            gateway: 5,
            metric: 1,
            weight: 1,
            delay_weight: 0,
        }],
        weighted: false,
    }))
}

#[test]
fn routes_in_the_order_of_their_places_are_the_same_as_one_by_one() {
    let mut worlds = [World::new(), World::new()];
    for world in &mut worlds {
        world.apply(&[group(50), group(51)]);
        world.attach(2, &["/r/3", "/r/4", "/s"]);
    }
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut below = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % n
    };
    let (mut done, mut refusals) = (0, 0);
    for _ in 0..400 {
        // Few names, so that many come twice in one transaction.
        let ops: Vec<v1::Op> = (0..1 + below(12))
            .map(|_| {
                let text = ["/r", "/r/1", "/r/2", "/r/3", "/r/4", "/s"][below(6) as usize];
                match below(60) {
                    0 => put("/dmsc/1", 50),
                    1 => put(text, 0),
                    2 => put(text, 99),
                    3 => op(O::PutPrefix(v1::Prefix {
                        name: vec![7, 7],
                        ..Default::default()
                    })),
                    4..=9 => delete(text),
                    _ => put(text, 50 + below(2) as u32),
                }
            })
            .collect();
        let [first, second] = &mut worlds;
        let together = first.programmer.apply(&ops).map_err(|e| e.to_string());
        // With a group besides it is done the other way: each name is looked for by itself, in the order in which they are given.
        let before = second.programmer.tables().clone();
        let mut one_by_one = Ok(());
        for (index, one) in ops.iter().enumerate() {
            let refused = second.programmer.apply(&[one.clone(), group(50)]).err();
            if refused.is_some() {
                one_by_one = Err(index);
                second.programmer.tables = before;
                break;
            }
        }
        match (&together, one_by_one) {
            (Ok(_), Ok(())) => done += 1,
            (Err(message), Err(index)) => {
                assert!(
                    message.starts_with(&format!("operation {index} (")),
                    "{message}"
                );
                refusals += 1;
            }
            other => panic!("{other:?}"),
        }
        let [first, second] = worlds.each_ref().map(|world| {
            let all = world.programmer.tables().fib.prefixes();
            let mut all: Vec<_> = all.map(|p| (p.domain, p.name, p.value)).collect();
            all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            all
        });
        assert_eq!(first, second);
        assert_eq!(worlds[0].programmer.tables().fib.audit(), Ok(()));
    }
    assert!(
        done > 50 && refusals > 50,
        "{done} done, {refusals} refused"
    );
}

#[test]
fn groups_that_go_and_come_keep_their_order() {
    let mut world = World::new();
    let transactions = [
        vec![group(50)],
        vec![op(O::DeleteGroup(50))],
        vec![group(50), put("/y", 50)],
    ];
    let parts: Vec<&[v1::Op]> = transactions.iter().map(Vec::as_slice).collect();
    let outcomes = world.programmer.apply_each(&parts);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(is_there(&world, "/y"));
}

#[test]
fn a_route_that_comes_and_goes_leaves_the_pods_of_its_prefix() {
    let mut world = World::new();
    let first = world.attach(2, &["/mine"]);
    world.apply(&[put("/mine", 1)]);
    let second = world.attach(3, &["/mine"]);
    world.apply(&[delete("/mine")]);
    let value = world
        .programmer
        .tables()
        .fib
        .prefix(Domain(1), name("/mine").as_name())
        .expect("served here");
    assert_eq!(value.group, None);
    let local = value.local.expect("served here");
    let set = world.programmer.tables().attachments.set(local);
    let ids: Vec<_> = set.iter().map(|a| a.id).collect();
    assert_eq!(ids, [first, second]);
    world.apply(&[
        op(O::Detach(u32::from(first.0))),
        op(O::Detach(u32::from(second.0))),
    ]);
    assert!(!is_there(&world, "/mine"));
    let third = world.attach(4, &["/other"]);
    world.apply(&[put("/other", 1), put("/mine", 1)]);
    let value = world
        .programmer
        .tables()
        .fib
        .prefix(Domain(1), name("/other").as_name())
        .expect("there");
    let set = world
        .programmer
        .tables()
        .attachments
        .set(value.local.expect("served here"));
    assert_eq!(set.iter().map(|a| a.id).collect::<Vec<_>>(), [third]);
}

fn moving(id: AttachmentId, from: &str, to: u8) -> v1::Op {
    op(O::Attach(v1::Attachment {
        id: u32::from(id.0),
        port: "p2".into(),
        address: format!("10.1.0.{to}"),
        udp_port: 40_000,
        identity: from.into(),
        serves: vec![name("/shop/b").as_bytes().to_vec()],
        owns: vec![name(&format!("/id/{from}")).as_bytes().to_vec()],
        moves: true,
        ..Default::default()
    }))
}

#[test]
fn an_attachment_moves_in_one_step_and_what_was_under_way_is_taken() {
    let mut world = World::new();
    let (id, other) = (world.attach(2, &["/shop/b"]), world.attach(3, &[]));
    let (from, to) = (name("/id/2"), name("/far"));
    let packet = request(&from, &to).to_vec().expect("packet");
    assert_eq!(world.apply(&[moving(id, "2", 9)]), [id]);
    let attachments = &world.programmer.tables().attachments;
    let moved = attachments.get(id).expect("there");
    assert_eq!(
        moved.endpoint,
        Endpoint::Udp("10.1.0.9".parse().expect("address"), 40_000)
    );
    assert_eq!(attachments.len(), 2);
    // By name and by its id it is where it is now.
    let fib = &world.programmer.tables().fib;
    let found = fib.lookup(Domain(1), name("/shop/b").as_name());
    let set = found.expect("prefix").value.local.expect("served here");
    assert!(std::sync::Arc::ptr_eq(&attachments.set(set)[0], moved));
    for host in [2, 9] {
        let outcome = world.from_pod(host, &packet);
        assert_eq!(outcome.context.verdict, Verdict::Send(0), "from {host}");
        assert_eq!(outcome.header().source_attachment, id);
    }
    // Only its own, and only where it said; somebody else who takes the old place has it.
    let message = refused(&mut world, &[moving(other, "2", 8)]);
    assert!(message.contains("is of identity \"3\""), "{message}");
    let message = refused(&mut world, &[moving(AttachmentId(77), "2", 8)]);
    assert!(message.contains("does not exist"), "{message}");
    let message = refused(&mut world, &[moving(AttachmentId(0), "2", 8)]);
    assert!(message.contains("by its id"), "{message}");
    let third = world.attach(2, &[]);
    assert_ne!(third, id);
    let outcome = world.from_pod(2, &packet);
    assert_eq!(outcome.header().source_attachment, third);
    // Gone is gone, wherever it was.
    world.apply(&[moving(id, "2", 10), op(O::Detach(u32::from(id.0)))]);
    for host in [9, 10] {
        let verdict = world.from_pod(host, &packet).context.verdict;
        assert_eq!(verdict, Verdict::Drop(DropReason::UnregisteredSource));
    }
}

#[test]
fn a_pod_moves_back_and_forth_and_the_former_place_lasts_over_refreshes() {
    let mut world = World::new();
    let id = world.attach(2, &["/shop/b"]);
    let (from, to) = (name("/id/2"), name("/far"));
    let packet = request(&from, &to).to_vec().expect("packet");
    for host in [9, 2, 9] {
        assert_eq!(world.apply(&[moving(id, "2", host)]), [id]);
        // Refreshed where it is: health or names changed.
        assert_eq!(world.apply(&[moving(id, "2", host)]), [id]);
        for host in [2, 9] {
            let verdict = world.from_pod(host, &packet).context.verdict;
            assert_eq!(verdict, Verdict::Send(0), "from {host}");
        }
    }
    assert_eq!(world.programmer.tables().attachments.former_of(id).len(), 1);
}
