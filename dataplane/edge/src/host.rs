//! Names as hosts: `cart.shop.dmsc` is `/shop/cart`. Labels are the components, reversed, in lower case.

use dmsc_wire::name::MAX_COMPONENTS;
use dmsc_wire::{Name, NameBuf};
use thiserror::Error;

/// Why a host is no name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostError {
    /// There is none, or it is not text.
    #[error("there is no host; write one like cart.shop.{suffix} for /shop/cart")]
    Missing {
        /// The configured suffix.
        suffix: String,
    },
    /// Another suffix, or the suffix only.
    #[error("{host:?} does not end in .{suffix}; write cart.shop.{suffix} for /shop/cart")]
    Suffix {
        /// As given.
        host: String,
        /// The configured suffix.
        suffix: String,
    },
    /// A label is empty or too long, or there are too many.
    #[error("{host:?} is no name: {why}")]
    Label {
        /// As given.
        host: String,
        /// Why not.
        why: &'static str,
    },
}

/// The name of a host; a port after `:` and a dot at the end are ignored, and so is case.
///
/// # Errors
/// Another suffix, or labels that no name has.
pub fn name_of_host(host: &str, suffix: &str) -> Result<NameBuf, HostError> {
    let bare = host.split(':').next().unwrap_or_default();
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    if bare.is_empty() {
        let suffix = suffix.to_owned();
        return Err(HostError::Missing { suffix });
    }
    let other = || HostError::Suffix {
        host: host.to_owned(),
        suffix: suffix.to_owned(),
    };
    let at = bare.len().checked_sub(suffix.len() + 1).ok_or_else(other)?;
    let (Some(labels), Some(end)) = (bare.get(..at), bare.get(at..)) else {
        return Err(other());
    };
    if !end.starts_with('.') || !end[1..].eq_ignore_ascii_case(suffix) {
        return Err(other());
    }
    let wrong = |why| HostError::Label {
        host: host.to_owned(),
        why,
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !labels.bytes().all(|byte| plain(byte) || byte == b'.') {
        return Err(wrong("only letters, digits, '-' and '_' are in a label"));
    }
    let lower = labels.to_ascii_lowercase();
    if lower.split('.').count() > MAX_COMPONENTS {
        return Err(wrong("it has more than 16 labels"));
    }
    if lower.split('.').any(str::is_empty) {
        return Err(wrong("a label is empty"));
    }
    NameBuf::from_components(lower.rsplit('.')).map_err(|_| wrong("it is too long"))
}

/// The host of a name; `None` if a component cannot be a label in lower case.
#[must_use]
pub fn host_of_name(name: Name<'_>, suffix: &str) -> Option<String> {
    let plain = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    let mut labels: Vec<&str> = Vec::with_capacity(MAX_COMPONENTS + 1);
    for component in name.components() {
        if component.len() > 63 || !component.iter().all(plain) {
            return None;
        }
        labels.push(std::str::from_utf8(component).ok()?);
    }
    labels.reverse();
    labels.push(suffix);
    Some(labels.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_backwards() {
        for (host, name) in [
            ("cart.shop.dmsc", "/shop/cart"),
            ("V1.Cart.shop.DMSC.:8080", "/shop/cart/v1"),
            ("a_b.c-d.dmsc", "/c-d/a_b"),
        ] {
            let found = name_of_host(host, "dmsc").unwrap();
            assert_eq!(found, NameBuf::parse(name).unwrap(), "{host}");
        }
        let name = NameBuf::parse("/shop/cart/v1").unwrap();
        let host = host_of_name(name.as_name(), "dmsc").unwrap();
        assert_eq!(host, "v1.cart.shop.dmsc");
        assert!(host_of_name(NameBuf::parse("/Shop").unwrap().as_name(), "dmsc").is_none());
    }

    #[test]
    fn what_is_no_name_is_told() {
        let many = format!("{}dmsc", "a.".repeat(17));
        for host in [
            "",
            ":80",
            "dmsc",
            ".dmsc",
            "cart.shop",
            "cart.shop.example",
            "xdmsc",
            "a..b.dmsc",
            "a/b.dmsc",
            "10.1.1.1",
            "ä.dmsc",
            many.as_str(),
        ] {
            let error = name_of_host(host, "dmsc").unwrap_err();
            assert!(!error.to_string().is_empty(), "{host}");
        }
    }
}
