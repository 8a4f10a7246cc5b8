//! Service groups as gateways tell them: where calls enter, whom plain routes choose there, and who else there is.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use dmsc_scsc::{GroupId, RulesTable, Scsc};
use dmsc_wire::{Domain, NameBuf, NodeId};
use thiserror::Error;

/// Most service groups.
pub const MAX_GROUPS: usize = 65_536;
/// Most of one gateway: a gateway tells no more.
pub const MAX_GROUPS_EACH: usize = 4_096;
/// Most members of a group that are considered.
const MAX_MEMBERS: usize = 64;

/// Tenant and prefix.
pub(super) type GroupName = (Domain, NameBuf);

/// What enters at a gateway for one service group, checked.
#[derive(Debug)]
pub struct Entered {
    /// Tenant.
    pub domain: Domain,
    /// Of the group.
    pub prefix: NameBuf,
    /// In a second.
    pub kbps: u64,
    /// Whom plain routes choose; nobody: there is no such group there any more.
    pub plain: Vec<NodeId>,
    /// Who else there is.
    pub others: Vec<NodeId>,
}

/// Why a group has no policies made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FullError {
    /// Of one gateway.
    #[error(
        "more than {MAX_GROUPS_EACH} service groups of one gateway: plain routes hold for the others"
    )]
    Each,
    /// In all.
    #[error(
        "more than {MAX_GROUPS} service groups in this area: plain routes hold for the others; divide the area"
    )]
    All,
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub id: GroupId,
    /// How many callers name a member.
    members: BTreeMap<NodeId, usize>,
    callers: BTreeMap<NodeId, Caller>,
}

#[derive(Debug, Default)]
struct Caller {
    plain: Vec<NodeId>,
    others: Vec<NodeId>,
    /// Over which stream it was told last.
    stream: u64,
}

/// All that are told, and nothing that nobody tells.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_name: BTreeMap<GroupName, Group>,
    counts: HashMap<NodeId, usize>,
}

/// What is in force for a group at a gateway: the engine is told, which knows the caller since just now.
pub(super) trait InForce {
    fn take_up(&self, engine: &mut Scsc, group: GroupId, name: &GroupName, gateway: NodeId);
}

impl Groups {
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The engine's number of a group.
    pub fn id(&self, name: &GroupName) -> Option<GroupId> {
        self.by_name.get(name).map(|group| group.id)
    }

    /// Takes what `gateway` tells over a stream. A caller that is new to the engine goes on with what is `in_force`.
    ///
    /// # Errors
    /// When there is no room for one more; nothing changes then.
    pub fn tell(
        &mut self,
        engine: &mut Scsc,
        rules: &RulesTable,
        in_force: &impl InForce,
        (gateway, stream): (NodeId, u64),
        one: Entered,
    ) -> Result<(), FullError> {
        let name = (one.domain, one.prefix);
        if one.plain.is_empty() {
            self.forget(engine, &name, gateway);
            return Ok(());
        }
        let room = self.by_name.len() < MAX_GROUPS;
        let group = match self.by_name.entry(name.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if !room => return Err(FullError::All),
            Entry::Vacant(place) => {
                // Of the caller's own limit below: a group without callers is forgotten there.
                let id =
                    engine.group_with(name.0, name.1.clone(), rules.of(name.0, name.1.as_name()));
                place.insert(Group {
                    id,
                    members: BTreeMap::new(),
                    callers: BTreeMap::new(),
                })
            }
        };
        let known = group.callers.contains_key(&gateway);
        let count = self.counts.entry(gateway).or_default();
        if !known && *count >= MAX_GROUPS_EACH {
            if group.callers.is_empty() {
                engine.forget_group(group.id);
                self.by_name.remove(&name);
            }
            return Err(FullError::Each);
        }
        *count += usize::from(!known);
        let (plain, others) = (ascending(one.plain), ascending(one.others));
        let before = group.considered();
        let own = group.name(gateway, stream, plain, others);
        let members = group.considered();
        // Others among whom to choose are so for all callers.
        let changed: Vec<NodeId> = match members == before {
            false => group.callers().collect(),
            true if own => vec![gateway],
            true => Vec::new(),
        };
        for caller in changed {
            let Some(of) = group.callers.get(&caller) else {
                continue;
            };
            let is_new = engine.caller(group.id, caller, &members, &of.plain);
            if is_new {
                in_force.take_up(engine, group.id, &name, caller);
            }
        }
        engine.traffic(group.id, gateway, one.kbps);
        Ok(())
    }

