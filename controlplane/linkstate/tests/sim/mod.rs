//! Several engines in one process, with simulated time, links and dataplanes.
#![allow(dead_code)]

pub mod crypto;
mod node;
mod pods;
mod view;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use dmsc_linkstate::event::{Known, LinkSettings};
use dmsc_linkstate::{
    Action, AdjacencyId, Engine, EngineConfig, Event, Message, NodeId, Now, SessionId,
};
use dmsc_wire::NameBuf;

use crypto::{NodeSigner, TestTrust};
pub use node::{Link, Node, Tables};

/// Wall clock at the beginning, s since 1970.
pub const EPOCH_S: u64 = 1_800_000_000;
/// From the dataplane's side of an order to its acknowledgement.
const PROGRAM: Duration = Duration::from_millis(1);

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).unwrap()
}

#[derive(Debug)]
enum Happening {
    Deliver {
        session: u64,
        to: u32,
        message: Box<Message>,
    },
    Programmed {
        node: u32,
        version: u64,
        life: u64,
    },
}

/// The network.
pub struct Sim {
    pub now: Duration,
    pub nodes: BTreeMap<u32, Node>,
    pub links: Vec<Link>,
    queue: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    happenings: BTreeMap<usize, Happening>,
    next: u64,
    sessions: u64,
    pub messages: u64,
    pub objects: u64,
    /// Messages between these nodes are lost (one way).
    pub dropped: BTreeSet<(u32, u32)>,
    pub latency: Duration,
}

impl Default for Sim {
    fn default() -> Self {
        Self {
            now: secs(1_000),
            nodes: BTreeMap::new(),
            links: Vec::new(),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next: 0,
            sessions: 0,
            messages: 0,
            objects: 0,
            dropped: BTreeSet::new(),
            latency: Duration::from_micros(500),
        }
    }
}

impl Sim {
    pub fn time(&self, node: u32) -> Now {
        let wall = i64::try_from((secs(EPOCH_S) + self.now).as_millis()).unwrap()
            + self.nodes[&node].wall_skew * 1_000;
        Now {
            mono: self.now,
            wall: ms(u64::try_from(wall).unwrap()),
        }
    }

    pub fn wall_s(&self) -> u64 {
        EPOCH_S + self.now.as_secs()
    }

    pub fn add_node(&mut self, id: u32, role: &'static str) {
        let mut config = EngineConfig::new(NodeId(id), 1);
        config.role = role;
        config.name = format!("{role}{id}");
        let node = Node {
            engine: None,
            config,
            seed: id,
            issued_s: EPOCH_S,
            tables: Tables::default(),
            deltas: Vec::new(),
            alarms: Vec::new(),
            lost: Vec::new(),
            closes: Vec::new(),
            kept: Vec::new(),
            wall_skew: 0,
            stopped: false,
            authorisations: Vec::new(),
            announced: BTreeMap::new(),
            verifications: Arc::default(),
            serial: 0,
        };
        self.nodes.insert(id, node);
    }

    pub fn engine(&self, node: u32) -> &Engine {
        self.nodes[&node].engine.as_ref().unwrap()
    }

    pub fn engine_mut(&mut self, node: u32) -> &mut Engine {
        self.nodes.get_mut(&node).unwrap().engine.as_mut().unwrap()
    }

    pub fn node(&mut self, node: u32) -> &mut Node {
        self.nodes.get_mut(&node).unwrap()
    }

    /// Starts the control plane of a node; `restart`: with what its dataplane has.
    pub fn start(&mut self, id: u32, restart: bool) {
        let now = self.time(id);
        let node = self.nodes.get_mut(&id).unwrap();
        let trust = TestTrust {
            verifications: node.verifications.clone(),
            ..TestTrust::default()
        };
        let signer = NodeSigner::new(node.config.node.0, node.seed, node.issued_s);
        node.engine = Some(Engine::new(
            node.config.clone(),
            Box::new(signer),
            Box::new(trust),
            now,
        ));
        if restart {
            let tables = &node.tables;
            let gateways: BTreeSet<NodeId> = tables.gateways.keys().map(|(_, id)| *id).collect();
            let prefixes = tables
                .prefixes
                .iter()
                .flat_map(|((domain, name), members)| {
                    members.iter().map(|member| Known {
                        domain: *domain,
                        name: name.clone(),
                        gateway: member.gateway,
                    })
                });
            let event = Event::Restarted {
                gateways: gateways.into_iter().collect(),
                prefixes: prefixes.collect(),
                hold: secs(20),
            };
            self.handle(id, event);
        } else {
            self.node(id).tables = Tables::default();
        }
        let links: Vec<Link> = self.links.clone();
        for link in &links {
            for (end, (node, adjacency)) in link.ends.iter().enumerate() {
                if *node == id {
                    let peer = self.nodes[&link.ends[1 - end].0].config.node;
                    self.handle(id, Event::LinkConfigured(settings(*adjacency, peer, link)));
                    if link.up {
                        let up = Event::LinkHello {
                            id: *adjacency,
                            up: true,
                        };
                        self.handle(id, up);
                    }
                }
            }
        }
        for link in &mut self.links {
            if link.up && link.ends.iter().any(|(node, _)| *node == id) {
                link.connect_at = Some(self.now + ms(2));
            }
        }
        if restart {
            let node = &self.nodes[&id];
            let authorisations = Event::Authorisations(node.authorisations.clone());
            let announced = Event::Announce(node.announced.values().cloned().collect());
            self.handle(id, authorisations);
            self.handle(id, announced);
        }
    }

