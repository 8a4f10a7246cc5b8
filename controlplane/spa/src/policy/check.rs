//! Checks a policy file as a whole, and goes on after a mistake: an operator wants to see all of them.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use dmsc_wire::name::MAX_COMPONENTS;
use dmsc_wire::{Domain, NameBuf, NodeId};
use toml::Spanned;

use super::{Names, Policy, PolicyError, Rule, raw};
use crate::identity::Identity;

/// Largest file of names, bytes.
const MAX_FILE: u64 = 64 << 20;
/// A file of another kind by mistake has a mistake in each line; nobody reads more than these.
const MAX_MISTAKES: usize = 100;

/// Checks `text`; `file` is its name for messages.
pub(super) fn check(file: &str, text: &str, folder: &Path) -> Result<Policy, PolicyError> {
    let mut checker = Checker {
        file,
        text,
        folder,
        mistakes: Vec::new(),
    };
    let raw: raw::File = toml::from_str(text).map_err(|error| {
        let line = checker.line(error.span().unwrap_or(0..0));
        PolicyError(vec![format!("{file}:{line}: {}", error.message())])
    })?;
    let policy = checker.policy(&raw);
    let mut mistakes = checker.mistakes;
    if mistakes.is_empty() {
        return Ok(policy);
    }
    if mistakes.len() > MAX_MISTAKES {
        let more = mistakes.len() - MAX_MISTAKES;
        mistakes.truncate(MAX_MISTAKES);
        mistakes.push(format!("{file}: and {more} more"));
    }
    Err(PolicyError(mistakes))
}

struct Checker<'a> {
    file: &'a str,
    text: &'a str,
    folder: &'a Path,
    mistakes: Vec<String>,
}