    /// Calls to the group enter there no more.
    pub fn forget(&mut self, engine: &mut Scsc, name: &GroupName, gateway: NodeId) {
        let Some(group) = self.by_name.get_mut(name) else {
            return;
        };
        let Some(gone) = group.callers.remove(&gateway) else {
            return;
        };
        engine.forget_caller(group.id, gateway);
        if let Some(count) = self.counts.get_mut(&gateway) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&gateway);
            }
        }
        if group.callers.is_empty() {
            engine.forget_group(group.id);
            self.by_name.remove(name);
            return;
        }
        if group.unname(gone.plain.iter().chain(&gone.others)) {
            let members = group.considered();
            for (caller, of) in &group.callers {
                engine.caller(group.id, *caller, &members, &of.plain);
            }
        }
    }

    /// Nothing enters there any more, but for what was told over `stream`, if any.
    pub fn forget_all_but(&mut self, engine: &mut Scsc, gateway: NodeId, stream: Option<u64>) {
        if !self.counts.contains_key(&gateway) {
            return;
        }
        let over = |group: &Group| {
            let caller = group.callers.get(&gateway);
            caller.is_some_and(|caller| stream != Some(caller.stream))
        };
        let all = self.by_name.iter().filter(|(_, group)| over(group));
        let names: Vec<GroupName> = all.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.forget(engine, &name, gateway);
        }
    }

    /// A group by its name.
    pub fn get(&self, name: &GroupName) -> Option<&Group> {
        self.by_name.get(name)
    }

    /// All groups, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&GroupName, &Group)> {
        self.by_name.iter()
    }

    /// Gateways that calls enter at.
    pub fn gateways(&self) -> impl Iterator<Item = NodeId> {
        self.counts.keys().copied()
    }
}

impl Group {
    /// Gateways that calls to it enter at.
    pub fn callers(&self) -> impl ExactSizeIterator<Item = NodeId> {
        self.callers.keys().copied()
    }

    /// Whom plain routes choose at a gateway, if calls enter there.
    pub fn plain(&self, gateway: NodeId) -> Option<&[NodeId]> {
        Some(&self.callers.get(&gateway)?.plain)
    }

    /// A caller names members; whether they are others than before.
    fn name(
        &mut self,
        gateway: NodeId,
        stream: u64,
        plain: Vec<NodeId>,
        others: Vec<NodeId>,
    ) -> bool {
        let caller = self.callers.entry(gateway).or_default();
        caller.stream = stream;
        if (&caller.plain, &caller.others) == (&plain, &others) {
            return false;
        }
        let before = (
            std::mem::replace(&mut caller.plain, plain),
            std::mem::replace(&mut caller.others, others),
        );
        for member in caller.plain.iter().chain(&caller.others) {
            *self.members.entry(*member).or_default() += 1;
        }
        self.unname(before.0.iter().chain(&before.1));
        true
    }

    /// These are named once less; whether one is named no more.
    fn unname<'a>(&mut self, members: impl Iterator<Item = &'a NodeId>) -> bool {
        let before = self.members.len();
        for member in members {
            if let Some(names) = self.members.get_mut(member) {
                *names -= 1;
                if *names == 0 {
                    self.members.remove(member);
                }
            }
        }
        self.members.len() != before
    }

    /// Members: of too many those that most callers name.
    pub fn considered(&self) -> Vec<NodeId> {
        let mut members: Vec<NodeId> = self.members.keys().copied().collect();
        if members.len() > MAX_MEMBERS {
            members.sort_by_key(|member| std::cmp::Reverse(self.members[member]));
            members.truncate(MAX_MEMBERS);
        }
        members
    }
}

