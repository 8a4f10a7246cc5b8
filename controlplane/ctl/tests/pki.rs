//! `dmscctl pki` as a command: no daemon runs, and mistakes are on standard error with exit status 2.

use std::path::Path;
use std::process::{Command, Output};

fn dmscctl(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dmscctl"))
        .env_remove("DMSC_AGENT")
        .current_dir(folder)
        .args(words)
        .output()
        .expect("start")
}

#[test]
fn a_root_issues_and_shows_without_a_daemon() {
    let folder = tempfile::tempdir().expect("folder");
    let good = |words: &[&str]| {
        let output = dmscctl(folder.path(), words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {stderr}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    good(&["pki", "init", "root"]);
    good(&[
        "pki",
        "issue",
        "--root",
        "root",
        "--out",
        "spa1",
        "spa",
        "spa1",
        "--subtree",
        "/shop",
    ]);
    let shown = good(&["--json", "pki", "show", "spa1"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("one JSON document");
    assert_eq!(shown[0]["spiffe_id"], "spiffe://dmsc.test/spa/spa1");
    assert_eq!(shown[1]["kind"], "authority_certificate");
    assert_eq!(shown[1]["subtrees"][0], "/shop");

    let again = dmscctl(folder.path(), &["pki", "init", "root"]);
    assert_eq!(again.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert!(
        stderr.starts_with("dmscctl: root/root.pem: there is a root already"),
        "{stderr}"
    );
}
