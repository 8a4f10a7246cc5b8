//! Where answers go: tables for people, JSON for programs, chosen once by `--json`.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// Standard output, or a buffer in tests.
pub struct Output {
    json: bool,
    sink: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}

impl Output {
    /// Writes to standard output.
    pub fn stdout(json: bool) -> Self {
        Self::to(json, Box::new(io::stdout()))
    }

    /// Writes to `sink`.
    pub fn to(json: bool, sink: Box<dyn Write + Send>) -> Self {
        Self { json, sink }
    }

    /// Whether JSON was asked for.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one JSON document over several lines.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn document<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        self.line(&text)
    }

    /// Prints one JSON document on one line, for streams.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn json_line<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        self.line(&text)
    }

    /// Prints text and a line end; at once, because streams are watched.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.sink, "{text}")?;
        self.sink.flush()
    }

    /// Prints a table, or the words for "nothing" when it has no rows.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn table(&mut self, grid: &Grid, nothing: &str) -> io::Result<()> {
        if grid.is_empty() {
            return self.line(nothing);
        }
        self.line(&grid.to_string())
    }
}

/// A plain table: columns aligned, no borders, so that it can be read, searched and cut.
#[derive(Debug)]
pub struct Grid {
    table: Table,
}

impl Grid {
    /// A table with these column titles; units stand in the title. A title that starts with `>` is a column of numbers.
    pub fn new(titles: &[&str]) -> Self {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(titles.iter().map(|title| title.trim_start_matches('>')));
        for (index, title) in titles.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if title.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table }
    }

    /// Adds a row; as many cells as there are titles.
    pub fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        self.table.add_row(cells);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.table.trim_fmt())
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! An output whose text can be read back.

    use std::io::Write;
    use std::sync::{Arc, Mutex};

    /// What was written.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("unpoisoned").clone()).expect("UTF-8")
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("unpoisoned").write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    pub(crate) fn output(json: bool) -> (super::Output, Written) {
        let written = Written::default();
        (super::Output::to(json, Box::new(written.clone())), written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_right_aligned_and_nothing_trails() {
        let mut grid = Grid::new(&["port", ">rx packets"]);
        grid.row(["sr1".to_owned(), "7".to_owned()]);
        grid.row(["pod1".to_owned(), "12345".to_owned()]);
        assert_eq!(
            grid.to_string(),
            "port  rx packets\nsr1            7\npod1       12345"
        );
    }

    #[test]
    fn an_empty_table_says_so() {
        let (mut output, written) = testing::output(false);
        output
            .table(&Grid::new(&["port"]), "no ports")
            .expect("write");
        assert_eq!(written.text(), "no ports\n");
    }
}
