//! The language of step files; conformance/README.md describes it.

mod expect;

use std::time::Duration;

use dmsc_linkstate::Event;

use super::sim::Sim;
use super::sim::crypto::WireRevocation;

/// A simulation that step files drive.
#[derive(Default)]
pub struct Run {
    pub sim: Sim,
    marked_messages: u64,
}

pub type Outcome = Result<(), String>;

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number"))
}

/// `5ms`, `3s`, `+5ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Some(ms) = text.strip_suffix("ms") {
        return Ok(Duration::from_millis(number(ms)?));
    }
    let seconds = text
        .strip_suffix('s')
        .ok_or(format!("{text:?} has no unit (ms, s)"))?;
    Ok(Duration::from_secs(number(seconds)?))
}

fn end(text: &str) -> Result<(u32, u16), String> {
    let (node, id) = text
        .split_once(':')
        .ok_or(format!("{text:?} is not NODE:ADJACENCY"))?;
    Ok((number(node)?, number(id)?))
}

impl Run {
    fn nodes(&self, text: &str) -> Result<Vec<u32>, String> {
        if text == "all" {
            return Ok(self.sim.nodes.keys().copied().collect());
        }
        let id = number(text)?;
        if self.sim.nodes.contains_key(&id) {
            Ok(vec![id])
        } else {
            Err(format!("there is no node {id}"))
        }
    }

    fn node(&self, text: &str) -> Result<u32, String> {
        self.nodes(text)?
            .first()
            .copied()
            .ok_or_else(|| "there is no node".to_owned())
    }

