//! Values of a configuration, each checked by itself, and what is wrong with them.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dmsc_wire::NameBuf;

/// Collects mistakes; a wrong value is replaced by a harmless one until the end.
pub(super) struct Collector<'a> {
    pub file: &'a Path,
    /// The table that is looked at.
    pub table: String,
    pub mistakes: Vec<String>,
    /// Listening addresses so far: namespace, transport and address, and who has it.
    listens: HashMap<(Option<PathBuf>, &'static str, SocketAddr), String>,
}

impl<'a> Collector<'a> {
    /// Without mistakes so far.
    pub fn new(file: &'a Path) -> Self {
        Self {
            file,
            table: String::new(),
            mistakes: Vec::new(),
            listens: HashMap::new(),
        }
    }

    pub fn say(&mut self, sentence: &str) {
        self.mistakes
            .push(format!("{}: {sentence}", self.file.display()));
    }

    pub fn wrong<T>(&mut self, field: &str, value: &str, instead: T, why: &dyn Display) -> T {
        let space = if self.table.is_empty() { "" } else { " " };
        let sentence = format!("{}{space}{field} = {value:?}: {why}", self.table);
        self.say(&sentence);
        instead
    }

    pub fn parsed<T>(
        &mut self,
        field: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(why) => self.wrong(field, text, None, &why),
        }
    }

    pub fn number(
        &mut self,
        field: &str,
        value: Option<u32>,
        default: u32,
        low: u32,
        high: u32,
    ) -> u32 {
        match value {
            Some(value) if !(low..=high).contains(&value) => {
                let why = format!("must be between {low} and {high}");
                self.wrong(field, &value.to_string(), default, &why)
            }
            value => value.unwrap_or(default),
        }
    }

    pub fn socket(&mut self, field: &str, text: &str) -> Option<SocketAddr> {
        self.parsed(field, text, |text| match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(address),
            _ => Err("write an IP address and a port, like 127.0.0.1:8080 or [::1]:8080".into()),
        })
    }

    /// As [`Collector::socket`], of an address that nobody else in the namespace may have.
    pub fn listen(
        &mut self,
        field: &str,
        text: Option<&str>,
        netns: &Option<PathBuf>,
        transport: &'static str,
    ) -> Option<SocketAddr> {
        let text = text?;
        let address = self.socket(field, text)?;
        let owner = format!("{} {field}", self.table);
        let key = (netns.clone(), transport, address);
        if let Some(other) = self.listens.insert(key, owner) {
            let why = format!("{} listens there already", other.trim());
            return self.wrong(field, text, None, &why);
        }
        Some(address)
    }

    pub fn duration(
        &mut self,
        field: &str,
        text: Option<&str>,
        default: Duration,
        high: Duration,
    ) -> Duration {
        let Some(text) = text else { return default };
        let duration = self.parsed(field, text, |text| {
            duration(text)
                .filter(|found| !found.is_zero() && *found <= high)
                .ok_or_else(|| {
                    format!(
                        "write a number with ms or s, like 500ms or 15s, at most {}s",
                        high.as_secs()
                    )
                })
        });
        duration.unwrap_or(default)
    }

    pub fn name(&mut self, field: &str, text: &str) -> Option<NameBuf> {
        self.parsed(field, text, |text| {
            NameBuf::parse(text).map_err(|error| error.to_string())
        })
    }
}

fn duration(text: &str) -> Option<Duration> {
    if let Some(number) = text.strip_suffix("ms") {
        return number.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?
        .parse()
        .ok()
        .map(Duration::from_secs)
}
