//! What a policy that is held does here: something, or why nothing.

use dmsc_scsc::apply::Ignored;
use dmsc_scsc::{PlainMember, Policy, Rank, apply};
use dmsc_wire::{Domain, Name, NameBuf};

use super::Rib;

/// Routes below a prefix that are looked at; of a policy for very many, those say enough.
const LOOKED_AT: usize = 64;

/// What becomes of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It decides about at least one route.
    Applied,
    /// It would decide, but plain routes hold.
    Ignored(Ignored),
    /// This one decides.
    Behind(Rank),
    /// There is no route at or below its prefix.
    NoRoute,
}

impl Rib {
    /// The longest prefix of `name` that there is a route for.
    #[must_use]
    pub fn matched(&self, domain: Domain, name: Name<'_>) -> Option<NameBuf> {
        let depths = (1..=name.component_count()).rev();
        depths
            .map(|depth| (domain, name.prefix(depth).to_owned()))
            .find(|key| self.want.prefixes.contains_key(key))
            .map(|(_, name)| name)
    }

    /// What becomes of a policy that is held.
    #[must_use]
    pub fn standing(&self, policy: &Policy) -> Standing {
        let first = (policy.domain, policy.prefix.clone());
        let below = self.want.prefixes.range(first..).take_while(|((d, n), _)| {
            // Names below a prefix follow it in the order of their bytes.
            *d == policy.domain && n.as_bytes().starts_with(policy.prefix.as_bytes())
        });
        let mut standing = Standing::NoRoute;
        for ((domain, name), id) in below.take(LOOKED_AT) {
            let Some(group) = self.groups.get(id) else {
                continue;
            };
            let Some(active) = self.policies.active(self.now, *domain, name.as_name()) else {
                continue;
            };
            if active.rank != policy.rank {
                if standing == Standing::NoRoute {
                    standing = Standing::Behind(active.rank);
                }
                continue;
            }
            let plain: Vec<PlainMember> = group.members.iter().map(|one| self.plain(one)).collect();
            match apply(&plain, Some(active)).ignored {
                None => return Standing::Applied,
                Some(why) => standing = Standing::Ignored(why),
            }
        }
        standing
    }
}
