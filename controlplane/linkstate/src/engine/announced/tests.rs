use super::*;

fn prefix(n: usize, metric: u32) -> Prefix {
    Prefix {
        domain: Domain(1),
        name: NameBuf::parse(&format!("/p/{n}")).unwrap(),
        metric,
        weight: 1,
        announced_at_ms: 0,
    }
}

#[test]
fn one_changed_prefix_rewrites_one_object() {
    let mut announced = Announced::default();
    for n in 0..200 {
        announced.announce(prefix(n, 0), Duration::ZERO);
    }
    assert_eq!(announced.place(|_| true).len(), 4);
    announced.announce(prefix(7, 5), Duration::ZERO);
    assert_eq!(announced.place(|_| true).len(), 1);
    for n in 0..200 {
        let place = (Domain(1), prefix(n, 0).name);
        announced.withdraw(place, Duration::ZERO);
    }
    let emptied = announced.place(|_| true);
    assert_eq!(emptied.len(), 4);
    assert!(emptied.iter().all(|id| announced.body(*id).is_none()));
}

#[test]
fn a_prefix_that_flaps_is_damped_and_its_neighbours_are_not() {
    let mut announced = Announced::default();
    let mut rewritten = 0;
    for step in 0..1_000u32 {
        let now = Duration::from_millis(u64::from(step) * 10);
        announced.undamp(now);
        announced.announce(prefix(1, step + 1), now);
        rewritten += announced.place(|_| true).len();
    }
    assert!((10..=21).contains(&rewritten), "{rewritten}");
    announced.announce(prefix(2, 0), Duration::from_secs(10));
    assert_eq!(announced.place(|_| true).len(), 1);
    announced.undamp(Duration::from_secs(12));
    announced.place(|_| true);
    let body = announced.body(1).unwrap();
    let last = crate::engine::body::prefixes(&body).unwrap();
    assert_eq!(last.first().map(|prefix| prefix.metric), Some(1_000));
}

fn place(n: usize) -> Place {
    (Domain(1), prefix(n, 0).name)
}

fn names(announced: &Announced, id: u64) -> Vec<NameBuf> {
    let body = announced.body(id).unwrap();
    let prefixes = crate::engine::body::prefixes(&body).unwrap();
    prefixes.into_iter().map(|prefix| prefix.name).collect()
}

#[test]
fn a_withdrawal_is_never_damped_and_what_follows_it_is() {
    let mut announced = Announced::default();
    let ms = Duration::from_millis;
    announced.announce(prefix(9, 0), ms(0));
    for step in 0..20 {
        announced.announce(prefix(1, step), ms(u64::from(step)));
        announced.place(|_| true);
    }
    announced.withdraw(place(1), ms(30));
    assert_eq!(announced.place(|_| true).len(), 1, "gone at once");
    assert_eq!(names(&announced, 1), [prefix(9, 0).name]);
    // Up and down for ten seconds: two changes a second, and the last word counts.
    let mut rewritten = 0;
    for step in 4..1_000 {
        let now = ms(step * 10);
        announced.undamp(now);
        announced.announce(prefix(1, u32::try_from(step).unwrap()), now);
        rewritten += announced.place(|_| true).len();
        announced.withdraw(place(1), now + ms(5));
        rewritten += announced.place(|_| true).len();
    }
    assert!(rewritten <= 42, "{rewritten}");
    announced.undamp(ms(20_000));
    announced.place(|_| true);
    assert_eq!(names(&announced, 1), [prefix(9, 0).name]);
}

#[test]
fn what_may_not_be_announced_is_gone_even_if_it_flaps() {
    let mut announced = Announced::default();
    for step in 0..20 {
        announced.announce(prefix(1, step), Duration::ZERO);
        announced.place(|_| true);
    }
    announced.touch_all();
    assert_eq!(announced.place(|_| false).len(), 1);
    assert!(announced.body(1).is_none());
}

#[test]
fn of_an_earlier_life_the_newest_version_counts() {
    let mut announced = Announced::default();
    let prefixes =
        |range: std::ops::Range<usize>| -> Vec<Prefix> { range.map(|n| prefix(n, 0)).collect() };
    announced.adopt(1, &prefixes(0..64));
    announced.adopt(2, &prefixes(60..100));
    // One is announced again before the newer version of its object comes, in which it is not.
    announced.announce(prefix(3, 0), Duration::ZERO);
    announced.adopt(1, &prefixes(100..164));
    assert_eq!(names(&announced, 1).len(), 64);
    let changed = announced.place(|_| true);
    assert!(changed.contains(&2), "others know more of it than is here");
    let mut all: Vec<NameBuf> = (1..=announced.next)
        .flat_map(|id| {
            let names = names(&announced, id);
            assert!(names.len() <= MAX_PREFIXES, "{id}: {}", names.len());
            names
        })
        .collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "each in one object");
    assert!(all.contains(&prefix(3, 0).name));
    announced.end_adoption();
    announced.place(|_| true);
    assert!(announced.body(1).is_none());
}
