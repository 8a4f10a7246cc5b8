//! Files of names: one text-form name per line, empty lines and lines that start with `#` ignored.

use std::path::Path;

use dmsc_wire::NameBuf;

use super::error::{Problem, RoutesError};

/// Reads the names of `path`, in order; `field` is the field that refers to it.
pub(super) fn read(path: &Path, field: &'static str) -> Result<Vec<NameBuf>, RoutesError> {
    let text = std::fs::read_to_string(path).map_err(|source| RoutesError::Read {
        file: path.to_path_buf(),
        source,
    })?;
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        names.push(parse(line).map_err(|problem| RoutesError::Field {
            file: path.to_path_buf(),
            line: index + 1,
            field,
            problem,
        })?);
    }
    Ok(names)
}

/// A name that services may have.
pub(super) fn parse(text: &str) -> Result<NameBuf, Problem> {
    let name = NameBuf::parse(text).map_err(|source| Problem::Name {
        text: text.to_owned(),
        source,
    })?;
    if name.as_name().is_reserved() {
        return Err(Problem::Reserved(text.to_owned()));
    }
    Ok(name)
}
