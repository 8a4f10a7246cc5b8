//! What can be wrong with a routes file: always the file, the line, the field, and what to do about it.

use std::path::PathBuf;

use dmsc_wire::NameTextError;
use thiserror::Error;

/// A routes file that was refused; nothing of it was applied.
#[derive(Debug, Error)]
pub enum RoutesError {
    /// The file, or a file of names that it refers to, could not be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Read {
        /// Path as given.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, a missing or unknown field, or a value of the wrong type.
    #[error("{}:{line}: {message}", file.display())]
    Syntax {
        /// Path as given.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The parser's sentence.
        message: String,
    },
    /// A field whose value cannot be meant.
    #[error("{}:{line}: {field}: {problem}", file.display())]
    Field {
        /// Path as given.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Table and key, e.g. `[[gateway]] next_hops`.
        field: &'static str,
        /// What is wrong and what to do.
        problem: Problem,
    },
}

/// What is wrong with one field.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// Zero where ids start at 1.
    #[error("must be between {low} and {high}, not {value}")]
    Range {
        /// Least value.
        low: u32,
        /// Greatest value.
        high: u32,
        /// What the file says.
        value: u32,
    },
    /// The same key twice.
    #[error("{0} is already defined above; remove one of the two, or give this one another id")]
    Duplicate(String),
    /// A reference to something that the file does not define.
    #[error("{what} {id} is not defined; add a {table} with id = {id}, or correct the number")]
    Unknown {
        /// "adjacency", "group".
        what: &'static str,
        /// The table that would define it.
        table: &'static str,
        /// The id referred to.
        id: u32,
    },
    /// A word out of a short list.
    #[error("{value:?} is not known; write {expected}")]
    Word {
        /// What the file says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
    /// Text that is no name.
    #[error("{text:?} is not a name: {source}")]
    Name {
        /// What the file says.
        text: String,
        /// Position and kind.
        source: NameTextError,
    },
    /// `/dmsc/...` belongs to routers.
    #[error("{0} starts with /dmsc, which is reserved for routers; choose another name")]
    Reserved(String),
    /// Text that is no IP address.
    #[error(
        "{0:?} is not an IP address; write for example \"10.0.1.0\" or \"fd00::1\", without a prefix length"
    )]
    Address(String),
    /// Text that is no address with a port.
    #[error(
        "{0:?} is not an address with a port; write for example \"10.99.1.2:35032\" or \"[::]:35031\""
    )]
    Socket(String),
    /// Two of this process's addresses are one.
    #[error("is the address of {0} already; give each its own port")]
    Taken(&'static str),
    /// A path without a letter.
    #[error("is empty; write a path")]
    NoPath,
    /// A neighbour that is this node.
    #[error("is this node itself; give the node id of the neighbour")]
    Oneself,
    /// Text that is too long.
    #[error("is {count} bytes long; at most {limit} are allowed")]
    TooLong {
        /// Bytes found.
        count: usize,
        /// Most allowed.
        limit: usize,
    },
    /// Local and remote differ in family.
    #[error("local {local} and remote {remote} must both be IPv4 or both IPv6")]
    Family {
        /// As written.
        local: String,
        /// As written.
        remote: String,
    },
    /// A field that this table needs.
    #[error("missing; {0}")]
    Missing(&'static str),
    /// A field that has no place here.
    #[error("not used {0}; remove it")]
    Unused(&'static str),
    /// Not hexadecimal.
    #[error("is not hexadecimal; write pairs of 0-9 and a-f")]
    Hex,
    /// Key of a wrong size.
    #[error("is {0} bytes long; a key has 16 to 64 bytes (32 to 128 hexadecimal digits)")]
    KeyLength(usize),
    /// Multi-hop without a MAC.
    #[error("{0} accepts packets from beyond the link, so key_id and key_hex are needed")]
    KeyNeeded(u32),
    /// Too many entries in a list.
    #[error("has {count} entries; at most {limit} are allowed")]
    TooMany {
        /// Entries found.
        count: usize,
        /// Most allowed.
        limit: usize,
    },
    /// No entry where one is needed.
    #[error("is empty; give at least one entry")]
    Empty,
    /// A pattern of identities that cannot be used.
    #[error(
        "{0:?} is not an identity or a pattern; write for example \"pod1/a\", \"pod1/*\" for all below pod1, or \"*\" for everybody"
    )]
    Pattern(String),
    /// The dataplane has another id.
    #[error(
        "is {file}, but the dataplane on this socket is node {agent}; use the routes file of node {agent}, or its own socket"
    )]
    OtherNode {
        /// What the file says.
        file: u32,
        /// What the agent says.
        agent: u32,
    },
}
