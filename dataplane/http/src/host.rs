//! Names as host names: `cart.shop.dmsc` is `/shop/cart`. Programs that know nothing of names write them so.

use dmsc_wire::name::MAX_COMPONENTS;
use dmsc_wire::{Name, NameBuf};
use thiserror::Error;

/// Last label of hosts that are names.
pub const SUFFIX: &str = "dmsc";
/// Longest label and longest host of DNS (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;
const MAX_HOST: usize = 253;

/// A host that is no name, or a name that is no host.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostError {
    /// There is none.
    #[error("there is no host; write one like cart.shop.{suffix} for /shop/cart")]
    Missing {
        /// What it is to end with.
        suffix: String,
    },
    /// Another suffix: somebody else's host.
    #[error("{host:?} does not end in .{suffix}; write cart.shop.{suffix} for /shop/cart")]
    Suffix {
        /// As it was given.
        host: String,
        /// What it is to end with.
        suffix: String,
    },
    /// Its labels are not those of a name.
    #[error("{host:?} is no name: {why}")]
    Label {
        /// As it was given.
        host: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Host names cannot say it.
    #[error(
        "name {0} cannot be written as a host: each component must be 1 to 63 of a-z, 0-9, - and _, and all together at most 253 bytes"
    )]
    Name(NameBuf),
}

/// `cart.shop.dmsc` → `/shop/cart`. Upper case is the same as lower case, a port and a last dot are ignored.
///
/// # Errors
/// No host, another suffix, or labels that no name has.
pub fn name_of_host(host: &str) -> Result<NameBuf, HostError> {
    name_of_host_under(host, SUFFIX)
}

/// As [`name_of_host`], with another suffix (in lower case, one or more labels).
///
/// # Errors
/// As [`name_of_host`].
pub fn name_of_host_under(host: &str, suffix: &str) -> Result<NameBuf, HostError> {
    let without_port = match host.rsplit_once(':') {
        Some((before, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => before,
        _ => host,
    };
    let text = without_port
        .strip_suffix('.')
        .unwrap_or(without_port)
        .to_ascii_lowercase();
    if text.is_empty() {
        return Err(HostError::Missing {
            suffix: suffix.to_owned(),
        });
    }
    let labels = text
        .strip_suffix(suffix)
        .and_then(|rest| rest.strip_suffix('.'))
        .ok_or_else(|| HostError::Suffix {
            host: host.to_owned(),
            suffix: suffix.to_owned(),
        })?;
    let wrong = |why| {
        let host = host.to_owned();
        Err(HostError::Label { host, why })
    };
    if text.len() > MAX_HOST {
        return wrong("it has more than 253 bytes");
    }
    if !labels.split('.').all(is_label) {
        return wrong("labels are 1 to 63 of a-z, 0-9, - and _");
    }
    if labels.split('.').count() > MAX_COMPONENTS {
        return wrong("it has more than 16 labels before its suffix");
    }
    NameBuf::from_components(labels.rsplit('.')).or_else(|_| wrong("it is too long"))
}

/// `/shop/cart` → `cart.shop.dmsc`.
///
/// # Errors
/// Components that are no labels: upper case, dots, other bytes, too long.
pub fn host_of_name(name: Name<'_>) -> Result<String, HostError> {
    host_of_name_under(name, SUFFIX)
}

/// As [`host_of_name`], with another suffix.
///
/// # Errors
/// As [`host_of_name`].
pub fn host_of_name_under(name: Name<'_>, suffix: &str) -> Result<String, HostError> {
    let mut labels = name
        .components()
        .map(|component| {
            std::str::from_utf8(component)
                .ok()
                .filter(|text| is_label(text))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| HostError::Name(name.to_owned()))?;
    labels.reverse();
    labels.push(suffix);
    let host = labels.join(".");
    if host.len() > MAX_HOST {
        return Err(HostError::Name(name.to_owned()));
    }
    Ok(host)
}

fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_and_their_names() {
        for (host, name) in [
            ("cart.shop.dmsc", "/shop/cart"),
            ("v1.cart.shop.dmsc", "/shop/cart/v1"),
            ("V1.Cart.shop.DMSC.", "/shop/cart/v1"),
            ("cart.shop.dmsc:8080", "/shop/cart"),
            ("a_b.x-1.dmsc.:80", "/x-1/a_b"),
        ] {
            assert_eq!(name_of_host(host).unwrap().to_string(), name, "{host}");
        }
        let other = name_of_host_under("Cart.shop.SVC.example", "svc.example");
        assert_eq!(other.unwrap().to_string(), "/shop/cart");
    }

    #[test]
    fn what_is_no_name_is_told() {
        for host in ["", ":80", "."] {
            let error = name_of_host(host).unwrap_err();
            assert!(
                matches!(error, HostError::Missing { .. }),
                "{host}: {error}"
            );
        }
        for host in [
            "dmsc",
            "cart.shop",
            "cart.shop.example",
            "cart.shopdmsc",
            "xdmsc",
            "10.1.1.1",
        ] {
            let error = name_of_host(host).unwrap_err();
            assert!(matches!(error, HostError::Suffix { .. }), "{host}: {error}");
        }
        for (host, word) in [
            (".dmsc", "labels are"),
            ("a..b.dmsc", "labels are"),
            ("ü.dmsc", "labels are"),
            ("a b.dmsc", "labels are"),
            ("a/b.dmsc", "labels are"),
            ("a:x.dmsc", "labels are"),
            (&("a.".repeat(17) + "dmsc"), "16 labels"),
            (&("abcdefghijklmnopqrst.".repeat(13) + "dmsc"), "253 bytes"),
        ] {
            let error = name_of_host(host).unwrap_err();
            assert!(matches!(error, HostError::Label { .. }), "{host}: {error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn names_that_are_no_hosts() {
        for text in ["/shop/Cart", "/shop/v1.2", "/shop/%00"] {
            let name = NameBuf::parse(text).unwrap();
            let error = host_of_name(name.as_name()).unwrap_err();
            assert_eq!(error, HostError::Name(name));
        }
        let long = NameBuf::from_components(["a".repeat(64)]).unwrap();
        assert!(host_of_name(long.as_name()).is_err());
    }

    proptest! {
        #[test]
        fn there_and_back(components in prop::collection::vec("[a-z0-9_-]{1,15}", 1..=15)) {
            let name = NameBuf::from_components(&components).unwrap();
            let host = host_of_name(name.as_name()).unwrap();
            prop_assert_eq!(name_of_host(&host).unwrap(), name);
        }

        #[test]
        fn no_text_does_harm(host in any::<String>()) {
            if let Ok(name) = name_of_host(&host) {
                let again = host_of_name(name.as_name()).unwrap();
                prop_assert_eq!(name_of_host(&again).unwrap(), name);
            }
        }
    }
}