    /// One line.
    pub fn step(&mut self, line: &str) -> Outcome {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["node", id, role] => self.add(id, role)?,
            ["node", id, role, "as", other] => {
                self.add(id, role)?;
                let other: u32 = number(other)?;
                let node = self.sim.node(number(id)?);
                node.config.node.0 = other;
                node.seed = other;
            }
            ["link", a, b, settings @ ..] => self.link(a, b, settings)?,
            ["start", which] => {
                for id in self.nodes(which)? {
                    self.sim.start(id, false);
                }
            }
            ["kill", which] => {
                for id in self.nodes(which)? {
                    self.sim.kill(id);
                }
            }
            ["restart", which, state] => {
                for id in self.nodes(which)? {
                    if self.sim.nodes[&id].engine.is_some() {
                        self.sim.kill(id);
                    }
                    match *state {
                        "with-state" => self.sim.start(id, true),
                        "without-state" => {
                            let node = self.sim.node(id);
                            node.authorisations.clear();
                            node.announced.clear();
                            self.sim.start(id, false);
                        }
                        _ => return Err("with-state or without-state".into()),
                    }
                }
            }
            ["epoch", id, epoch] => {
                let id = self.node(id)?;
                self.sim.node(id).config.boot_epoch = number(epoch)?;
            }
            ["hello", "all", state] => {
                for at in 0..self.sim.links.len() {
                    self.sim.set_link_at(at, *state == "up");
                }
            }
            ["hello", at, state] => {
                let at = self.link_of(at)?;
                self.sim.set_link_at(at, *state == "up");
            }
            ["session", at, "breaks"] => {
                let at = self.link_of(at)?;
                self.sim.disconnect(at);
            }
            ["at", time] => self.sim.run(duration(time)?),
            ["authorise", id, name, "for", life, "stale", stale] => {
                let life = duration(life)?.as_secs();
                let stale = u32::try_from(duration(stale)?.as_secs()).unwrap_or(u32::MAX);
                let id = self.node(id)?;
                self.sim.authorise(id, &[name], life, stale);
            }
            ["announce", id, name] => {
                let id = self.node(id)?;
                self.sim.announce(id, &[name]);
            }
            ["withdraw", id, name] => {
                let id = self.node(id)?;
                self.sim.withdraw(id, name);
            }
            ["revoke", name, "told", id] => self.revoke(name, 0, id)?,
            ["revoke", name, "at", gateway, "told", id] => {
                self.revoke(name, number(gateway)?, id)?;
            }
            ["revoke-node", node, "told", id] => {
                let now_s = self.sim.wall_s();
                let revocation = WireRevocation {
                    serial: 1,
                    name: String::new(),
                    gateway: number(node)?,
                    issued_before_s: now_s,
                    until_s: now_s + 86_400,
                    ..WireRevocation::default()
                };
                let id = self.node(id)?;
                let event = Event::RootRevocation(revocation.signed_by_root());
                self.sim.handle(id, event);
            }
            ["new-certificate", id] => {
                let now_s = self.sim.wall_s();
                let id = self.node(id)?;
                self.sim.node(id).issued_s = now_s;
            }
            ["drain", id, state] => {
                let id = self.node(id)?;
                self.sim.handle(id, Event::Drain(*state == "on"));
            }
            ["leave", id] => {
                let id = self.node(id)?;
                self.sim.handle(id, Event::Leave);
            }
            ["stop", id] => {
                let id = self.node(id)?;
                self.sim.node(id).stopped = true;
            }
            ["resume", id] => {
                let id = self.node(id)?;
                self.sim.resume(id);
            }
            ["drop", from, to] => {
                self.sim.dropped.insert((number(from)?, number(to)?));
            }
            ["deliver", from, to] => {
                self.sim.dropped.remove(&(number(from)?, number(to)?));
            }
            ["clock", id, seconds] => {
                let id = self.node(id)?;
                self.sim.node(id).wall_skew += number::<i64>(seconds)?;
            }
            ["mark"] => {
                self.marked_messages = self.sim.messages;
                for node in self.sim.nodes.values_mut() {
                    node.deltas.clear();
                    node.alarms.clear();
                    node.lost.clear();
                    node.closes.clear();
                }
            }
            ["expect", rest @ ..] => self.expect(rest)?,
            ["within", time, rest @ ..] => {
                let end = self.sim.now + duration(time)?;
                while let Err(why) = self.expect(rest) {
                    if self.sim.now >= end {
                        return Err(why);
                    }
                    self.sim.run(Duration::from_millis(1));
                }
            }
            _ => return Err("not a step".into()),
        }
        Ok(())
    }

    fn add(&mut self, id: &str, role: &str) -> Outcome {
        let role = match role {
            "sg" => "sg",
            "sr" => "sr",
            _ => return Err("a node is sg or sr".into()),
        };
        self.sim.add_node(number(id)?, role);
        Ok(())
    }

    fn link(&mut self, a: &str, b: &str, settings: &[&str]) -> Outcome {
        let (mut metric, mut delay) = (10, None);
        for pair in settings.chunks(2) {
            match pair {
                ["metric", value] => metric = number(value)?,
                ["delay", value] => delay = Some(number(value)?),
                _ => return Err("metric N, delay N".into()),
            }
        }
        let ends = [end(a)?, end(b)?];
        self.sim.add_link(ends, metric, delay.unwrap_or(metric));
        Ok(())
    }

    fn link_of(&self, text: &str) -> Result<usize, String> {
        let (node, id) = end(text)?;
        self.sim
            .links
            .iter()
            .position(|link| link.ends.iter().any(|at| (at.0, at.1.0) == (node, id)))
            .ok_or(format!("there is no adjacency {text}"))
    }

    fn revoke(&mut self, name: &str, gateway: u32, told: &str) -> Outcome {
        let now_s = self.sim.wall_s();
        let revocation = WireRevocation {
            serial: 1,
            name: name.to_owned(),
            gateway,
            issued_before_s: now_s,
            until_s: now_s + 86_400,
            ..WireRevocation::default()
        };
        let id = self.node(told)?;
        self.sim.handle(id, Event::Revocation(revocation.signed()));
        Ok(())
    }
}
