//! Which instances of a name a pod may call: members of its group, own pods one by one, after access policy (design §4).

use dmsc_proto::v1;
use dmsc_wire::{Domain, Name, NameBuf, NodeId};

use crate::lease::{Health, LeaseTable};
use crate::routes::Tables;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Its tenant.
    pub domain: Domain,
    /// Its name under its identity.
    pub name: Name<'a>,
    /// Prefixes that it serves itself: who else does at its gateway it may know, whether it may call them or not.
    pub serves: &'a [NameBuf],
}

/// The instances of `name` for `caller` at gateway `own`, in order of metric; empty if there is none or access is denied.
///
/// Pods at other gateways are one instance per gateway, of unknown health: their own gateway knows more, and they tell their callers.
#[must_use]
pub fn instances(
    tables: &Tables,
    leases: &LeaseTable,
    own: NodeId,
    caller: Caller<'_>,
    name: Name<'_>,
) -> Vec<v1::Instance> {
    let serves = caller
        .serves
        .iter()
        .any(|prefix| prefix.as_name().is_prefix_of(name));
    let may_call = allowed(tables, caller, name);
    if !serves && !may_call {
        return Vec::new();
    }
    let depth = name.component_count();
    let group = (1..=depth).rev().find_map(|depth| {
        let key = (caller.domain, name.prefix(depth).to_owned());
        let id = tables.prefixes.get(&key)?;
        Some((depth, tables.groups.get(id)?))
    });
    let matched = group.map_or(0, |(depth, _)| depth);
    let local = |metric, weight| {
        let mut found: Vec<v1::Instance> = leases
            .iter()
            .filter(|lease| lease.domain == caller.domain)
            .filter(|lease| lease.serves(name).is_some_and(|depth| depth >= matched))
            .map(|lease| {
                let health = lease.told_health();
                instance(own, u32::from(lease.attachment.0), metric, weight, health)
            })
            .collect();
        found.sort_by_key(|instance| instance.attachment);
        found
    };
    let Some((_, group)) = group else {
        return local(0, 1);
    };
    let mut all = Vec::new();
    for member in &group.members {
        if member.gateway == own.0 {
            all.extend(local(member.metric, member.weight));
        } else {
            let gateway = NodeId(member.gateway);
            all.push(instance(
                gateway,
                0,
                member.metric,
                member.weight,
                Health::Unknown,
            ));
        }
    }
    all.retain(|instance| may_call || instance.gateway == own.0);
    all.sort_by_key(|instance| (instance.metric, instance.gateway, instance.attachment));
    all
}

fn instance(
    gateway: NodeId,
    attachment: u32,
    metric: u32,
    weight: u32,
    health: Health,
) -> v1::Instance {
    v1::Instance {
        gateway: gateway.0,
        attachment,
        metric,
        weight,
        health: health.as_str().into(),
        generation: 0,
    }
}

/// First match by ascending id; no match: allowed.
fn allowed(tables: &Tables, caller: Caller<'_>, callee: Name<'_>) -> bool {
    let covers = |rule: &[u8], name: Name<'_>| {
        rule.is_empty() || Name::from_bytes(rule).is_ok_and(|rule| rule.is_prefix_of(name))
    };
    tables
        .access_rules
        .values()
        .find(|rule| {
            rule.domain == caller.domain.0
                && covers(&rule.caller, caller.name)
                && covers(&rule.callee, callee)
        })
        .is_none_or(|rule| rule.allow)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::lease::{Lease, LeaseId};
    use crate::routes::Routes;

    fn routes(extra: &str) -> Routes {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("r.toml");
        let text = format!(
            "[node]\nid = 1\n[[group]]\nid = 1\nmembers = [{{ gateway = 4, metric = 30 }}, {{ gateway = 1 }}]\n\
             [[prefix]]\nname = \"/shop/b\"\ngroup = 1\n{extra}"
        );
        std::fs::write(&file, text).unwrap();
        Routes::load(&file).unwrap()
    }

    fn leases() -> LeaseTable {
        let mut table = LeaseTable::default();
        for (id, prefix) in [(7, "/shop/b"), (8, "/shop/bc"), (9, "/shop/b/x")] {
            let attachment = v1::Attachment {
                id,
                address: "10.1.1.2".into(),
                udp_port: id,
                domain: 1,
                identity: "pod1/b".into(),
                serves: vec![NameBuf::parse(prefix).unwrap().as_bytes().to_vec()],
                ..Default::default()
            };
            table.put(
                Lease::from_attachment(LeaseId(u64::from(id)), &attachment, Instant::now())
                    .unwrap(),
            );
        }
        table
    }

    fn ask(routes: &Routes, name: &str) -> Vec<(u32, u32, u32)> {
        ask_as(routes, &[], name)
    }

    fn ask_as(routes: &Routes, serves: &[NameBuf], name: &str) -> Vec<(u32, u32, u32)> {
        let caller = NameBuf::parse("/id/pod3/x").unwrap();
        let name = NameBuf::parse(name).unwrap();
        let caller = Caller {
            domain: Domain(1),
            name: caller.as_name(),
            serves,
        };
        instances(&routes.tables, &leases(), NodeId(1), caller, name.as_name())
            .iter()
            .map(|instance| (instance.gateway, instance.attachment, instance.metric))
            .collect()
    }

    #[test]
    fn own_pods_one_by_one_and_others_by_gateway() {
        let routes = routes("");
        assert_eq!(ask(&routes, "/shop/b"), [(1, 7, 0), (4, 0, 30)]);
        assert_eq!(
            ask(&routes, "/shop/b/x/y"),
            [(1, 7, 0), (1, 9, 0), (4, 0, 30)]
        );
        assert_eq!(ask(&routes, "/shop/bc/1"), [(1, 8, 0)]);
        assert_eq!(ask(&routes, "/shop"), []);
    }

    #[test]
    fn access_policy_comes_first() {
        let deny =
            "[[access]]\nid = 1\ncaller = \"/id/pod3\"\ncallee = \"/shop/b\"\nallow = false\n";
        assert_eq!(ask(&routes(deny), "/shop/b/x"), []);
        // Who serves it itself may know who does so beside it.
        let serves = [NameBuf::parse("/shop/b").unwrap()];
        assert_eq!(ask_as(&routes(deny), &serves, "/shop/b"), [(1, 7, 0)]);
        assert_eq!(ask_as(&routes(""), &serves, "/shop/b").len(), 2);
        let allow = "[[access]]\nid = 2\ncaller = \"/id/pod3\"\ncallee = \"/shop/b\"\nallow = false\n\
                     [[access]]\nid = 1\ncaller = \"/id/pod3/x\"\nallow = true\n";
        assert_eq!(ask(&routes(allow), "/shop/b").len(), 2);
    }
}
