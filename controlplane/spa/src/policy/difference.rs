//! What changes from one policy to another, a line each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use dmsc_wire::{Domain, NameBuf, NodeId};

use super::{Policy, Rule};

/// Rules have no ids: the n-th with this identity and domain is the same as the n-th there.
type Key<'a> = (&'a str, Domain, usize);

pub(super) fn difference(old: &Policy, new: &Policy) -> Vec<String> {
    let mut lines = Vec::new();
    for (field, from, to) in [
        (
            "authorisation_seconds",
            old.authorisation_s,
            new.authorisation_s,
        ),
        ("stale_seconds", old.stale_s, new.stale_s),
        ("proof_seconds", old.proof_s, new.proof_s),
    ] {
        changed(&mut lines, &format!("[authority] {field}"), from, to);
    }
    let (before, after) = (keyed(old), keyed(new));
    for (key, rule) in &before {
        match after.get(key) {
            Some(other) => rule_difference(&mut lines, &title(key), rule, other),
            None => lines.push(format!("{}: removed", title(key))),
        }
    }
    for (key, rule) in &after {
        if !before.contains_key(key) {
            lines.push(format!("{}: added: {}", title(key), summary(rule)));
        }
    }
    lines
}

fn keyed(policy: &Policy) -> BTreeMap<Key<'_>, &Rule> {
    let mut keyed = BTreeMap::new();
    let mut seen: BTreeMap<(&str, Domain), usize> = BTreeMap::new();
    for rule in &policy.rules {
        let count = seen.entry((&rule.identity, rule.domain)).or_default();
        keyed.insert((rule.identity.as_str(), rule.domain, *count), rule);
        *count += 1;
    }
    keyed
}

fn title((identity, domain, number): &Key<'_>) -> String {
    let mut title = format!("[[policy]] {identity} in domain {domain}");
    if *number > 0 {
        title.push_str(&format!(" (number {})", number + 1));
    }
    title
}

fn summary(rule: &Rule) -> String {
    let mut parts: Vec<String> = rule.subtrees.iter().map(ToString::to_string).collect();
    if let Some(file) = &rule.names.file {
        parts.push(format!("{} names of {file}", rule.names.len()));
    }
    format!(
        "{}, at most {} components, gateways {}",
        parts.join(" "),
        rule.maximum_depth,
        gateways(&rule.gateways)
    )
}

fn rule_difference(lines: &mut Vec<String>, title: &str, old: &Rule, new: &Rule) {
    let (before, after): (BTreeSet<&NameBuf>, BTreeSet<&NameBuf>) =
        (old.subtrees.iter().collect(), new.subtrees.iter().collect());
    for gone in before.difference(&after) {
        lines.push(format!("{title}: subtree {gone} removed"));
    }
    for fresh in after.difference(&before) {
        lines.push(format!("{title}: subtree {fresh} added"));
    }
    if old.names != new.names {
        let file = |rule: &Rule| rule.names.file.clone().unwrap_or_else(|| "none".to_owned());
        let count = |of: &Rule, not_in: &Rule| {
            of.names
                .iter()
                .filter(|name| !not_in.names.contains(name.as_name()))
                .count()
        };
        lines.push(format!(
            "{title}: names_file {} -> {}: {} names removed, {} added",
            file(old),
            file(new),
            count(old, new),
            count(new, old)
        ));
    }
    changed(
        lines,
        &format!("{title}: maximum_depth"),
        old.maximum_depth,
        new.maximum_depth,
    );
    changed(
        lines,
        &format!("{title}: gateways"),
        gateways(&old.gateways),
        gateways(&new.gateways),
    );
}

fn changed<T: Display + PartialEq>(lines: &mut Vec<String>, what: &str, from: T, to: T) {
    if from != to {
        lines.push(format!("{what}: {from} -> {to}"));
    }
}

fn gateways(list: &[NodeId]) -> String {
    if list.is_empty() {
        return "any".to_owned();
    }
    let list: Vec<String> = list.iter().map(ToString::to_string).collect();
    list.join(", ")
}
