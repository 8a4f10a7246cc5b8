//! The table of exact keys finds what was put in, and nothing else.

mod common;

use common::eal;
use dmsc_dpdk::{ExactHash, ExactHashError, MAX_BULK};

#[test]
fn keys_are_found_in_bulk() {
    let eal = eal(64);
    let key = |i: u32| {
        let mut key = [0x5a; 40];
        key[..4].copy_from_slice(&i.to_le_bytes());
        key
    };
    let mut table = ExactHash::<40>::new(&eal, "t", 1_500).unwrap();
    let positions: Vec<i32> = (0..1_000).map(|i| table.insert(&key(i)).unwrap()).collect();
    assert_eq!(table.insert(&key(7)).unwrap(), positions[7]);

    let keys: Vec<[u8; 40]> = (990..990 + MAX_BULK as u32 + 1).map(key).collect();
    let asked: Vec<&[u8; 40]> = keys.iter().collect();
    let mut found = vec![i32::MIN; asked.len()];
    table.lookup_bulk(&asked, &mut found);
    assert_eq!(found[..10], positions[990..]);
    assert!(found[10..MAX_BULK].iter().all(|&p| p < 0 && p != i32::MIN));
    assert_eq!(found[MAX_BULK], i32::MIN, "more than a bulk");
    table.lookup_bulk(&[], &mut found);

    let taken = ExactHash::<40>::new(&eal, "t", 8).unwrap_err();
    assert!(matches!(taken, ExactHashError::Refused { .. }), "{taken}");
    let bad = ExactHash::<40>::new(&eal, "", 8).unwrap_err();
    assert!(matches!(bad, ExactHashError::BadName(_)), "{bad}");
    let mut full = ExactHash::<4>::new(&eal, "small", 8).unwrap();
    let error = (0..100u32)
        .find_map(|i| full.insert(&i.to_le_bytes()).err())
        .unwrap();
    assert!(error.to_string().contains("small is full"), "{error}");
    drop(table);
    ExactHash::<40>::new(&eal, "t", 8).unwrap();
}
