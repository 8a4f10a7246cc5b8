//! What authorities and pods do, and operators.

use std::time::Duration;

use dmsc_linkstate::Event;
use dmsc_linkstate::event::Announcement;
use dmsc_wire::Domain;

use super::crypto::WireAuthorisation;
use super::{Sim, name, secs, settings};

impl Sim {
    /// Authorises subtrees at a gateway, besides what it has.
    pub fn authorise(&mut self, gateway: u32, names: &[&str], life_s: u64, stale_s: u32) {
        let now_s = self.wall_s();
        let node = self.node(gateway);
        node.serial += 1;
        let body = WireAuthorisation {
            serial: node.serial,
            domain: 1,
            gateway: node.config.node.0,
            issued_at_s: now_s,
            not_after_s: now_s + life_s,
            stale_s,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            exact: false,
            ..WireAuthorisation::default()
        };
        node.authorisations.push(body.signed());
        let all = node.authorisations.clone();
        self.handle(gateway, Event::Authorisations(all));
    }

    pub fn announce(&mut self, gateway: u32, names: &[&str]) {
        let wall = self.time(gateway).wall;
        let announcements: Vec<Announcement> = names
            .iter()
            .map(|text| Announcement {
                domain: Domain(1),
                name: name(text),
                metric: 0,
                weight: 1,
                announced_at_ms: u64::try_from(wall.as_millis()).unwrap(),
            })
            .collect();
        for announcement in &announcements {
            self.node(gateway)
                .announced
                .insert(announcement.name.clone(), announcement.clone());
        }
        self.handle(gateway, Event::Announce(announcements));
    }

    pub fn withdraw(&mut self, gateway: u32, text: &str) {
        self.node(gateway).announced.remove(&name(text));
        self.handle(gateway, Event::Withdraw(vec![(Domain(1), name(text))]));
    }

    /// Restarts a node with another session timeout.
    pub fn set_session_timeout(&mut self, id: u32, timeout: Duration) {
        self.node(id).config.session_timeout = timeout;
        self.kill(id);
        self.start(id, true);
        let stopped: Vec<u32> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.stopped)
            .map(|(id, _)| *id)
            .collect();
        for id in &stopped {
            self.node(*id).stopped = false;
        }
        self.run(secs(3));
        for id in stopped {
            self.node(id).stopped = true;
        }
    }

    /// Configures a link anew at both ends.
    pub fn set_metric(&mut self, a: u32, b: u32, metric: u32) {
        let at = self.link_at(a, b);
        self.links[at].metric = metric;
        let link = self.links[at].clone();
        for end in 0..2 {
            let peer = self.nodes[&link.ends[1 - end].0].config.node;
            let (node, id) = link.ends[end];
            self.handle(node, Event::LinkConfigured(settings(id, peer, &link)));
        }
    }
}