    /// Kills the control plane; the dataplane goes on.
    pub fn kill(&mut self, id: u32) {
        self.node(id).engine = None;
        self.node(id).config.boot_epoch += 1;
        for at in 0..self.links.len() {
            if self.links[at].ends.iter().any(|(node, _)| *node == id) {
                self.disconnect(at);
            }
        }
    }

    pub fn add_link(&mut self, ends: [(u32, u16); 2], metric: u32, delay_us: u32) {
        let link = Link {
            ends: ends.map(|(node, id)| (node, AdjacencyId(id))),
            up: false,
            metric,
            delay_us,
            session: None,
            connect_at: None,
        };
        for end in 0..2 {
            let (node, id) = link.ends[end];
            if self.nodes[&node].engine.is_some() {
                let peer = self.nodes[&link.ends[1 - end].0].config.node;
                self.handle(node, Event::LinkConfigured(settings(id, peer, &link)));
            }
        }
        self.links.push(link);
    }

    fn link_at(&self, a: u32, b: u32) -> usize {
        self.links
            .iter()
            .position(|link| {
                let [x, y] = link.ends.map(|(node, _)| node);
                (x, y) == (a, b) || (y, x) == (a, b)
            })
            .unwrap()
    }

    /// Cuts or repairs the (first) link between two nodes.
    pub fn set_link(&mut self, a: u32, b: u32, up: bool) {
        let at = self.link_at(a, b);
        self.set_link_at(at, up);
    }

    pub fn set_link_at(&mut self, at: usize, up: bool) {
        if self.links[at].up == up {
            return;
        }
        self.links[at].up = up;
        if up {
            self.links[at].connect_at = Some(self.now + ms(2));
        } else {
            self.links[at].connect_at = None;
        }
        for (node, id) in self.links[at].ends {
            self.handle(node, Event::LinkHello { id, up });
        }
        if !up {
            self.disconnect(at);
        }
    }

    /// The stream over a link breaks; hellos go on.
    pub fn disconnect(&mut self, at: usize) {
        self.links[at].connect_at = self.links[at].up.then(|| self.now + ms(500));
        let Some(session) = self.links[at].session.take() else {
            return;
        };
        for (node, _) in self.links[at].ends {
            self.handle(node, Event::SessionDown(SessionId(session)));
        }
    }

    fn connect(&mut self, at: usize) {
        self.links[at].connect_at = None;
        let alive = |(node, _): &(u32, AdjacencyId)| self.nodes[node].engine.is_some();
        if !self.links[at].ends.iter().all(alive) || self.links[at].session.is_some() {
            return;
        }
        self.sessions += 1;
        self.links[at].session = Some(self.sessions);
        let ends = self.links[at].ends;
        for end in 0..2 {
            let event = Event::SessionUp {
                session: SessionId(self.sessions),
                link: ends[end].1,
                peer: self.nodes[&ends[1 - end].0].config.node,
                peer_link: ends[1 - end].1,
            };
            self.handle(ends[end].0, event);
        }
    }

    pub fn session_between(&self, a: u32, b: u32) -> Option<SessionId> {
        self.links[self.link_at(a, b)].session.map(SessionId)
    }

    fn push(&mut self, at: Duration, happening: Happening) {
        let id = usize::try_from(self.next).unwrap();
        self.happenings.insert(id, happening);
        self.queue.push(Reverse((at, self.next, id)));
        self.next += 1;
    }