impl Checker<'_> {
    fn policy(&mut self, raw: &raw::File) -> Policy {
        let authority = &raw.authority;
        Policy {
            authorisation_s: self.number(
                "[authority] authorisation_seconds",
                authority.authorisation_seconds.as_ref(),
                10..=2_592_000,
                3_600,
            ),
            stale_s: self.number(
                "[authority] stale_seconds",
                authority.stale_seconds.as_ref(),
                0..=31_536_000,
                259_200,
            ),
            proof_s: self.number(
                "[authority] proof_seconds",
                authority.proof_seconds.as_ref(),
                10..=31_536_000,
                86_400,
            ),
            rules: raw.policy.iter().map(|rule| self.rule(rule)).collect(),
        }
    }

    fn rule(&mut self, place: &Spanned<raw::Rule>) -> Rule {
        let raw = place.get_ref();
        self.pattern(&raw.identity);
        let maximum_depth = self.number(
            "[[policy]] maximum_depth",
            raw.maximum_depth.as_ref(),
            1..=MAX_COMPONENTS as u32,
            MAX_COMPONENTS as u32,
        ) as u8;
        let mut subtrees = Vec::new();
        let mut index = HashSet::new();
        for text in &raw.subtrees {
            let Some(name) = self.subtree(text, maximum_depth) else {
                continue;
            };
            if index.insert(name.clone()) {
                subtrees.push(name);
            } else {
                let problem = format!("{name} stands there twice; remove one of the two");
                self.mistake("[[policy]] subtrees", text.span(), problem);
            }
        }
        let names = match &raw.names_file {
            Some(path) => self.names(path, maximum_depth),
            None => Names::default(),
        };
        if raw.subtrees.is_empty() && raw.names_file.is_none() {
            let problem = "lets nobody announce anything; give it subtrees or a names_file";
            self.mistake("[[policy]]", raw.identity.span(), problem);
        }
        Rule {
            identity: raw.identity.get_ref().clone(),
            domain: Domain(self.number("[[policy]] domain", raw.domain.as_ref(), 1..=u32::MAX, 1)),
            subtrees,
            names,
            maximum_depth,
            gateways: self.gateways(raw.gateways.as_ref()),
            index,
        }
    }

    fn pattern(&mut self, identity: &Spanned<String>) {
        let pattern = identity.get_ref();
        // A pattern must become an identity once the star is filled in.
        let example = match pattern.strip_suffix('*') {
            Some(stem) if stem.is_empty() || stem.ends_with('/') => format!("{stem}x"),
            Some(_) => String::new(),
            None => pattern.clone(),
        };
        if Identity::pod(&example).is_err() {
            let problem = format!(
                "{pattern:?} is no identity of a pod: write pod1/a, or pod1/* for all below pod1; pieces have letters, digits, '.', '-' and '_'"
            );
            self.mistake("[[policy]] identity", identity.span(), problem);
        }
    }

    fn subtree(&mut self, text: &Spanned<String>, maximum_depth: u8) -> Option<NameBuf> {
        match name(text.get_ref(), maximum_depth) {
            Ok(name) => Some(name),
            Err(problem) => {
                self.mistake("[[policy]] subtrees", text.span(), problem);
                None
            }
        }
    }

    fn names(&mut self, place: &Spanned<String>, maximum_depth: u8) -> Names {
        let path = self.folder.join(place.get_ref());
        let mut names = HashSet::new();
        let mut first = Vec::new();
        match read(&path) {
            Ok(text) => {
                for (index, line) in text.lines().enumerate() {
                    let line = line.trim();
                    if line.is_empty() || line.starts_with('#') {
                        continue;
                    }
                    match name(line, maximum_depth) {
                        Ok(name) => {
                            if first.len() < 3 && !names.contains(&name) {
                                first.push(name.clone());
                            }
                            names.insert(name);
                        }
                        Err(problem) => self.mistakes.push(format!(
                            "{}:{}: [[policy]] names_file: {problem}",
                            path.display(),
                            index + 1
                        )),
                    }
                }
                if names.is_empty() && self.mistakes.is_empty() {
                    let problem = format!("{} has no names; write one a line", path.display());
                    self.mistake("[[policy]] names_file", place.span(), problem);
                }
            }
            Err(error) => {
                let problem = format!("{} cannot be read: {error}", path.display());
                self.mistake("[[policy]] names_file", place.span(), problem);
            }
        }
        Names {
            file: Some(place.get_ref().clone()),
            names: Arc::new(names),
            first,
        }
    }

    fn gateways(&mut self, raw: Option<&Spanned<Vec<Spanned<u32>>>>) -> Vec<NodeId> {
        let Some(list) = raw else {
            return Vec::new();
        };
        // The last gateway taken out of a list must not open all others.
        if list.get_ref().is_empty() {
            let problem = "an empty list is nowhere; leave the field out for any gateway";
            self.mistake("[[policy]] gateways", list.span(), problem);
        }
        list.get_ref()
            .iter()
            .map(|id| NodeId(self.number("[[policy]] gateways", Some(id), 1..=u32::MAX, 1)))
            .collect()
    }

    fn number(
        &mut self,
        field: &str,
        value: Option<&Spanned<u32>>,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let Some(value) = value else {
            return default;
        };
        let number = *value.get_ref();
        if !range.contains(&number) {
            let (low, high) = range.into_inner();
            let problem = format!("must be between {low} and {high}, not {number}");
            self.mistake(field, value.span(), problem);
            return default;
        }
        number
    }

    fn mistake(&mut self, field: &str, span: Range<usize>, problem: impl Display) {
        let line = self.line(span);
        self.mistakes
            .push(format!("{}:{line}: {field}: {problem}", self.file));
    }

    fn line(&self, span: Range<usize>) -> usize {
        let end = span.start.min(self.text.len());
        1 + self.text.as_bytes()[..end]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    }
}

/// A name that services may have, and that is not too deep.
fn name(text: &str, maximum_depth: u8) -> Result<NameBuf, String> {
    let name = NameBuf::parse(text).map_err(|error| format!("{text:?}: {error}"))?;
    if name.as_name().is_reserved() {
        return Err(format!(
            "{text} is reserved for routers; names of services start otherwise than with /dmsc"
        ));
    }
    let depth = name.as_name().component_count();
    if depth > usize::from(maximum_depth) {
        return Err(format!(
            "{text} has {depth} components, more than maximum_depth = {maximum_depth}"
        ));
    }
    Ok(name)
}

fn read(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_FILE {
        return Err(std::io::Error::other("it has more than 64 MiB"));
    }
    std::fs::read_to_string(path)
}
