//! A policy as a file.

use std::fmt::Write;

use super::Policy;

pub(super) fn dump(policy: &Policy) -> String {
    let mut text = format!(
        "[authority]\nauthorisation_seconds = {}\nstale_seconds = {}\nproof_seconds = {}\n",
        policy.authorisation_s, policy.stale_s, policy.proof_s
    );
    for rule in &policy.rules {
        let subtrees: Vec<String> = rule
            .subtrees
            .iter()
            .map(|subtree| quoted(&subtree.to_string()))
            .collect();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[policy]]\nidentity = {}\ndomain = {}\nsubtrees = [{}]\n",
            quoted(&rule.identity),
            rule.domain,
            subtrees.join(", ")
        );
        if let Some(file) = &rule.names.file {
            let _ = writeln!(text, "names_file = {}", quoted(file));
        }
        let _ = writeln!(text, "maximum_depth = {}", rule.maximum_depth);
        if rule.gateways.is_empty() {
            text.push_str("# gateways: any\n");
        } else {
            let gateways: Vec<String> = rule.gateways.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "gateways = [{}]", gateways.join(", "));
        }
    }
    text
}

/// A TOML string, whatever is in it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
