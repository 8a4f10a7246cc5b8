//! Shares, movement and determinism of service groups.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The i-th flow label of a kind.
type Label = fn(u32) -> u32;

fn member(gateway: u32, metric: u32, weight: u16) -> Member {
    Member {
        gateway: NodeId(gateway),
        metric,
        weight,
        delay_weight: 0,
    }
}

fn weighted(members: &[Member]) -> Group {
    Group::new(members.to_vec(), GroupPolicy::Weighted).unwrap()
}

/// Labels that reach nearly all slots.
fn labels() -> impl Iterator<Item = FlowLabel> {
    (0..1 << 14).map(FlowLabel)
}

fn choice(group: &Group, flow: FlowLabel) -> Option<NodeId> {
    group.select(flow, |_| true).map(|m| m.gateway)
}

fn shares(group: &Group) -> BTreeMap<NodeId, f64> {
    let mut shares = BTreeMap::new();
    for slot in Slot::all() {
        *shares.entry(group.first(slot)).or_insert(0.0) += 1.0 / SLOTS as f64;
    }
    shares
}

fn members(weights: std::ops::Range<u16>) -> impl Strategy<Value = Vec<Member>> {
    prop::collection::btree_map(any::<u32>(), (0u32..3, weights), 1..12).prop_map(|m| {
        m.into_iter()
            .map(|(g, (metric, weight))| member(g, metric, weight))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn shares_follow_the_weights(members in members(1..100)) {
        prop_assume!(members.len() > 1);
        let total: f64 = members.iter().map(|m| f64::from(m.weight)).sum();
        let shares = shares(&weighted(&members));
        for m in &members {
            let share = shares.get(&m.gateway).copied().unwrap_or(0.0);
            let exact = f64::from(m.weight) / total;
            prop_assert!((share - exact).abs() <= 0.02, "{m:?}: {share} instead of {exact}");
        }
    }

    #[test]
    fn a_member_that_goes_moves_only_its_own_flows(members in members(1..100), gone in any::<prop::sample::Index>()) {
        prop_assume!(members.len() > 1);
        let whole = weighted(&members);
        let gone = members[gone.index(members.len())].gateway;
        let mut rest = members.clone();
        rest.retain(|m| m.gateway != gone);
        let rest = weighted(&rest);
        for flow in labels() {
            let before = choice(&whole, flow);
            let after = choice(&rest, flow);
            if before != Some(gone) {
                prop_assert_eq!(before, after);
            }
            // While it is only away, flows go where they will go once it is gone.
            let away = whole.select(flow, |m| m.gateway != gone).map(|m| m.gateway);
            prop_assert_eq!(away, after);
        }
    }

    #[test]
    fn a_weight_that_grows_only_attracts(members in members(1..100), more in any::<prop::sample::Index>()) {
        let mut heavier = members.clone();
        let at = more.index(members.len());
        heavier[at].weight *= 2;
        let (before, after) = (weighted(&members), weighted(&heavier));
        for flow in labels() {
            let (before, after) = (choice(&before, flow), choice(&after, flow));
            prop_assert!(before == after || after == Some(members[at].gateway));
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter(members in members(0..4), policy in any::<bool>()) {
        let policy = if policy { GroupPolicy::Nearest } else { GroupPolicy::Weighted };
        let forward = Group::new(members.clone(), policy).unwrap();
        let backward = Group::new(members.into_iter().rev().collect(), policy).unwrap();
        prop_assert_eq!(&forward.inner.slots, &backward.inner.slots);
        prop_assert_eq!(&forward, &backward);
    }

    /// Against the definition, whatever is eligible.
    #[test]
    fn the_choice_is_that_of_the_definition(members in members(0..4), away in any::<u16>(), policy in any::<bool>(), flow in any::<u32>()) {
        let policy = if policy { GroupPolicy::Nearest } else { GroupPolicy::Weighted };
        let group = Group::new(members.clone(), policy).unwrap();
        let first = group.first(Slot::of(FlowLabel(flow)));
        let chosen = group.primaries().next().and(choice(&group, FlowLabel(flow)));
        prop_assert_eq!(first, chosen.unwrap_or(NodeId::NONE));
        let eligible = |m: &Member| away >> (m.gateway.0 % 16) & 1 == 0;
        let least = members.iter().filter(|m| m.weight > 0).map(|m| m.metric).min();
        let weight = |m: &Member| match policy {
            GroupPolicy::Weighted => m.weight,
            GroupPolicy::Nearest => u16::from(m.weight > 0 && Some(m.metric) == least),
        };
        let slot = Slot::of(FlowLabel(flow)).number();
        let rank = |m: &Member, w| stratified::rank(stratified::scores(m.gateway, slot / BLOCK)[slot % BLOCK], w);
        let primary = members.iter().filter(|m| eligible(m) && weight(m) > 0)
            .min_by(|a, b| rank(a, weight(a)).total_cmp(&rank(b, weight(b))));
        let backup = members.iter().filter(|m| eligible(m) && weight(m) == 0)
            .min_by(|a, b| a.metric.cmp(&b.metric).then(rank(a, 1).total_cmp(&rank(b, 1))));
        prop_assert_eq!(group.select(FlowLabel(flow), eligible), primary.or(backup));
    }
}

#[test]
fn two_equal_members_share_a_thousand_labels_in_sequence_exactly() {
    for (a, b) in (1..30).flat_map(|a| (a + 1..31).map(move |b| (a, b))) {
        let group = weighted(&[member(a, 10, 1), member(b, 20, 1)]);
        let first = (0..1000)
            .filter(|&i| choice(&group, FlowLabel(i)) == Some(NodeId(a)))
            .count();
        assert_eq!(first, 500, "gateways {a} and {b}");
    }
}

#[test]
fn a_thousand_labels_spread_in_proportion() {
    let kinds: [(&str, Label); 4] = [
        ("sequential", |i| 7 + i),
        ("even", |i| i * 2),
        ("stride 4096", |i| i << 12),
        ("random", |i| stratified::mix64(u64::from(i) + 1) as u32),
    ];
    for (weights, exact) in [
        ([1, 1, 1], [1.0 / 3.0; 3]),
        ([1, 2, 5], [0.125, 0.25, 0.625]),
    ] {
        let members: Vec<Member> = (0..3)
            .map(|i| member(i as u32 + 1, 10, weights[i]))
            .collect();
        let group = weighted(&members);
        for (kind, label) in kinds {
            for (i, exact) in exact.iter().enumerate() {
                let of_member =
                    |l: &u32| choice(&group, FlowLabel(label(*l))) == Some(NodeId(i as u32 + 1));
                let share = (0..1000).filter(of_member).count() as f64 / 1000.0;
                assert!(
                    (share - exact).abs() < 0.05,
                    "{kind} {weights:?}: {share} instead of {exact}"
                );
            }
        }
    }
}

/// However few bits a slot has.
#[test]
fn slots_of_every_width_say_what_the_scores_say() {
    for count in [1, 2, 3, 4, 5, 16, 17, 255] {
        let members: Vec<Member> = (1..=count).map(|gateway| member(gateway, 1, 1)).collect();
        let group = weighted(&members);
        for slot in Slot::all().step_by(if cfg!(miri) { 997 } else { 7 }) {
            let (block, within) = (slot.number() / BLOCK, slot.number() % BLOCK);
            let score = |m: &&Member| stratified::scores(m.gateway, block)[within];
            let best = members.iter().rev().max_by_key(score).unwrap();
            assert_eq!(group.first(slot), best.gateway, "{count}");
        }
    }
}

/// The choice must not change between versions, or flows of a network that is being upgraded break: these
/// are the choices of the first one.
#[test]
fn the_choice_is_the_same_for_ever() {
    let group = weighted(&[
        member(1, 1, 1),
        member(2, 1, 2),
        member(3, 1, 3),
        member(0xffff_ffff, 1, 4),
    ]);
    let chosen: Vec<u32> = (0..16)
        .map(|i| choice(&group, FlowLabel(i * 77_777)).unwrap().0)
        .collect();
    const LAST: u32 = 0xffff_ffff;
    assert_eq!(
        chosen,
        [
            3, 3, 1, LAST, 3, LAST, 2, LAST, 2, 1, 3, 3, 3, LAST, LAST, 3
        ]
    );
}

#[test]
fn nearest_keeps_the_far_ones_for_later() {
    let group = Group::new(
        vec![
            member(1, 10, 1),
            member(2, 10, 7),
            member(3, 5, 0),
            member(4, 20, 1),
            member(5, 30, 1),
        ],
        GroupPolicy::Nearest,
    )
    .unwrap();
    let ids = |members: Vec<&Member>| members.iter().map(|m| m.gateway.0).collect::<Vec<_>>();
    assert_eq!(ids(group.primaries().collect()), [1, 2]);
    assert_eq!(ids(group.backups().collect()), [3, 4, 5]);
    let without = |gone: &'static [u32]| {
        group
            .select(FlowLabel(9), move |m| !gone.contains(&m.gateway.0))
            .map(|m| m.gateway.0)
    };
    assert_eq!(without(&[1]), Some(2));
    assert_eq!(without(&[1, 2]), Some(3));
    assert_eq!(without(&[1, 2, 3]), Some(4));
    assert_eq!(without(&[1, 2, 3, 4]), Some(5));
    assert_eq!(without(&[1, 2, 3, 4, 5]), None);
}

#[test]
fn groups_that_cannot_be() {
    let many = (0..256).map(|i| member(i, 1, 1)).collect();
    assert_eq!(
        Group::new(many, GroupPolicy::Nearest),
        Err(GroupError::TooManyMembers(256))
    );
    let twice = vec![member(7, 1, 1), member(8, 1, 1), member(7, 2, 1)];
    assert_eq!(
        Group::new(twice, GroupPolicy::Nearest),
        Err(GroupError::DuplicateGateway(NodeId(7)))
    );
    let empty = Group::new(Vec::new(), GroupPolicy::Nearest).unwrap();
    assert_eq!(choice(&empty, FlowLabel(1)), None);
}

#[test]
fn the_share_by_delay_is_the_same_by_slot_by_flow_and_by_gateway() {
    let mut members = [member(4, 10, 10), member(5, 10, 10)];
    members[1].delay_weight = 5;
    let group = weighted(&members);
    let mut by_delay = 0;
    for flow in labels() {
        let slot = Slot::of(flow);
        let selected = group.select(flow, |_| true).unwrap();
        assert_eq!(selected.gateway, group.first(slot));
        let takes = selected.by_delay().takes(flow);
        assert_eq!(group.first_by_delay(slot), takes);
        assert_eq!(group.share_by_delay(selected.gateway).takes(flow), takes);
        by_delay += usize::from(takes);
    }
    // A half of a half.
    let all = labels().count();
    assert!(
        (all / 5..all * 3 / 10).contains(&by_delay),
        "{by_delay} of {all}"
    );
    assert!(group.share_by_delay(NodeId(6)).is_none());
    assert!(group.share_by_delay(NodeId(4)).is_none());
}

#[test]
fn a_choice_that_does_not_fit_the_members_is_seen() {
    let two = weighted(&[member(4, 10, 10), member(5, 10, 10), member(6, 10, 0)]);
    let many: Vec<Member> = (1..30).map(|id| member(id, 10, 10)).collect();
    let empty = Group::new(Vec::new(), GroupPolicy::Nearest).unwrap();
    assert!(two.is_sound() && weighted(&many).is_sound() && empty.is_sound());
    let damaged = |damage: fn(&mut Inner<[u64]>)| {
        let mut group = weighted(&many);
        damage(Arc::get_mut(&mut group.inner).unwrap());
        !group.is_sound()
    };
    assert!(damaged(|inner| inner.near[3] = NodeId(77)));
    assert!(damaged(|inner| inner.slots[100] = u64::MAX));
    assert!(damaged(|inner| inner.backups.push(3)));
    assert!(damaged(|inner| inner.some_by_delay = true));
    assert!(damaged(|inner| inner.members.swap(0, 1)));
}
