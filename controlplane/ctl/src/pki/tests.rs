use super::show::{View, read, utc};
use super::*;
use crate::output::testing::output;
use clap::Parser;

/// The command line alone, as it stands behind `dmscctl pki`.
#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    pki: Pki,
}

fn pki(words: &str) -> Result<String, String> {
    let line = Line::try_parse_from(std::iter::once("pki").chain(words.split(' ')))
        .map_err(|error| error.to_string())?;
    let (mut output, written) = output(false);
    run(&line.pki, &mut output).map_err(|error| error.to_string())?;
    Ok(written.text())
}

#[test]
fn credentials_are_made_shown_and_renewed() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let said = pki(&format!("init {} --trust-domain lab.test", at("root"))).expect("init");
    assert!(said.contains("root of spiffe://lab.test"), "{said}");
    for (whom, id) in [
        ("node 1 sg", "node/1/sg"),
        ("node 5 sr", "node/5/sr"),
        ("pod pod1/a", "pod/pod1/a"),
        ("operator eva operate", "operator/operate/eva"),
        (
            "spa spa1 --subtree /shop --subtree /lab --domain 1",
            "spa/spa1",
        ),
    ] {
        let out = at("x");
        let said = pki(&format!(
            "issue --root {} --out {out} {whom} --days 3",
            at("root")
        ))
        .expect(whom);
        assert!(said.contains(&format!("spiffe://lab.test/{id}")), "{said}");
        let shown = pki(&format!("show {out}")).expect(whom);
        assert!(
            shown.contains(&format!("certificate of spiffe://lab.test/{id}")),
            "{shown}"
        );
        let one = pki(&format!("show {out}/cert.pem")).expect(whom);
        assert!(shown.starts_with(&one), "{one}");
    }
    let shown = pki(&format!("show {}", at("x"))).expect("authority");
    assert!(shown.contains("speaks for  /shop, /lab"), "{shown}");
    let shown = pki(&format!("show {}/authority.bin", at("x"))).expect("authority");
    assert!(shown.starts_with("authority spa1\n"), "{shown}");
    let shown = pki(&format!("show {}", at("root"))).expect("root");
    assert!(shown.starts_with("root of spiffe://lab.test"), "{shown}");

    let key = || fs::read_to_string(folder.path().join("x/key.pem")).expect("key");
    let before = key();
    let issue = format!("issue node 1 sg --root {} --out {}", at("root"), at("x"));
    pki(&issue).expect("issue");
    assert_ne!(key(), before);
}

#[test]
fn a_revoked_node_can_get_new_credentials_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    pki(&format!("init {}", at("root"))).expect("init");
    let issue = format!("issue --root {} --out {} node 5 sr", at("root"), at("sr5"));
    pki(&issue).expect("issue");
    let not_before_s = || match &read(&folder.path().join("sr5"), None, now_s()).expect("read")[0] {
        View::Certificate { not_before_s, .. } => *not_before_s,
        other => panic!("{other:?}"),
    };
    let before = not_before_s();
    let file = at("node5.revocation");
    let revoke = format!(
        "revoke --root {} --node 5 --reason stolen --out {file}",
        at("root")
    );
    pki(&revoke).expect("revoke");
    pki(&issue).expect("issue");
    let voids =
        match &read(file.as_ref(), Some(&folder.path().join("sr5")), now_s()).expect("read")[0] {
            View::RootRevocation {
                node: Some(5),
                issued_before_s,
                ..
            } => *issued_before_s,
            other => panic!("{other:?}"),
        };
    assert!(before < voids && voids <= not_before_s());
    // Nothing is overwritten.
    assert!(pki(&revoke).expect_err("exists").contains("cannot write"));
    let shown = pki(&format!("show {file} --root {}", at("root"))).expect("show");
    assert!(
        shown.contains("revocation of node 5 by the root: stolen"),
        "{shown}"
    );
}

