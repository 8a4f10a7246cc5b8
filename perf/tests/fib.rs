//! `dmsc-perf fib` from start to end, under attack: the tables that others know are asked, too.

mod run;

#[test]
fn other_tables_stand_beside_the_attacked_one() {
    // The least that has every depth, and no rte_hash, which needs huge pages.
    let Some(record) = run::record(
        "fib --traffic hostile --prefixes 100000 --draws 1024 --rounds 1 --milliseconds 10 --peers levels,two-stage",
    ) else {
        return;
    };
    let result = &record["result"];
    let tables = result["tables"].as_array().expect("tables");
    let of = |word: &str| {
        let table = tables.iter().find(|t| t["table"] == word);
        table.unwrap_or_else(|| panic!("{word} is not in {tables:?}"))
    };
    // Whoever is asked for ordinary names finds all, and under a prefix of one component there is that.
    for word in [
        "ordinary",
        "deep",
        "levels",
        "levels, deep",
        "two-stage",
        "two-stage, deep",
    ] {
        assert_eq!(of(word)["found"], 1.0, "{word}");
    }
    assert_eq!(tables.len(), 9);
    assert!(result["hostile_ratio"].is_number());
    assert!(result["ratio"].is_null());
}
