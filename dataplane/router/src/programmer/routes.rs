//! Gateways, groups, prefixes and access rules of a transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use dmsc_fib::{
    AdjacencyId, Fib, Gateway, Group, GroupId, GroupPolicy, Member, Op, OpError, Route,
};
use dmsc_proto::v1;
use dmsc_wire::{Domain, NodeId};

use super::draft::{Change, Draft, PrefixId, PrefixState};
use super::{ProgramError, Programmer, name, topology};
use crate::tables::AccessRule;

impl Programmer {
    /// The tables after these operations, all of which change routes, if all can be done. They are done in the order of the places of their
    /// entries, those of one name in their own: from page to page is less waiting for memory, where whole tables come in.
    pub(super) fn with_routes(&self, parts: &[&[v1::Op]]) -> Option<Fib> {
        let count = parts.iter().map(|ops| ops.len()).sum();
        let mut routes = Vec::with_capacity(count);
        // Place and index as one number: that is what is sorted.
        let mut order = Vec::with_capacity(count);
        for op in parts.iter().copied().flatten() {
            let route = route(op.op.as_ref()).ok()?;
            let place = self.tables.fib.place(route.domain, route.name);
            order.push(u64::from(place) << 32 | routes.len() as u64);
            routes.push(route);
        }
        order.sort_unstable();
        let in_order = order.iter().map(|key| routes[(key & 0xffff_ffff) as usize]);
        self.tables.fib.apply_routes(in_order).ok()
    }

    /// The first operation of a transaction of routes that can not be done.
    pub(super) fn why_not(&self, ops: &[v1::Op]) -> ProgramError {
        let routes: Vec<_> = ops
            .iter()
            .map_while(|op| route(op.op.as_ref()).ok())
            .collect();
        let malformed = routes.len();
        let (index, message) = match self.tables.fib.apply_routes(routes) {
            Err(refused) => (refused.index, refused.error.to_string()),
            Ok(_) => {
                let fault = ops.get(malformed).map(|op| route(op.op.as_ref()));
                (malformed, fault.and_then(Result::err).unwrap_or_default())
            }
        };
        let is_put = matches!(
            ops.get(index).and_then(|op| op.op.as_ref()),
            Some(v1::op::Op::PutPrefix(_))
        );
        ProgramError::Operation {
            index,
            kind: if is_put {
                "put_prefix"
            } else {
                "delete_prefix"
            },
            message,
        }
    }

    /// A route of a transaction that changes other things, too.
    pub(super) fn change_route(&self, draft: &mut Draft, route: Route<'_>) -> Result<(), String> {
        let (domain, name) = (route.domain, route.name.to_owned());
        let mut before = None;
        self.change_prefix(draft, (domain, name.clone()), |state| {
            before = std::mem::replace(&mut state.group, route.group);
        });
        if before.or(route.group).is_none() {
            return Err(OpError::UnknownPrefix { domain, name }.to_string());
        }
        Ok(())
    }

    pub(super) fn change_prefix(
        &self,
        draft: &mut Draft,
        id: PrefixId,
        change: impl FnOnce(&mut PrefixState),
    ) {
        let touched = draft
            .prefixes
            .entry(id)
            .or_insert_with_key(|(domain, name)| {
                let before = self.tables.fib.prefix(*domain, name.as_name());
                let local = before.and_then(|value| value.local);
                let state = PrefixState {
                    group: before.and_then(|value| value.group),
                    local: local.map_or_else(Vec::new, |id| self.sets.members(id).to_vec()),
                };
                Change { before, state }
            });
        change(&mut touched.state);
    }
}

/// What an operation does to a route; of others nothing.
pub(super) fn route(op: Option<&v1::op::Op>) -> Result<Route<'_>, String> {
    use v1::op::Op as O;
    let (domain, bytes, group) = match op {
        Some(O::PutPrefix(put)) if put.group == 0 => {
            return Err("group must be a group id".into());
        }
        Some(O::PutPrefix(put)) => (put.domain, &put.name, Some(GroupId(put.group))),
        Some(O::DeletePrefix(gone)) => (gone.domain, &gone.name, None),
        _ => return Err("no route".into()),
    };
    Ok(Route {
        domain: Domain(domain),
        name: name(bytes)?,
        group,
    })
}

