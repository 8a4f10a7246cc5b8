//! Checks a configuration as a whole, and tells all mistakes at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dmsc_linkstate::event::LinkSettings;
use dmsc_linkstate::{AdjacencyId, EngineConfig};
use dmsc_proto::{LINKSTATE_PORT, REGISTRAR_PORT};
use dmsc_wire::{Domain, NodeId};
use toml::Spanned;

use super::raw;
use super::{
    Adjacency, ClassLimit, Config, DEFAULT_CLASS, GatewaySection, LinkstateSection, Mistakes,
    NodeSection, Role, SchedulingSection,
};
use crate::mistake::told;
use crate::routes::check::Checker;
use crate::routes::raw as routes;
use crate::routes::{Problem, RoutesError, Tables, is_pattern};

/// Largest metric and delay of a link.
const MAX_COST: u32 = 16_777_215;

/// Most scheduling centers: each costs a stream and a buffer.
const MAX_CENTERS: usize = 8;

/// Collects mistakes; a wrong value is replaced by a harmless one until the end.
struct Collector<'a> {
    checker: Checker<'a>,
    mistakes: Vec<String>,
    /// Addresses that this process is to listen on so far, and the fields that say so.
    listens: Vec<(SocketAddr, &'static str)>,
}

pub(super) fn check(text: &str, file: &Path, role: Role) -> Result<Config, Mistakes> {
    let checker = Checker { path: file, text };
    let raw: raw::File = toml::from_str(text).map_err(|error| {
        let (line, sentence) = told(text, &error);
        Mistakes(vec![format!("{}:{line}: {sentence}", file.display())])
    })?;
    let mut collector = Collector {
        checker,
        mistakes: Vec::new(),
        listens: Vec::new(),
    };
    let node = collector.node(raw.node);
    let linkstate = collector.linkstate(&raw.linkstate, node.id);
    let mut tables = Tables::default();
    let mut adjacencies = BTreeMap::new();
    for adjacency in raw.adjacency {
        if let Some((id, adjacency)) = collector.adjacency(adjacency, node.id, &mut tables) {
            adjacencies.insert(id, adjacency);
        }
    }
    for access in &raw.access {
        let checked = collector.checker.access(access, node.domain, &mut tables);
        collector.take(checked);
    }
    let gateway = match (role, raw.gateway) {
        (Role::Gateway, Some(gateway)) => Some(collector.gateway(gateway.into_inner())),
        (Role::Router, None) => None,
        (Role::Gateway, None) => {
            collector.mistakes.push(format!(
                "{}: [gateway]: missing; a gateway (sg) needs it: say where pods register and which authorities are asked",
                file.display()
            ));
            None
        }
        (Role::Router, Some(gateway)) => {
            collector.at("[gateway]", &gateway, Problem::Unused("by a router (sr)"));
            None
        }
    };
    if let (Role::Router, Some(first)) = (role, raw.class.first()) {
        collector.at(
            "[[class]] identity",
            &first.identity,
            Problem::Unused("by a router (sr)"),
        );
    }
    let scheduling = match raw.scheduling {
        Some(section) if role == Role::Router => {
            let problem = Problem::Unused("by a router (sr)");
            collector.at("[scheduling]", &section, problem);
            SchedulingSection::default()
        }
        Some(section) => collector.scheduling(section.into_inner()),
        None => SchedulingSection::default(),
    };
    let class_limits = raw.class.iter().map(|one| collector.class(one)).collect();
    // One value may be wrong for two reasons that read the same.
    let mut seen = std::collections::HashSet::new();
    collector
        .mistakes
        .retain(|mistake| seen.insert(mistake.clone()));
    if !collector.mistakes.is_empty() {
        return Err(Mistakes(collector.mistakes));
    }
    Ok(Config {
        file: file.to_path_buf(),
        role,
        node,
        linkstate,
        adjacencies,
        gateway,
        access_rules: tables.access_rules,
        class_limits,
        scheduling,
    })
}

