//! Gateways, groups and prefixes, and what they refer to.

use super::*;

impl Checker<'_> {
    pub(super) fn gateways(
        &self,
        list: &[raw::Gateway],
        tables: &mut Tables,
    ) -> Result<(), RoutesError> {
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

    pub(super) fn group(&self, raw: &raw::Group, tables: &mut Tables) -> Result<(), RoutesError> {
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
                delay_weight: 0,
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

    pub(super) fn prefixes(
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
}
