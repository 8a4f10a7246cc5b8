//! Checks a routes file as a whole: ids, references, names, addresses, keys.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dmsc_proto::v1;
use dmsc_wire::{Domain, NameBuf, NodeId};
use toml::Spanned;

use super::error::{Problem, RoutesError};
use super::identity::{Identity, source_name};
use super::{Routes, Tables, names, raw};

/// Most members of a group and next hops of a gateway (limits of the agent's API).
const MAX_MEMBERS: usize = 64;
const MAX_NEXT_HOPS: usize = 16;

pub(super) fn check(path: &Path, text: &str) -> Result<Routes, RoutesError> {
    let checker = Checker { path, text };
    let file: raw::File = toml::from_str(text).map_err(|error| RoutesError::Syntax {
        file: path.to_path_buf(),
        line: checker.line(error.span().unwrap_or(0..0)),
        message: error.message().to_owned(),
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

    /// A routes file says where packets go; what a link costs is for those who compute that.
    fn no_link_state(&self, raw: &raw::Adjacency) -> Result<(), RoutesError> {
        const WHY: &str = "in a routes file, which has the routes themselves";
        let unused = |field, found| self.at(field, found, Problem::Unused(WHY));
        if let Some(found) = &raw.metric {
            return Err(unused("[[adjacency]] metric", found));
        }
        if let Some(found) = &raw.delay_us {
            return Err(unused("[[adjacency]] delay_us", found));
        }
        match &raw.capacity_kbps {
            Some(found) => Err(self.at("[[adjacency]] capacity_kbps", found, Problem::Unused(WHY))),
            None => Ok(()),
        }
    }

    pub(crate) fn adjacency(
        &self,
        raw: &raw::Adjacency,
        tables: &mut Tables,
    ) -> Result<(), RoutesError> {
        let id = self.range("[[adjacency]] id", &raw.id, 1, 65_535)?;
        if raw.port.get_ref().is_empty() {
            return Err(self.at("[[adjacency]] port", &raw.port, Problem::Empty));
        }
        let mut adjacency = v1::Adjacency {
            id,
            port: raw.port.get_ref().clone(),
            peer: self.range("[[adjacency]] peer", &raw.peer, 1, u32::MAX)?,
            vlan: self.optional("[[adjacency]] vlan", raw.vlan.as_ref(), 0, 1, 4_094)?,
            minimum_ttl: self.optional(
                "[[adjacency]] minimum_ttl",
                raw.minimum_ttl.as_ref(),
                255,
                1,
                255,
            )?,
            mtu: self.optional("[[adjacency]] mtu", raw.mtu.as_ref(), 0, 1_280, 9_600)?,
            hello_interval_ms: self.optional(
                "[[adjacency]] hello_interval_ms",
                raw.hello_interval_ms.as_ref(),
                50,
                1,
                60_000,
            )?,
            hello_multiplier: self.optional(
                "[[adjacency]] hello_multiplier",
                raw.hello_multiplier.as_ref(),
                3,
                2,
                255,
            )?,
            key_id: self.optional("[[adjacency]] key_id", raw.key_id.as_ref(), 0, 1, 65_535)?,
            ..Default::default()
        };
        let encapsulation = raw.encapsulation.as_ref();
        match encapsulation.map_or("udp", |word| word.get_ref().as_str()) {
            "udp" => self.udp(raw, &mut adjacency)?,
            "ethernet" => self.ethernet(raw, &mut adjacency)?,
            word => {
                let problem = Problem::Word {
                    value: word.to_owned(),
                    expected: "\"udp\" or \"ethernet\"",
                };
                let place = encapsulation.map_or_else(|| raw.port.span(), Spanned::span);
                return Err(self.at(
                    "[[adjacency]] encapsulation",
                    &Spanned::new(place, ()),
                    problem,
                ));
            }
        }
        self.key(raw, &mut adjacency)?;
        if tables.adjacencies.insert(id, adjacency).is_some() {
            let problem = Problem::Duplicate(format!("adjacency {id}"));
            return Err(self.at("[[adjacency]] id", &raw.id, problem));
        }
        Ok(())
    }

    fn udp(&self, raw: &raw::Adjacency, adjacency: &mut v1::Adjacency) -> Result<(), RoutesError> {
        const WHY: &str = "an adjacency over UDP has a local and a remote IP address";
        let missing = |field| self.at(field, &raw.id, Problem::Missing(WHY));
        let local = raw
            .local
            .as_ref()
            .ok_or_else(|| missing("[[adjacency]] local"))?;
        let remote = raw
            .remote
            .as_ref()
            .ok_or_else(|| missing("[[adjacency]] remote"))?;
        let local_address = self.address("[[adjacency]] local", local)?;
        let remote_address = self.address("[[adjacency]] remote", remote)?;
        if local_address.is_ipv4() != remote_address.is_ipv4() {
            let problem = Problem::Family {
                local: local.get_ref().clone(),
                remote: remote.get_ref().clone(),
            };
            return Err(self.at("[[adjacency]] remote", remote, problem));
        }
        adjacency.encapsulation = "udp".into();
        adjacency.local_address = local_address.to_string();
        adjacency.remote_address = remote_address.to_string();
        if let Some(next_hop) = raw
            .next_hop
            .as_ref()
            .filter(|hop| !hop.get_ref().is_empty())
        {
            adjacency.next_hop = self
                .address("[[adjacency]] next_hop", next_hop)?
                .to_string();
        }
        Ok(())
    }

    fn ethernet(
        &self,
        raw: &raw::Adjacency,
        adjacency: &mut v1::Adjacency,
    ) -> Result<(), RoutesError> {
        for (field, value) in [
            ("[[adjacency]] local", &raw.local),
            ("[[adjacency]] remote", &raw.remote),
            ("[[adjacency]] next_hop", &raw.next_hop),
        ] {
            if let Some(value) = value.as_ref().filter(|value| !value.get_ref().is_empty()) {
                return Err(self.at(
                    field,
                    value,
                    Problem::Unused("with encapsulation = \"ethernet\""),
                ));
            }
        }
        adjacency.encapsulation = "ethernet".into();
        Ok(())
    }

    fn key(&self, raw: &raw::Adjacency, adjacency: &mut v1::Adjacency) -> Result<(), RoutesError> {
        const FIELD: &str = "[[adjacency]] key_hex";
        let hex = raw.key_hex.as_ref().filter(|hex| !hex.get_ref().is_empty());
        match (adjacency.key_id, hex) {
            (0, Some(hex)) => return Err(self.at(FIELD, hex, Problem::Unused("without key_id"))),
            (0, None) if adjacency.minimum_ttl < 255 && adjacency.encapsulation == "udp" => {
                let place = raw.minimum_ttl.as_ref().unwrap_or(&raw.id);
                let problem = Problem::KeyNeeded(adjacency.minimum_ttl);
                return Err(self.at("[[adjacency]] minimum_ttl", place, problem));
            }
            (0, None) => {}
            (_, None) => {
                let place = raw.key_id.as_ref().unwrap_or(&raw.id);
                return Err(self.at(
                    FIELD,
                    place,
                    Problem::Missing("key_id names a key, so its bytes are needed"),
                ));
            }
            (_, Some(hex)) => {
                let key =
                    decode_hex(hex.get_ref()).ok_or_else(|| self.at(FIELD, hex, Problem::Hex))?;
                if !(16..=64).contains(&key.len()) {
                    return Err(self.at(FIELD, hex, Problem::KeyLength(key.len())));
                }
                adjacency.key = key;
            }
        }
        Ok(())
    }

    fn adjacency_id(
        &self,
        field: &'static str,
        id: u32,
        place: Range<usize>,
        tables: &Tables,
    ) -> Result<u32, RoutesError> {
        if tables.adjacencies.contains_key(&id) {
            return Ok(id);
        }
        let problem = Problem::Unknown {
            what: "adjacency",
            table: "[[adjacency]]",
            id,
        };
        Err(self.at(field, &Spanned::new(place, ()), problem))
    }

    fn gateways(&self, list: &[raw::Gateway], tables: &mut Tables) -> Result<(), RoutesError> {
        let mut delay = BTreeMap::new();
        for raw in list {
            let gateway = self.gateway(raw, tables)?;
            let table = match gateway.topology {
                0 => &mut tables.gateways,
                _ => &mut delay,
            };
            let key = (gateway.topology, gateway.gateway);
            if table.insert(key, gateway).is_some() {
                let problem = Problem::Duplicate(format!("gateway {} in this topology", key.1));
                return Err(self.at("[[gateway]] id", &raw.id, problem));
            }
        }
        // Without an entry of its own the delay topology follows the metric one.
        for ((_, id), gateway) in &tables.gateways {
            delay.entry((1, *id)).or_insert_with(|| v1::Gateway {
                topology: 1,
                ..gateway.clone()
            });
        }
        tables.gateways.append(&mut delay);
        Ok(())
    }

    fn gateway(&self, raw: &raw::Gateway, tables: &Tables) -> Result<v1::Gateway, RoutesError> {
        let topology = match raw
            .topology
            .as_ref()
            .map(|word| (word, word.get_ref().as_str()))
        {
            None | Some((_, "metric")) => 0,
            Some((_, "delay")) => 1,
            Some((place, word)) => {
                let problem = Problem::Word {
                    value: word.to_owned(),
                    expected: "\"metric\" or \"delay\"",
                };
                return Err(self.at("[[gateway]] topology", place, problem));
            }
        };
        let hops = raw.next_hops.get_ref();
        if hops.is_empty() {
            return Err(self.at("[[gateway]] next_hops", &raw.next_hops, Problem::Empty));
        }
        if hops.len() > MAX_NEXT_HOPS {
            let problem = Problem::TooMany {
                count: hops.len(),
                limit: MAX_NEXT_HOPS,
            };
            return Err(self.at("[[gateway]] next_hops", &raw.next_hops, problem));
        }
        let mut next_hops = Vec::with_capacity(hops.len());
        for hop in hops {
            next_hops.push(self.adjacency_id(
                "[[gateway]] next_hops",
                *hop,
                raw.next_hops.span(),
                tables,
            )?);
        }
        let alternate = |field, id: &Option<Spanned<u32>>| match id {
            Some(id) if *id.get_ref() != 0 => {
                self.adjacency_id(field, *id.get_ref(), id.span(), tables)
            }
            _ => Ok(0),
        };
        Ok(v1::Gateway {
            topology,
            gateway: self.range("[[gateway]] id", &raw.id, 1, u32::MAX)?,
            metric: raw.metric,
            next_hops,
            node_protecting: alternate("[[gateway]] node_protecting", &raw.node_protecting)?,
            link_protecting: alternate("[[gateway]] link_protecting", &raw.link_protecting)?,
        })
    }

    fn group(&self, raw: &raw::Group, tables: &mut Tables) -> Result<(), RoutesError> {
        let id = self.range("[[group]] id", &raw.id, 1, u32::MAX)?;
        let weighted = match raw
            .policy
            .as_ref()
            .map(|word| (word, word.get_ref().as_str()))
        {
            None | Some((_, "nearest")) => false,
            Some((_, "weighted")) => true,
            Some((place, word)) => {
                let problem = Problem::Word {
                    value: word.to_owned(),
                    expected: "\"nearest\" or \"weighted\"",
                };
                return Err(self.at("[[group]] policy", place, problem));
            }
        };
        const FIELD: &str = "[[group]] members";
        let list = raw.members.get_ref();
        if list.is_empty() {
            return Err(self.at(FIELD, &raw.members, Problem::Empty));
        }
        if list.len() > MAX_MEMBERS {
            let problem = Problem::TooMany {
                count: list.len(),
                limit: MAX_MEMBERS,
            };
            return Err(self.at(FIELD, &raw.members, problem));
        }
        let mut seen = HashSet::new();
        let mut members = Vec::with_capacity(list.len());
        for member in list {
            for (low, high, value) in [(1, u32::MAX, member.gateway), (0, 65_535, member.weight)] {
                if !(low..=high).contains(&value) {
                    return Err(self.at(FIELD, &raw.members, Problem::Range { low, high, value }));
                }
            }
            if !seen.insert(member.gateway) {
                let problem = Problem::Duplicate(format!("member gateway {}", member.gateway));
                return Err(self.at(FIELD, &raw.members, problem));
            }
            members.push(v1::Member {
                gateway: member.gateway,
                metric: member.metric,
                weight: member.weight,
            });
        }
        let group = v1::Group {
            id,
            members,
            weighted,
        };
        if tables.groups.insert(id, group).is_some() {
            let problem = Problem::Duplicate(format!("group {id}"));
            return Err(self.at("[[group]] id", &raw.id, problem));
        }
        Ok(())
    }

    fn group_id(
        &self,
        field: &'static str,
        group: &Spanned<u32>,
        tables: &Tables,
    ) -> Result<u32, RoutesError> {
        let id = *group.get_ref();
        if tables.groups.contains_key(&id) {
            return Ok(id);
        }
        let problem = Problem::Unknown {
            what: "group",
            table: "[[group]]",
            id,
        };
        Err(self.at(field, group, problem))
    }

    fn name(&self, field: &'static str, text: &Spanned<String>) -> Result<NameBuf, RoutesError> {
        names::parse(text.get_ref()).map_err(|problem| self.at(field, text, problem))
    }

    fn prefixes(
        &self,
        file: &raw::File,
        domain: Domain,
        tables: &mut Tables,
    ) -> Result<(), RoutesError> {
        for raw in &file.prefix {
            let group = self.group_id("[[prefix]] group", &raw.group, tables)?;
            let name = self.name("[[prefix]] name", &raw.name)?;
            self.prefix(name, domain, group, ("[[prefix]] name", &raw.name), tables)?;
        }
        for raw in &file.prefix_file {
            let group = self.group_id("[[prefix_file]] group", &raw.group, tables)?;
            let field = "[[prefix_file]] path";
            for name in names::read(&self.beside(raw.path.get_ref()), field)? {
                self.prefix(name, domain, group, (field, &raw.path), tables)?;
            }
        }
        Ok(())
    }

    fn prefix(
        &self,
        name: NameBuf,
        domain: Domain,
        group: u32,
        place: (&'static str, &Spanned<String>),
        tables: &mut Tables,
    ) -> Result<(), RoutesError> {
        let text = name.to_string();
        if tables.prefixes.insert((domain, name), group).is_some() {
            return Err(self.at(
                place.0,
                place.1,
                Problem::Duplicate(format!("prefix {text}")),
            ));
        }
        Ok(())
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
        // A pattern must become a name once the star is filled in.
        let example = match pattern.strip_suffix('*') {
            Some(stem) if stem.is_empty() || stem.ends_with('/') => format!("{stem}x"),
            Some(_) => String::new(),
            None => pattern.clone(),
        };
        if example.contains('*') || source_name(&example).is_none() {
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

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<Vec<u8>>>()?;
    if digits.len() % 2 != 0 {
        return None;
    }
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}