impl Collector<'_> {
    fn take<T>(&mut self, checked: Result<T, RoutesError>) -> Option<T> {
        checked
            .map_err(|mistake| self.mistakes.push(mistake.to_string()))
            .ok()
    }

    fn at<T>(&mut self, field: &'static str, place: &Spanned<T>, problem: Problem) {
        let mistake = self.checker.at(field, place, problem);
        self.mistakes.push(mistake.to_string());
    }

    fn number(
        &mut self,
        field: &'static str,
        value: Option<&Spanned<u32>>,
        default: u32,
        low: u32,
        high: u32,
    ) -> u32 {
        let Some(value) = value else { return default };
        let checked = self.checker.range(field, value, low, high);
        self.take(checked).unwrap_or(default)
    }

    fn socket(
        &mut self,
        field: &'static str,
        value: Option<&Spanned<String>>,
        default: Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        let Some(value) = value else { return default };
        match value.get_ref().parse() {
            Ok(address) => Some(address),
            Err(_) => {
                self.at(field, value, Problem::Socket(value.get_ref().clone()));
                default
            }
        }
    }

    /// As [`Collector::socket`], of an address that nobody else may have.
    fn listen(
        &mut self,
        field: &'static str,
        value: Option<&Spanned<String>>,
        default: Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        let address = self.socket(field, value, default)?;
        let taken = self
            .listens
            .iter()
            .find(|(one, _)| *one == address && address.port() != 0);
        match (taken, value) {
            (Some((_, other)), Some(value)) => self.at(field, value, Problem::Taken(other)),
            _ => self.listens.push((address, field)),
        }
        Some(address)
    }

    fn path(&mut self, field: &'static str, value: Spanned<PathBuf>) -> PathBuf {
        if value.get_ref().as_os_str().is_empty() {
            self.at(field, &value, Problem::NoPath);
        }
        value.into_inner()
    }

    fn node(&mut self, raw: raw::Node) -> NodeSection {
        let id = self.number("[node] id", Some(&raw.id), 1, 1, u32::MAX);
        let name = match raw.name {
            Some(name) if name.get_ref().len() > 64 => {
                let count = name.get_ref().len();
                self.at("[node] name", &name, Problem::TooLong { count, limit: 64 });
                String::new()
            }
            Some(name) => name.into_inner(),
            None => format!("node-{id}"),
        };
        NodeSection {
            id: NodeId(id),
            name,
            area: raw.area,
            domain: Domain(raw.domain.unwrap_or(1)),
            agent: self.path("[node] agent", raw.agent),
            state_dir: self.path("[node] state_dir", raw.state_dir),
            credentials: self.path("[node] credentials", raw.credentials),
            operator: raw.operator.map(|path| self.path("[node] operator", path)),
            operator_listen: self.listen(
                "[node] operator_listen",
                raw.operator_listen.as_ref(),
                None,
            ),
            metrics: self.listen("[node] metrics", raw.metrics.as_ref(), None),
            view_group: raw.view_group,
            operate_group: raw.operate_group,
            admin_group: raw.admin_group,
        }
    }

    fn linkstate(&mut self, raw: &raw::Linkstate, node: NodeId) -> LinkstateSection {
        let usual = EngineConfig::new(node, 0);
        let any = SocketAddr::from(([0u16; 8], LINKSTATE_PORT));
        let listen = self.listen("[linkstate] listen", raw.listen.as_ref(), Some(any));
        let mut ms = |field, value: &Option<Spanned<u32>>, default: Duration, low, high| {
            let default = u32::try_from(default.as_millis()).unwrap_or(u32::MAX);
            let number = self.number(field, value.as_ref(), default, low, high);
            Duration::from_millis(u64::from(number))
        };
        let hold = Duration::from_secs(20);
        let restart_hold = ms(
            "[linkstate] restart_hold_ms",
            &raw.restart_hold_ms,
            hold,
            100,
            600_000,
        );
        let spf_initial = ms(
            "[linkstate] spf_initial_ms",
            &raw.spf_initial_ms,
            usual.spf_initial,
            0,
            1_000,
        );
        let spf_short = ms(
            "[linkstate] spf_short_ms",
            &raw.spf_short_ms,
            usual.spf_short,
            1,
            10_000,
        );
        let spf_long = ms(
            "[linkstate] spf_long_ms",
            &raw.spf_long_ms,
            usual.spf_long,
            1,
            60_000,
        );
        let originate_delay = ms(
            "[linkstate] originate_delay_ms",
            &raw.originate_delay_ms,
            usual.originate_delay,
            0,
            1_000,
        );
        let min_arrival = ms(
            "[linkstate] min_arrival_ms",
            &raw.min_arrival_ms,
            usual.min_arrival,
            0,
            10_000,
        );
        let digest_interval = ms(
            "[linkstate] digest_interval_ms",
            &raw.digest_interval_ms,
            usual.digest_interval,
            100,
            60_000,
        );
        let session_timeout = ms(
            "[linkstate] session_timeout_ms",
            &raw.session_timeout_ms,
            usual.session_timeout,
            500,
            600_000,
        );
        let seconds = u32::try_from(usual.restart_time.as_secs()).unwrap_or(120);
        let restart_time = self.number(
            "[linkstate] restart_time_s",
            raw.restart_time_s.as_ref(),
            seconds,
            1,
            3_600,
        );
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        LinkstateSection {
            listen: listen.unwrap_or(any),
            restart_hold,
            lifetime_s: self.number(
                "[linkstate] lifetime_s",
                raw.lifetime_s.as_ref(),
                usual.lifetime_s,
                30,
                86_400,
            ),
            spf_initial,
            spf_short,
            spf_long,
            originate_delay,
            min_arrival,
            digest_interval,
            session_timeout,
            restart_time: Duration::from_secs(u64::from(restart_time)),
            objects_per_origin: self.number(
                "[linkstate] objects_per_origin",
                raw.objects_per_origin.as_ref(),
                count(usual.objects_per_origin),
                10,
                10_000_000,
            ),
            objects: self.number(
                "[linkstate] objects",
                raw.objects.as_ref(),
                count(usual.objects),
                100,
                100_000_000,
            ),
            objects_per_second: self.number(
                "[linkstate] objects_per_second",
                raw.objects_per_second.as_ref(),
                usual.objects_per_second,
                10,
                1_000_000,
            ),
        }
    }

    fn adjacency(
        &mut self,
        mut raw: routes::Adjacency,
        node: NodeId,
        tables: &mut Tables,
    ) -> Option<(AdjacencyId, Adjacency)> {
        let metric = self.number("[[adjacency]] metric", raw.metric.as_ref(), 10, 1, MAX_COST);
        let delay_us = self.number(
            "[[adjacency]] delay_us",
            raw.delay_us.as_ref(),
            100,
            1,
            MAX_COST,
        );
        if *raw.peer.get_ref() == node.0 {
            self.at("[[adjacency]] peer", &raw.peer, Problem::Oneself);
        }
        let ethernet = raw
            .encapsulation
            .as_ref()
            .is_some_and(|word| word.get_ref() == "ethernet");
        // Frames need no addresses then, but the stream between the control planes does.
        let session = match (&raw.local, &raw.remote) {
            (Some(local), Some(remote)) => {
                let local = self.checker.address("[[adjacency]] local", local);
                let remote = self.checker.address("[[adjacency]] remote", remote);
                self.take(local).zip(self.take(remote))
            }
            _ => {
                self.at(
                    "[[adjacency]] local",
                    &raw.id,
                    Problem::Missing("local and remote are the addresses of the stream between the two control planes"),
                );
                None
            }
        };
        if ethernet {
            (raw.local, raw.remote) = (None, None);
        }
        let checked = self.checker.adjacency(&raw, tables);
        self.take(checked)?;
        let programmed = tables.adjacencies.get(raw.id.get_ref())?.clone();
        let id = AdjacencyId(u16::try_from(programmed.id).ok()?);
        let settings = LinkSettings {
            id,
            peer: NodeId(programmed.peer),
            metric,
            delay_us,
            capacity_kbps: raw.capacity_kbps.map_or(0, Spanned::into_inner),
        };
        let adjacency = Adjacency {
            programmed,
            settings,
            session,
        };
        Some((id, adjacency))
    }

    fn gateway(&mut self, raw: raw::Gateway) -> GatewaySection {
        let any = SocketAddr::from(([0u8; 4], REGISTRAR_PORT));
        let listen = self.listen("[gateway] listen", raw.listen.as_ref(), Some(any));
        let authorities = raw
            .authorities
            .iter()
            .filter_map(|text| self.socket("[gateway] authorities", Some(text), None))
            .collect();
        let probe = self.number(
            "[gateway] probe_interval_ms",
            raw.probe_interval_ms.as_ref(),
            1_000,
            50,
            60_000,
        );
        GatewaySection {
            listen: listen.unwrap_or(any),
            authorities,
            probe_interval: Duration::from_millis(u64::from(probe)),
            ports: self.ports(raw.port),
            max_class: self.max_class("[gateway] max_class", raw.max_class.as_ref()),
        }
    }

    fn scheduling(&mut self, raw: raw::Scheduling) -> SchedulingSection {
        const FIELD: &str = "[scheduling] centers";
        let mut centers: Vec<SocketAddr> = Vec::new();
        for (index, text) in raw.centers.iter().enumerate() {
            let Some(address) = self.socket(FIELD, Some(text), None) else {
                continue;
            };
            if centers.contains(&address) {
                let problem = Problem::Duplicate(format!("center {address}"));
                self.at(FIELD, text, problem);
            } else if index >= MAX_CENTERS {
                let (count, limit) = (raw.centers.len(), MAX_CENTERS);
                self.at(FIELD, text, Problem::TooMany { count, limit });
                break;
            }
            centers.push(address);
        }
        SchedulingSection { centers }
    }

    // Class 0 would be refused by nobody, and is what the agent's API takes for "nothing said".
    fn max_class(&mut self, field: &'static str, value: Option<&Spanned<u32>>) -> u8 {
        let default = u32::from(DEFAULT_CLASS);
        let class = self.number(field, value, default, 1, 7);
        u8::try_from(class).unwrap_or(DEFAULT_CLASS)
    }

    fn class(&mut self, raw: &raw::Class) -> ClassLimit {
        self.pattern("[[class]] identity", &raw.identity);
        ClassLimit {
            identity: raw.identity.get_ref().clone(),
            max_class: self.max_class("[[class]] max_class", Some(&raw.max_class)),
        }
    }

    fn pattern(&mut self, field: &'static str, pattern: &Spanned<String>) {
        if !is_pattern(pattern.get_ref()) {
            let problem = Problem::Pattern(pattern.get_ref().clone());
            self.at(field, pattern, problem);
        }
    }

    fn ports(&mut self, raw: Vec<raw::Port>) -> BTreeMap<String, Vec<String>> {
        let mut ports = BTreeMap::new();
        for port in raw {
            for pattern in &port.identities {
                self.pattern("[[gateway.port]] identities", pattern);
            }
            let list = port.identities.into_iter().map(Spanned::into_inner);
            let name = port.name.get_ref().clone();
            if ports.insert(name, list.collect()).is_some() {
                let problem = Problem::Duplicate(format!("port {:?}", port.name.get_ref()));
                self.at("[[gateway.port]] name", &port.name, problem);
            }
        }
        ports
    }
}
