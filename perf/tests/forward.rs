//! `dmsc-perf forward` from start to end: every round is recorded, processes are started anew as often as it was told, and what a mode
//! adds stands in front.

mod run;

#[test]
fn processes_are_started_anew_after_as_many_rounds_as_told() {
    // Few names, because a debug build draws millions for half a minute.
    let Some(record) = run::record(
        "forward --pmd null --mode mac --peer none --prefixes 1000 --draws 1024 --ms 100 --rounds 5 --restart-every 2",
    ) else {
        return;
    };
    let rounds = record["rounds"].as_array().expect("rounds");
    let numbers: Vec<u64> = rounds.iter().filter_map(|r| r["round"].as_u64()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    // How long a process took to load its tables: the same in all of its rounds, and to the nanosecond that of no other.
    let mut loads: Vec<f64> = rounds.iter().filter_map(|r| r["load_s"].as_f64()).collect();
    assert_eq!(loads.len(), 5);
    loads.dedup();
    assert_eq!(loads.len(), 3, "{rounds:?}");
}

#[test]
fn what_a_mode_adds_stands_in_front_of_all_points_also_with_one_prefix() {
    let Some(record) = run::record(
        "forward --pmd memif --mode mac,gateway,name --peer none --prefixes 1,2 --draws 1024 --ms 100 --rounds 1",
    ) else {
        return;
    };
    let result = &record["result"];
    let points = result["points"].as_array().expect("points");
    assert_eq!(points.len(), 6);
    for point in points {
        assert_eq!(point["drops"], 0, "{point}");
        assert!(point["mpps"].as_f64().is_some_and(|m| m > 0.0), "{point}");
    }
    assert_eq!(
        (&result["mode"], &result["prefixes"]),
        (&points[0]["mode"], &points[0]["prefixes"])
    );
    assert_eq!(result["added_mode"], "gateway");
    assert!(result["added_ns"].is_number());
    assert_eq!(result["added_ns"], points[1]["added_ns"]);
}
