//! What a TOML file is not, in words: the parser says it of types, people look for a line and a field.

use std::ops::Range;

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
