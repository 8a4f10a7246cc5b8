//! Who says which pod may announce what.

use anyhow::bail;
use dmsc_wire::NameBuf;

use super::Plan;
use crate::file::LabFile;

/// A prefix authority: a process in the authorities' namespace, which a veth joins to every gateway.
#[derive(Debug, Clone)]
pub struct AuthorityPlan {
    /// Short name.
    pub name: String,
    /// TCP port of its service, on every address of its namespace.
    pub port: u16,
    /// What it may speak for; empty: everything.
    pub subtrees: Vec<NameBuf>,
    /// How long what it signs admits new prefixes.
    pub authorisation_seconds: u32,
}

impl AuthorityPlan {
    fn for_everything() -> Self {
        Self {
            name: "spa1".into(),
            port: dmsc_proto::AUTHORITY_PORT,
            subtrees: Vec::new(),
            authorisation_seconds: 3_600,
        }
    }
}

impl Plan {
    /// One authority for everything, whatever the file says: for names that are not the file's.
    pub fn one_authority(&mut self) {
        self.authorities = vec![AuthorityPlan::for_everything()];
    }

    /// Where the authorities run.
    #[must_use]
    pub fn authority_namespace(&self) -> String {
        format!("{}-spa", self.name)
    }

    /// Addresses of gateway `node` towards the authorities, and of the authorities towards it, without prefix length (30).
    #[must_use]
    pub fn authority_addresses(node: usize) -> [String; 2] {
        [1, 2].map(|end| format!("10.99.{}.{end}", node + 1))
    }

    /// Index of the authority that has the policy of `name`: the one with the longest subtree that covers it.
    #[must_use]
    pub fn authority_of(&self, name: &NameBuf) -> Option<usize> {
        let depth_of = |authority: &AuthorityPlan| {
            if authority.subtrees.is_empty() {
                return Some(0);
            }
            let name = name.as_name();
            (1..=name.component_count()).rev().find(|depth| {
                let above = name.prefix(*depth).to_owned();
                authority.subtrees.contains(&above)
            })
        };
        self.authorities
            .iter()
            .enumerate()
            .filter_map(|(index, authority)| Some((depth_of(authority)?, index)))
            .max_by_key(|(depth, index)| (*depth, usize::MAX - index))
            .map(|(_, index)| index)
    }

    pub(super) fn names_have_authorities(&self) -> anyhow::Result<()> {
        let services = self.pods.iter().flat_map(|p| &p.services);
        let all = services
            .map(|s| (s.identity.as_str(), s.names.clone()))
            .chain(self.edge_names().map(|(_, id, names)| (id, names)));
        for (identity, names) in all {
            if let Some(name) = names.iter().find(|n| self.authority_of(n).is_none()) {
                bail!(
                    "no [[authority]] may speak for {name} of {identity}: add it to the subtrees of one"
                );
            }
        }
        Ok(())
    }
}

/// The authorities of a file, or the one that speaks for everything.
pub(super) fn authorities(file: &LabFile) -> anyhow::Result<Vec<AuthorityPlan>> {
    let mut all = Vec::new();
    for (place, authority) in file.authority.iter().enumerate() {
        all.push(AuthorityPlan {
            name: authority.name.get_ref().clone(),
            // 35033 is the operator's.
            port: dmsc_proto::AUTHORITY_PORT + 2 * place as u16,
            subtrees: authority
                .subtrees
                .iter()
                .map(|s| NameBuf::parse(s.get_ref()))
                .collect::<Result<_, _>>()?,
            authorisation_seconds: *authority.authorisation_seconds.get_ref(),
        });
    }
    if all.is_empty() {
        all.push(AuthorityPlan::for_everything());
    }
    Ok(all)
}
