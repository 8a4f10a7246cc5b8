//! What a program calls: `dmsc://shop/cart/v1`.

use dmsc_wire::NameBuf;
use thiserror::Error;

const SCHEME: &str = "dmsc://";

/// Text that says no name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UriError {
    /// Another scheme.
    #[error("{0:?} is no name to call: write dmsc://shop/cart/v1, or /shop/cart/v1")]
    Scheme(String),
    /// The whole URI is the name.
    #[error("{0:?}: all of it is the name; give a path or a query apart from it")]
    Query(String),
    /// What follows is no name.
    #[error("{uri:?}: {source}")]
    Name {
        /// As it was given.
        uri: String,
        /// Where it is wrong.
        source: dmsc_wire::NameTextError,
    },
}

/// The name that `dmsc://shop/cart/v1` says; its plain text form `/shop/cart/v1` will do too. The whole is the name, there is no path in it.
///
/// # Errors
/// Another scheme, a query, or no name.
pub fn name_of_uri(uri: &str) -> Result<NameBuf, UriError> {
    let text = match uri.strip_prefix(SCHEME) {
        Some(rest) => format!("/{}", rest.strip_suffix('/').unwrap_or(rest)),
        None if uri.starts_with('/') => uri.to_owned(),
        None => return Err(UriError::Scheme(uri.to_owned())),
    };
    if uri.contains(['?', '#']) {
        return Err(UriError::Query(uri.to_owned()));
    }
    NameBuf::parse(&text).map_err(|source| UriError::Name {
        uri: uri.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_uris() {
        for uri in [
            "dmsc://shop/cart/v1",
            "dmsc://shop/cart/v1/",
            "/shop/cart/v1",
        ] {
            assert_eq!(name_of_uri(uri).unwrap().to_string(), "/shop/cart/v1");
        }
        for (uri, word) in [
            ("http://shop/cart", "write dmsc://"),
            ("shop/cart", "write dmsc://"),
            ("dmsc://shop/cart?x=1", "apart from it"),
            ("dmsc://", "dmsc://"),
            ("dmsc://shop//cart", "dmsc://shop//cart"),
        ] {
            let text = name_of_uri(uri).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}