#[test]
fn keys_and_authorities_are_revoked_by_file() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    pki(&format!("init {}", at("root"))).expect("init");
    for whom in ["pod pod1", "spa spa1"] {
        let out = at(whom.split(' ').next().expect("word"));
        pki(&format!("issue --root {} --out {out} {whom}", at("root"))).expect(whom);
    }
    let revoke = |subject: &str, out: &str| {
        let root = at("root");
        let said = pki(&format!(
            "revoke --root {root} {subject} --reason leaked --out {}",
            at(out)
        ))?;
        Ok::<_, String>((said, pki(&format!("show {} --root {root}", at(out)))?))
    };
    // A file and a folder.
    let files = format!("--certificate {}/cert.pem {}", at("pod"), at("spa"));
    let (said, shown) = revoke(&files, "keys").expect("keys");
    assert!(said.contains("2 keys are void"), "{said}");
    assert!(
        shown.starts_with("revocation of 2 keys by the root: leaked"),
        "{shown}"
    );
    let root = Root::load(&folder.path().join("root")).expect("root");
    let pod = Credentials::load(&folder.path().join("pod")).expect("pod");
    let key = pod.signing_key().expect("key").public_key();
    let hash = dmsc_spa::statement::sha256(&key);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(shown.contains(&hash), "{shown}");
    let signed = fs::read(at("keys")).expect("file");
    let revocation = root.root_key().root_revocation(&signed).expect("good");
    root.root_key().revoke(&revocation);
    assert!(
        root.root_key()
            .certificate(&pod.certificate_der, now_s())
            .is_err()
    );
    // Issued again: with another key, so it is good.
    pki(&format!(
        "issue --root {} --out {} pod pod1",
        at("root"),
        at("pod")
    ))
    .expect("again");
    let pod = Credentials::load(&folder.path().join("pod")).expect("pod");
    assert!(
        root.root_key()
            .certificate(&pod.certificate_der, now_s())
            .is_ok()
    );

    let (said, shown) = revoke("--authority spa1", "authority").expect("authority");
    assert!(
        said.contains("all certificates of authority spa1"),
        "{said}"
    );
    assert!(
        shown.starts_with("revocation of authority spa1 by the root"),
        "{shown}"
    );
    for wrong in [
        "",
        " --node 5 --authority spa1",
        "--node 0",
        "--certificate /none",
    ] {
        revoke(wrong.trim(), "wrong").expect_err(wrong);
    }
    // Of another root: nothing of this one's is void by it.
    pki(&format!("init {}", at("other"))).expect("init");
    let foreign = pki(&format!(
        "revoke --root {} --certificate {} --reason x --out {}",
        at("other"),
        at("pod"),
        at("foreign")
    ));
    assert!(foreign.expect_err("foreign").contains("bad signature"));
}

#[test]
fn mistakes_say_what_to_do() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let refused = |words: &str| pki(words).expect_err(words);
    pki(&format!("init {}", at("root"))).expect("init");
    assert!(refused(&format!("init {}", at("root"))).contains("there is a root already"));
    let text = refused("issue node 1 sg");
    assert!(text.contains("say --root DIR"), "{text}");
    let text = refused(&format!("issue --root {} node 1 sg", at("root")));
    assert!(text.contains("say --out DIR"), "{text}");
    let issue = format!("issue --root {} --out {}", at("root"), at("x"));
    for wrong in [
        "node 0 sg",
        "node 1 router",
        "pod",
        "operator eva root",
        "spa s --subtree shop",
    ] {
        refused(&format!("{issue} {wrong}"));
    }
    let text = refused(&format!("{issue} pod a//b"));
    assert!(text.contains("cannot be part of an identity"), "{text}");
    let text = refused(&format!(
        "issue --root {} --out {} node 1 sg",
        at("none"),
        at("x")
    ));
    assert!(text.contains("root.pem: cannot be read"), "{text}");

    fs::write(folder.path().join("lone"), "x").expect("write");
    let text = refused(&format!("show {}", at("lone")));
    assert!(text.contains("--root"), "{text}");
    let text = refused(&format!("show {} --root {}", at("lone"), at("root")));
    assert!(
        text.contains("nothing that the root of dmsc.test"),
        "{text}"
    );
    assert!(text.contains("\n  as a revocation: "), "{text}");
    assert!(refused(&format!("show {}", at("none"))).contains("cannot read"));

    // Of another root.
    pki(&format!("init {}", at("other"))).expect("init");
    pki(&format!("{issue} node 1 sg")).expect("issue");
    let text = refused(&format!("show {} --root {}", at("x"), at("other")));
    assert!(text.contains("bad signature"), "{text}");
}

#[test]
fn what_is_over_is_shown_and_fails() {
    let folder = tempfile::tempdir().expect("folder");
    let root = Root::init(&folder.path().join("root"), "dmsc.test", 10).expect("root");
    let path = folder.path().join("x");
    let identity = "node/1/sg".parse().expect("identity");
    let now_s = now_s();
    root.issue_for(
        &identity,
        &Scope::default(),
        (now_s - 20, now_s - 10),
        false,
        &path,
    )
    .expect("issue");
    let show = cli::Show { path, root: None };
    let (mut text, written) = output(false);
    let error = super::show::run(&show, &mut text).expect_err("over");
    assert!(error.to_string().contains("not valid now"), "{error}");
    assert!(written.text().contains("NOT NOW"), "{}", written.text());
    let (mut json, written) = output(true);
    assert!(super::show::run(&show, &mut json).is_err());
    let view: serde_json::Value = serde_json::from_str(&written.text()).expect("JSON");
    assert_eq!(view[0]["kind"], "certificate");
    assert_eq!(view[0]["spiffe_id"], "spiffe://dmsc.test/node/1/sg");
    assert_eq!(view[0]["valid"], false);
}

#[test]
fn times_are_written_as_dates() {
    assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
    assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
    assert_eq!(utc(1_735_689_599), "2024-12-31 23:59:59 UTC");
    assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
    // From a file: any number ends.
    assert!(utc(u64::MAX).ends_with(" UTC"));
}
