//! What a TOML file is not, in words: the parser says it of types, people look for a line and a field.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::Spanned;

/// All mistakes of a file, each with file, line and field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0.join("\n"))]
pub struct FileMistakes(pub Vec<String>);

/// Mistakes of one file, as they are found.
pub(crate) struct Mistakes<'a> {
    text: &'a str,
    file: &'a Path,
    /// The table that has the addresses.
    section: &'static str,
    /// An address as it may be written there.
    example: &'static str,
    list: Vec<String>,
}

impl<'a> Mistakes<'a> {
    /// Of `text`; `file` is for messages.
    pub fn new(
        text: &'a str,
        file: &'a Path,
        section: &'static str,
        example: &'static str,
    ) -> Self {
        Self {
            text,
            file,
            section,
            example,
            list: Vec::new(),
        }
    }

    /// The file at `path`, to be looked at by `parse`.
    pub fn load<T>(
        path: &Path,
        parse: impl FnOnce(&str, &Path) -> Result<T, FileMistakes>,
    ) -> Result<T, FileMistakes> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            FileMistakes(vec![format!("{}: cannot be read: {error}", path.display())])
        })?;
        parse(&text, path)
    }

    /// The text as what it should be.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, FileMistakes> {
        toml::from_str(self.text).map_err(|error| {
            let (line, sentence) = told(self.text, &error);
            FileMistakes(vec![format!("{}:{line}: {sentence}", self.file.display())])
        })
    }

    /// One more, at this byte of the text.
    pub fn add(&mut self, at: usize, sentence: &str) {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let file = self.file.display();
        self.list.push(format!("{file}:{line}: {sentence}"));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Address and port of a field of the section, if it is there.
    pub fn address(&mut self, field: &str, value: Option<&Spanned<String>>) -> Option<SocketAddr> {
        let value = value?;
        let parsed = value.get_ref().parse();
        if parsed.is_err() {
            let sentence = format!(
                "[{}] {field}: {:?} is not an address with a port; write for example {}",
                self.section,
                value.get_ref(),
                self.example
            );
            self.add(value.span().start, &sentence);
        }
        parsed.ok()
    }

    /// Whether there was none.
    ///
    /// # Errors
    /// All of them.
    pub fn done(&mut self) -> Result<(), FileMistakes> {
        match self.list.is_empty() {
            true => Ok(()),
            false => Err(FileMistakes(std::mem::take(&mut self.list))),
        }
    }
}

/// The line (from 1), and a sentence with table and field as far as the text tells them.
pub(crate) fn told(text: &str, error: &toml::de::Error) -> (usize, String) {
    let at = error.span().unwrap_or(0..0).start.min(text.len());
    let mut lines = lines(text);
    let number = lines
        .iter()
        .take_while(|line| line.start <= at)
        .count()
        .max(1);
    lines.truncate(number);
    let message = error
        .message()
        .replace(
            "expected u32",
            "expected a whole number from 0 to 4294967295",
        )
        .replace("expected u8", "expected a whole number from 0 to 255")
        .replace("expected u16", "expected a whole number from 0 to 65535")
        .replace("expected a boolean", "expected true or false");
    let place = place(text, &lines, message.contains(" field `"));
    let sentence = match place.as_str() {
        "" => message,
        place => format!("{place}: {message}"),
    };
    (number, sentence)
}

fn lines(text: &str) -> Vec<Range<usize>> {
    let mut at = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        let start = at;
        at += line.len();
        start..at
    });
    lines.collect()
}

/// `[table] key` of the last of `lines`; a sentence that names the field needs the table only.
fn place(text: &str, lines: &[Range<usize>], only_table: bool) -> String {
    let mut key = "";
    for line in lines.iter().rev() {
        let line = text.get(line.clone()).unwrap_or_default().trim();
        // An entry of a list over several lines may start with a bracket as well.
        let header = line.starts_with('[') && !line.contains(['"', ',']);
        if let (true, Some(end)) = (header, line.rfind(']')) {
            let table = line.get(..=end).unwrap_or(line);
            return match (only_table, key) {
                (true, _) | (_, "") => table.to_owned(),
                (false, key) => format!("{table} {key}"),
            };
        }
        if let (true, Some((name, _))) = (key.is_empty(), line.split_once('=')) {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            let name = name.trim();
            if name.bytes().all(plain) {
                key = name;
            }
        }
    }
    match only_table {
        true => String::new(),
        false => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct File {
        node: Node,
        #[serde(default)]
        list: Vec<List>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Node {
        id: u32,
        up: Option<bool>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct List {
        ids: Vec<u32>,
    }

    #[test]
    fn a_mistake_has_line_table_and_field() {
        for (text, line, sentence) in [
            (
                "# x\n[node] # y\nid = \"one\" # z\n",
                3,
                "[node] id: invalid type: string \"one\", expected a whole number from 0 to 4294967295",
            ),
            (
                "[node]\nid = 1\nup = 3\n",
                3,
                "[node] up: invalid type: integer `3`, expected true or false",
            ),
            ("[node]\nup = true\n", 1, "[node]: missing field `id`"),
            (
                "[node]\nid = 1\nnmae = 2\n",
                3,
                "[node]: unknown field `nmae`, expected `id` or `up`",
            ),
            (
                "[node]\nid = 1\n[[list]]\nids = [\n  1,\n  \"a\",\n]\n",
                6,
                "[[list]] ids: invalid type: string \"a\", expected a whole number from 0 to 4294967295",
            ),
            ("", 1, "missing field `node`"),
            ("x", 1, "key with no value, expected `=`"),
        ] {
            let error = toml::from_str::<File>(text).unwrap_err();
            assert_eq!(told(text, &error), (line, sentence.to_owned()), "{text}");
        }
    }
}
