//! Conformance cases: folders of step files that a person can read; see conformance/README.md.

mod sim;
mod steps;

use std::path::Path;

fn case(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/conformance")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "step"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}: no steps", folder.display());
    let mut run = steps::Run::default();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            if let Err(why) = run.step(line) {
                panic!(
                    "{}:{}: {line}\n  {why}\n{}",
                    file.display(),
                    number + 1,
                    run.sim.describe()
                );
            }
        }
    }
}

macro_rules! cases {
    ($($function:ident $name:literal)*) => {
        $(#[test] fn $function() { case($name); })*

        #[test]
        fn every_folder_is_run() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
            let run = [$($name),*];
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.path().is_dir() {
                    let name = entry.file_name();
                    assert!(run.iter().any(|run| name == **run), "{name:?} is not run");
                }
            }
        }
    };
}

cases! {
    start "start"
    flap "flap"
    partition_and_heal "partition-and-heal"
    restart_with_state "restart-with-state"
    restart_without_state "restart-without-state"
    everything_restarts "everything-restarts"
    restart_and_gone "restart-and-gone"
    purge "purge"
    overload "overload"
    drain "drain"
    ecmp "ecmp"
    alternates "alternates"
    duplicate_id "duplicate-id"
    stale_authorisation "stale-authorisation"
    revocation "revocation"
}