    /// An event at a node, and everything that it asks for.
    pub fn handle(&mut self, id: u32, event: Event) {
        let now = self.time(id);
        let Some(engine) = self.nodes.get_mut(&id).unwrap().engine.as_mut() else {
            return;
        };
        let actions = engine.handle(now, event);
        for action in actions {
            match action {
                Action::Wake(session) => self.pull(id, session),
                Action::Close { session, why } => {
                    self.node(id).closes.push(why);
                    let at = self
                        .links
                        .iter()
                        .position(|link| link.session == Some(session.0));
                    if let Some(at) = at {
                        self.disconnect(at);
                    }
                }
                Action::Routes(delta) => {
                    let life = u64::from(self.nodes[&id].config.boot_epoch);
                    let now = self.now;
                    let node = self.node(id);
                    let before = node.tables.clone();
                    node.tables.apply(&delta);
                    let after = &node.tables;
                    for (domain, name) in before.prefixes.keys() {
                        if !after.prefixes.contains_key(&(*domain, name.clone())) {
                            node.lost.push(format!("{now:?}: prefix {name}"));
                        }
                    }
                    for (topology, to) in before.gateways.keys() {
                        if !after.gateways.contains_key(&(*topology, *to)) {
                            node.lost.push(format!("{now:?}: way to {to}"));
                        }
                    }
                    let version = delta.version;
                    node.deltas.push(delta);
                    let happening = Happening::Programmed {
                        node: id,
                        version,
                        life,
                    };
                    self.push(self.now + PROGRAM, happening);
                }
                Action::KeepRevocation(body) => self.node(id).kept.push((false, body)),
                Action::KeepRootRevocation(body) => self.node(id).kept.push((true, body)),
                Action::Alarm(alarm) => self.node(id).alarms.push(format!("{alarm:?}")),
                Action::AlarmOver(alarm) => self.node(id).alarms.push(format!("{alarm:?} over")),
            }
        }
    }

    /// Takes all messages that a node has for a session.
    pub fn pull(&mut self, id: u32, session: SessionId) {
        if self.nodes[&id].stopped {
            return;
        }
        let Some(link) = self
            .links
            .iter()
            .find(|link| link.session == Some(session.0))
        else {
            return;
        };
        let [a, b] = link.ends.map(|(node, _)| node);
        let to = if a == id { b } else { a };
        if self.nodes[&to].stopped {
            return; // the stream is full
        }
        loop {
            let now = self.time(id);
            let Some(message) = self
                .nodes
                .get_mut(&id)
                .and_then(|node| node.engine.as_mut())
                .and_then(|engine| engine.next_message(now, session))
            else {
                return;
            };
            self.messages += 1;
            if let Message::Flood(objects) = &message {
                self.objects += objects.len() as u64;
            }
            if self.dropped.contains(&(id, to)) {
                continue;
            }
            let deliver = Happening::Deliver {
                session: session.0,
                to,
                message: Box::new(message),
            };
            self.push(self.now + self.latency, deliver);
        }
    }

    /// The next moment at which something happens.
    fn next_time(&self) -> Duration {
        let queue = self.queue.peek().map(|Reverse((at, ..))| *at);
        let deadlines = self
            .nodes
            .values()
            .filter(|node| !node.stopped)
            .filter_map(|node| node.engine.as_ref()?.next_deadline());
        let connects = self.links.iter().filter_map(|link| link.connect_at);
        deadlines
            .chain(connects)
            .chain(queue)
            .min()
            .unwrap_or(Duration::MAX)
            .max(self.now)
    }

    pub fn run_until(&mut self, until: Duration) {
        loop {
            let at = self.next_time();
            if at > until {
                break;
            }
            self.now = at;
            for link in 0..self.links.len() {
                if self.links[link].connect_at.is_some_and(|due| due <= at) {
                    self.connect(link);
                }
            }
            while let Some(Reverse((due, _, id))) = self.queue.peek().copied() {
                if due > at {
                    break;
                }
                self.queue.pop();
                let Some(happening) = self.happenings.remove(&id) else {
                    continue;
                };
                self.happen(happening);
            }
            let ids: Vec<u32> = self.nodes.keys().copied().collect();
            for id in ids {
                let node = &self.nodes[&id];
                let due = node
                    .engine
                    .as_ref()
                    .and_then(Engine::next_deadline)
                    .is_some_and(|due| due <= at);
                if due && !node.stopped {
                    self.handle(id, Event::Tick);
                }
            }
        }
        self.now = until;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver {
                session,
                to,
                message,
            } => {
                let alive = self.links.iter().any(|link| link.session == Some(session));
                if alive {
                    let event = Event::Received {
                        session: SessionId(session),
                        message: *message,
                    };
                    self.handle(to, event);
                }
            }
            Happening::Programmed {
                node,
                version,
                life,
            } => {
                if u64::from(self.nodes[&node].config.boot_epoch) == life {
                    self.handle(node, Event::Programmed { version });
                }
            }
        }
    }

    pub fn run(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Lets a stopped node go on.
    pub fn resume(&mut self, id: u32) {
        self.node(id).stopped = false;
        self.handle(id, Event::Tick);
        let sessions: Vec<(u64, [u32; 2])> = self
            .links
            .iter()
            .filter_map(|link| Some((link.session?, link.ends.map(|(node, _)| node))))
            .filter(|(_, ends)| ends.contains(&id))
            .collect();
        for (session, ends) in sessions {
            for end in ends {
                self.pull(end, SessionId(session));
            }
        }
    }
}

fn settings(id: AdjacencyId, peer: NodeId, link: &Link) -> LinkSettings {
    LinkSettings {
        id,
        peer,
        metric: link.metric,
        delay_us: link.delay_us,
        capacity_kbps: 0,
    }
}
