//! Adjacencies: encapsulation, addresses, keys.

use super::*;

impl Checker<'_> {
    /// A routes file says where packets go; what a link costs is for those who compute that.
    pub(super) fn no_link_state(&self, raw: &raw::Adjacency) -> Result<(), RoutesError> {
        const WHY: &str = "in a routes file, which has the routes themselves";
        let unused = |field, found| self.at(field, found, Problem::Unused(WHY));
        if let Some(found) = &raw.metric {
            return Err(unused("[[adjacency]] metric", found));
        }
        if let Some(found) = &raw.delay_us {
            return Err(unused("[[adjacency]] delay_us", found));
        }
        match &raw.capacity_kbps {
            Some(found) => Err(self.at("[[adjacency]] capacity_kbps", found, Problem::Unused(WHY))),
            None => Ok(()),
        }
    }

    pub(crate) fn adjacency(
        &self,
        raw: &raw::Adjacency,
        tables: &mut Tables,
    ) -> Result<(), RoutesError> {
        let id = self.range("[[adjacency]] id", &raw.id, 1, 65_535)?;
        if raw.port.get_ref().is_empty() {
            return Err(self.at("[[adjacency]] port", &raw.port, Problem::Empty));
        }
        let mut adjacency = v1::Adjacency {
            id,
            port: raw.port.get_ref().clone(),
            peer: self.range("[[adjacency]] peer", &raw.peer, 1, u32::MAX)?,
            vlan: self.optional("[[adjacency]] vlan", raw.vlan.as_ref(), 0, 1, 4_094)?,
            minimum_ttl: self.optional(
                "[[adjacency]] minimum_ttl",
                raw.minimum_ttl.as_ref(),
                255,
                1,
                255,
            )?,
            mtu: self.optional("[[adjacency]] mtu", raw.mtu.as_ref(), 0, 1_280, 9_600)?,
            hello_interval_ms: self.optional(
                "[[adjacency]] hello_interval_ms",
                raw.hello_interval_ms.as_ref(),
                50,
                1,
                60_000,
            )?,
            hello_multiplier: self.optional(
                "[[adjacency]] hello_multiplier",
                raw.hello_multiplier.as_ref(),
                3,
                2,
                255,
            )?,
            key_id: self.optional("[[adjacency]] key_id", raw.key_id.as_ref(), 0, 1, 65_535)?,
            ..Default::default()
        };
        let encapsulation = raw.encapsulation.as_ref();
        match encapsulation.map_or("udp", |word| word.get_ref().as_str()) {
            "udp" => self.udp(raw, &mut adjacency)?,
            "ethernet" => self.ethernet(raw, &mut adjacency)?,
            word => {
                let problem = Problem::Word {
                    value: word.to_owned(),
                    expected: "\"udp\" or \"ethernet\"",
                };
                let place = encapsulation.map_or_else(|| raw.port.span(), Spanned::span);
                return Err(self.at(
                    "[[adjacency]] encapsulation",
                    &Spanned::new(place, ()),
                    problem,
                ));
            }
        }
        self.key(raw, &mut adjacency)?;
        if tables.adjacencies.insert(id, adjacency).is_some() {
            let problem = Problem::Duplicate(format!("adjacency {id}"));
            return Err(self.at("[[adjacency]] id", &raw.id, problem));
        }
        Ok(())
    }

    fn udp(&self, raw: &raw::Adjacency, adjacency: &mut v1::Adjacency) -> Result<(), RoutesError> {
        const WHY: &str = "an adjacency over UDP has a local and a remote IP address";
        let missing = |field| self.at(field, &raw.id, Problem::Missing(WHY));
        let local = raw
            .local
            .as_ref()
            .ok_or_else(|| missing("[[adjacency]] local"))?;
        let remote = raw
            .remote
            .as_ref()
            .ok_or_else(|| missing("[[adjacency]] remote"))?;
        let local_address = self.address("[[adjacency]] local", local)?;
        let remote_address = self.address("[[adjacency]] remote", remote)?;
        if local_address.is_ipv4() != remote_address.is_ipv4() {
            let problem = Problem::Family {
                local: local.get_ref().clone(),
                remote: remote.get_ref().clone(),
            };
            return Err(self.at("[[adjacency]] remote", remote, problem));
        }
        adjacency.encapsulation = "udp".into();
        adjacency.local_address = local_address.to_string();
        adjacency.remote_address = remote_address.to_string();
        if let Some(next_hop) = raw
            .next_hop
            .as_ref()
            .filter(|hop| !hop.get_ref().is_empty())
        {
            adjacency.next_hop = self
                .address("[[adjacency]] next_hop", next_hop)?
                .to_string();
        }
        Ok(())
    }

    fn ethernet(
        &self,
        raw: &raw::Adjacency,
        adjacency: &mut v1::Adjacency,
    ) -> Result<(), RoutesError> {
        for (field, value) in [
            ("[[adjacency]] local", &raw.local),
            ("[[adjacency]] remote", &raw.remote),
            ("[[adjacency]] next_hop", &raw.next_hop),
        ] {
            if let Some(value) = value.as_ref().filter(|value| !value.get_ref().is_empty()) {
                return Err(self.at(
                    field,
                    value,
                    Problem::Unused("with encapsulation = \"ethernet\""),
                ));
            }
        }
        adjacency.encapsulation = "ethernet".into();
        Ok(())
    }

    fn key(&self, raw: &raw::Adjacency, adjacency: &mut v1::Adjacency) -> Result<(), RoutesError> {
        const FIELD: &str = "[[adjacency]] key_hex";
        let hex = raw.key_hex.as_ref().filter(|hex| !hex.get_ref().is_empty());
        match (adjacency.key_id, hex) {
            (0, Some(hex)) => return Err(self.at(FIELD, hex, Problem::Unused("without key_id"))),
            (0, None) if adjacency.minimum_ttl < 255 && adjacency.encapsulation == "udp" => {
                let place = raw.minimum_ttl.as_ref().unwrap_or(&raw.id);
                let problem = Problem::KeyNeeded(adjacency.minimum_ttl);
                return Err(self.at("[[adjacency]] minimum_ttl", place, problem));
            }
            (0, None) => {}
            (_, None) => {
                let place = raw.key_id.as_ref().unwrap_or(&raw.id);
                return Err(self.at(
                    FIELD,
                    place,
                    Problem::Missing("key_id names a key, so its bytes are needed"),
                ));
            }
            (_, Some(hex)) => {
                let key =
                    decode_hex(hex.get_ref()).ok_or_else(|| self.at(FIELD, hex, Problem::Hex))?;
                if !(16..=64).contains(&key.len()) {
                    return Err(self.at(FIELD, hex, Problem::KeyLength(key.len())));
                }
                adjacency.key = key;
            }
        }
        Ok(())
    }

    pub(super) fn adjacency_id(
        &self,
        field: &'static str,
        id: u32,
        place: Range<usize>,
        tables: &Tables,
    ) -> Result<u32, RoutesError> {
        if tables.adjacencies.contains_key(&id) {
            return Ok(id);
        }
        let problem = Problem::Unknown {
            what: "adjacency",
            table: "[[adjacency]]",
            id,
        };
        Err(self.at(field, &Spanned::new(place, ()), problem))
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<Vec<u8>>>()?;
    if digits.len() % 2 != 0 {
        return None;
    }
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}
