//! Files of credentials: PEM, written so that a reader finds the old file or the new one, never half of it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use x509_parser::pem::Pem;

/// Writes `bytes` under a temporary name beside `path`, then renames. `mode` holds from the first byte.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = create(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // One left behind by a process of the same id, perhaps with another mode.
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The one block of a PEM text that has this label.
pub(crate) fn pem_block(text: &str, label: &str) -> Option<Vec<u8>> {
    let mut blocks = Pem::iter_from_buffer(text.as_bytes());
    let block = blocks.next()?.ok()?;
    (block.label == label && blocks.next().is_none()).then_some(block.contents)
}
