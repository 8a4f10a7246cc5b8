//! Checks a routes file as a whole: ids, references, names, addresses, keys.

mod adjacency;
mod forwarding;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dmsc_proto::v1;
use dmsc_wire::{Domain, NameBuf, NodeId};
use toml::Spanned;

use super::error::{Problem, RoutesError};
use super::identity::{Identity, is_pattern};
use crate::mistake::told;

use super::{Routes, Tables, names, raw};

/// Most members of a group and next hops of a gateway (limits of the agent's API).
const MAX_MEMBERS: usize = 64;
const MAX_NEXT_HOPS: usize = 16;

pub(super) fn check(path: &Path, text: &str) -> Result<Routes, RoutesError> {
    let checker = Checker { path, text };
    let file: raw::File = toml::from_str(text).map_err(|error| {
        let (line, message) = told(text, &error);
        RoutesError::Syntax {
            file: path.to_path_buf(),
            line,
            message,
        }
    })?;
    checker.range("[node] id", &file.node.id, 1, u32::MAX)?;
    let domain = Domain(
        file.node
            .domain
            .as_ref()
            .map_or(1, |domain| *domain.get_ref()),
    );
    let mut tables = Tables::default();
    for adjacency in &file.adjacency {
        checker.no_link_state(adjacency)?;
        checker.adjacency(adjacency, &mut tables)?;
    }
    checker.gateways(&file.gateway, &mut tables)?;
    for group in &file.group {
        checker.group(group, &mut tables)?;
    }
    checker.prefixes(&file, domain, &mut tables)?;
    for access in &file.access {
        checker.access(access, domain, &mut tables)?;
    }
    tables.normalise();
    let identities = file
        .identity
        .iter()
        .map(|identity| checker.identity(identity))
        .collect::<Result<_, _>>()?;
    Ok(Routes {
        file: path.to_path_buf(),
        node: NodeId(*file.node.id.get_ref()),
        node_line: checker.line(file.node.id.span()),
        domain,
        tables,
        identities,
    })
}

/// Checks fields of one file.
pub(crate) struct Checker<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl Checker<'_> {
    pub(crate) fn line(&self, span: Range<usize>) -> usize {
        let end = span.start.min(self.text.len());
        1 + self.text.as_bytes()[..end]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    }

    pub(crate) fn at<T>(
        &self,
        field: &'static str,
        place: &Spanned<T>,
        problem: Problem,
    ) -> RoutesError {
        RoutesError::Field {
            file: self.path.to_path_buf(),
            line: self.line(place.span()),
            field,
            problem,
        }
    }

    pub(crate) fn range(
        &self,
        field: &'static str,
        value: &Spanned<u32>,
        low: u32,
        high: u32,
    ) -> Result<u32, RoutesError> {
        let number = *value.get_ref();
        if (low..=high).contains(&number) {
            return Ok(number);
        }
        let problem = Problem::Range {
            low,
            high,
            value: number,
        };
        Err(self.at(field, value, problem))
    }

    fn optional(
        &self,
        field: &'static str,
        value: Option<&Spanned<u32>>,
        default: u32,
        low: u32,
        high: u32,
    ) -> Result<u32, RoutesError> {
        // Zero is the API's word for "the default", so the file may say it too.
        match value {
            Some(value) if *value.get_ref() != 0 => self.range(field, value, low, high),
            _ => Ok(default),
        }
    }

    pub(crate) fn address(
        &self,
        field: &'static str,
        value: &Spanned<String>,
    ) -> Result<IpAddr, RoutesError> {
        value
            .get_ref()
            .parse()
            .map_err(|_| self.at(field, value, Problem::Address(value.get_ref().clone())))
    }

    fn name(&self, field: &'static str, text: &Spanned<String>) -> Result<NameBuf, RoutesError> {
        names::parse(text.get_ref()).map_err(|problem| self.at(field, text, problem))
    }

    /// Paths in the file are relative to the file.
    fn beside(&self, path: &str) -> PathBuf {
        self.path
            .parent()
            .map_or_else(|| PathBuf::from(path), |parent| parent.join(path))
    }

    pub(crate) fn access(
        &self,
        raw: &raw::Access,
        domain: Domain,
        tables: &mut Tables,
    ) -> Result<(), RoutesError> {
        let id = self.range("[[access]] id", &raw.id, 1, u32::MAX)?;
        let side = |field, text: &Option<Spanned<String>>| match text {
            Some(text) if !text.get_ref().is_empty() => self
                .name(field, text)
                .map(|name| name.as_name().as_bytes().to_vec()),
            _ => Ok(Vec::new()),
        };
        let rule = v1::AccessRule {
            id,
            domain: domain.0,
            caller: side("[[access]] caller", &raw.caller)?,
            callee: side("[[access]] callee", &raw.callee)?,
            allow: raw.allow,
        };
        if tables.access_rules.insert(id, rule).is_some() {
            let problem = Problem::Duplicate(format!("access rule {id}"));
            return Err(self.at("[[access]] id", &raw.id, problem));
        }
        Ok(())
    }

    fn identity(&self, raw: &raw::Identity) -> Result<Identity, RoutesError> {
        let pattern = raw.id.get_ref().clone();
        if !is_pattern(&pattern) {
            return Err(self.at("[[identity]] id", &raw.id, Problem::Pattern(pattern)));
        }
        let mut prefixes = HashSet::new();
        for text in &raw.prefixes {
            prefixes.insert(self.name("[[identity]] prefixes", text)?);
        }
        if let Some(files) = &raw.prefix_file {
            for path in files.get_ref().iter() {
                prefixes.extend(names::read(&self.beside(path), "[[identity]] prefix_file")?);
            }
        }
        Ok(Identity {
            pattern,
            prefixes: Arc::new(prefixes),
            ports: raw
                .ports
                .iter()
                .map(|port| port.get_ref().clone())
                .collect(),
        })
    }
}