fn ascending(mut ids: Vec<NodeId>) -> Vec<NodeId> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use dmsc_scsc::ScscConfig;

    use super::*;

    struct Nothing;

    impl InForce for Nothing {
        fn take_up(&self, _: &mut Scsc, _: GroupId, _: &GroupName, _: NodeId) {}
    }

    struct Told {
        groups: Groups,
        engine: Scsc,
    }

    impl Told {
        fn new() -> Self {
            Self {
                groups: Groups::default(),
                engine: Scsc::new(ScscConfig::default()).unwrap(),
            }
        }

        fn tell(&mut self, of: (u32, u64), name: &str, plain: &[u32]) -> Result<(), FullError> {
            let one = Entered {
                domain: Domain(1),
                prefix: NameBuf::parse(name).unwrap(),
                kbps: 0,
                plain: plain.iter().copied().map(NodeId).collect(),
                others: Vec::new(),
            };
            let from = (NodeId(of.0), of.1);
            let rules = RulesTable::default();
            self.groups
                .tell(&mut self.engine, &rules, &Nothing, from, one)
        }

        fn members(&self, name: &str) -> Option<Vec<u32>> {
            let name = (Domain(1), NameBuf::parse(name).unwrap());
            let group = self.groups.by_name.get(&name)?;
            Some(group.considered().iter().map(|id| id.0).collect())
        }
    }

    #[test]
    fn a_member_is_one_as_long_as_somebody_names_it() {
        let mut told = Told::new();
        told.tell((1, 1), "/a", &[7, 8, 8]).unwrap();
        told.tell((2, 1), "/a", &[8, 9]).unwrap();
        assert_eq!(told.members("/a"), Some(vec![7, 8, 9]));
        told.tell((1, 1), "/a", &[8]).unwrap();
        assert_eq!(told.members("/a"), Some(vec![8, 9]));
        told.tell((2, 1), "/a", &[]).unwrap();
        assert_eq!(told.members("/a"), Some(vec![8]));
        told.tell((1, 1), "/a", &[]).unwrap();
        assert_eq!((told.members("/a"), told.groups.len()), (None, 0));
        assert_eq!(told.groups.gateways().count(), 0);
        // Of too many those that are named most.
        let many: Vec<u32> = (100..170).collect();
        told.tell((1, 1), "/a", &many[..60]).unwrap();
        told.tell((2, 1), "/a", &many[10..]).unwrap();
        let considered = told.members("/a").unwrap();
        assert_eq!(considered.len(), MAX_MEMBERS);
        assert!(many[10..60].iter().all(|id| considered.contains(id)));
    }

    #[test]
    fn what_is_not_told_again_goes() {
        let mut told = Told::new();
        for name in ["/a", "/b", "/c"] {
            told.tell((1, 1), name, &[7]).unwrap();
        }
        told.tell((1, 2), "/b", &[7]).unwrap();
        told.tell((2, 1), "/c", &[7]).unwrap();
        let Told { groups, engine } = &mut told;
        groups.forget_all_but(engine, NodeId(1), Some(2));
        assert_eq!((groups.len(), groups.counts[&NodeId(1)]), (2, 1));
        groups.forget_all_but(engine, NodeId(1), None);
        groups.forget_all_but(engine, NodeId(2), None);
        assert_eq!((groups.len(), groups.counts.len()), (0, 0));
    }

    #[test]
    fn one_gateway_has_no_more_than_its_part() {
        let mut told = Told::new();
        for at in 0..MAX_GROUPS_EACH {
            told.tell((1, 1), &format!("/s/{at}"), &[7]).unwrap();
        }
        assert_eq!(told.tell((1, 1), "/more", &[7]), Err(FullError::Each));
        assert_eq!(told.groups.len(), MAX_GROUPS_EACH);
        // What it has may change, and another has room.
        told.tell((1, 1), "/s/9", &[8]).unwrap();
        told.tell((2, 1), "/more", &[7]).unwrap();
        assert_eq!(told.tell((1, 1), "/more", &[7]), Err(FullError::Each));
        assert_eq!(told.members("/more"), Some(vec![7]));
        told.tell((1, 1), "/s/9", &[]).unwrap();
        told.tell((1, 1), "/more", &[7]).unwrap();
    }
}