pub(super) fn put_gateway(draft: &mut Draft, given: &v1::Gateway) -> Result<(), String> {
    if given.gateway == 0 {
        return Err("gateway must be a node id".into());
    }
    let adjacency = |id: u32| {
        u16::try_from(id)
            .map(AdjacencyId)
            .map_err(|_| format!("adjacency id {id} is above 65535"))
    };
    let hops = given
        .next_hops
        .iter()
        .map(|id| adjacency(*id))
        .collect::<Result<Vec<_>, _>>()?;
    if hops.len() > dmsc_fib::MAX_NEXT_HOPS {
        return Err(format!(
            "{} next hops; at most {}",
            hops.len(),
            dmsc_fib::MAX_NEXT_HOPS
        ));
    }
    let mut gateway = Gateway::new(given.metric, hops);
    let alternate = |id: u32| {
        if id == 0 {
            Ok(None)
        } else {
            adjacency(id).map(Some)
        }
    };
    gateway.node_protecting = alternate(given.node_protecting)?;
    gateway.link_protecting = alternate(given.link_protecting)?;
    let key = (topology(given.topology)?, NodeId(given.gateway));
    draft.gateways.insert(key, Some(gateway.clone()));
    draft.fib_ops.push(Op::PutGateway {
        topology: key.0,
        node: key.1,
        gateway,
    });
    Ok(())
}

pub(super) fn delete_gateway(draft: &mut Draft, given: &v1::GatewayKey) -> Result<(), String> {
    let key = (topology(given.topology)?, NodeId(given.gateway));
    draft.gateways.insert(key, None);
    draft.fib_ops.push(Op::DeleteGateway {
        topology: key.0,
        node: key.1,
    });
    Ok(())
}

pub(super) fn put_group(draft: &mut Draft, given: &v1::Group) -> Result<(), String> {
    if given.id == 0 {
        return Err("id must be above 0".into());
    }
    let mut seen = BTreeMap::new();
    let mut members = Vec::with_capacity(given.members.len());
    for member in &given.members {
        if member.gateway == 0 || seen.insert(member.gateway, ()).is_some() {
            return Err(format!(
                "member gateway {} is 0 or named twice",
                member.gateway
            ));
        }
        let weight = u16::try_from(member.weight)
            .map_err(|_| format!("weight {} is above 65535", member.weight))?;
        let delay_weight = u16::try_from(member.delay_weight).ok();
        let delay_weight = delay_weight.filter(|part| *part <= weight).ok_or_else(|| {
            format!(
                "delay weight {} of member gateway {} is above its weight {weight}",
                member.delay_weight, member.gateway
            )
        })?;
        members.push(Member {
            gateway: NodeId(member.gateway),
            metric: member.metric,
            weight,
            delay_weight,
        });
    }
    let policy = if given.weighted {
        GroupPolicy::Weighted
    } else {
        GroupPolicy::Nearest
    };
    let group = Group::new(members, policy).map_err(|e| e.to_string())?;
    draft.fib_ops.push(Op::PutGroup {
        id: GroupId(given.id),
        group,
    });
    Ok(())
}

pub(super) fn put_access_rule(draft: &mut Draft, given: &v1::AccessRule) -> Result<(), String> {
    let optional = |bytes: &[u8]| {
        if bytes.is_empty() {
            Ok(None)
        } else {
            name(bytes).map(|name| Some(name.to_owned()))
        }
    };
    let rule = AccessRule {
        id: given.id,
        domain: Domain(given.domain),
        caller: optional(&given.caller)?,
        callee: optional(&given.callee)?,
        allow: given.allow,
    };
    let access = Arc::make_mut(&mut draft.access);
    access.retain(|r| r.id != given.id);
    if access.len() >= 1024 {
        return Err("1,024 access rules are the most".into());
    }
    access.push(rule);
    access.sort_unstable_by_key(|rule| rule.id);
    Ok(())
}
