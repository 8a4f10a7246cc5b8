//! Names in their binary encoding: borrowed from a packet, or owned.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::ids::NodeId;
use crate::name_text::{self, NameTextError};

/// Most components of a name.
pub const MAX_COMPONENTS: usize = 16;
/// Most bytes of an encoded name.
pub const MAX_NAME_LEN: usize = 255;
/// First component that is reserved for routers.
pub const RESERVED: &[u8] = b"dmsc";

/// Why bytes are not the encoding of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("name not canonical at byte {position}: {fault}")]
pub struct NameError {
    /// Offset in the encoding of the length byte (or the end) where it went wrong.
    pub position: usize,
    /// What is wrong there.
    pub fault: NameFault,
}

/// What is wrong in a [`NameError`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameFault {
    /// No component at all.
    #[error("a name has at least one component")]
    Empty,
    /// A component of length 0.
    #[error("empty component")]
    EmptyComponent,
    /// A component longer than what is left.
    #[error("component runs beyond the end of the name")]
    Overrun,
    /// More than 16 components.
    #[error("more than 16 components")]
    TooManyComponents,
    /// More than 255 bytes, or a component of more than 254.
    #[error("more than 255 bytes")]
    TooLong,
}

/// A name borrowed from its canonical encoding: 1–16 components, each `length(8) 1..=255 | bytes`, at most
/// 255 bytes in all (design §3). Equality and order are those of the encoded bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Name<'a>(&'a [u8]);

/// Checks an encoding; shared by [`Name::from_bytes`] and the packet parser.
#[inline]
pub(crate) fn check(bytes: &[u8]) -> Result<(), NameError> {
    let fail = |position, fault| Err(NameError { position, fault });
    if bytes.is_empty() {
        return fail(0, NameFault::Empty);
    }
    if bytes.len() > MAX_NAME_LEN {
        return fail(MAX_NAME_LEN, NameFault::TooLong);
    }
    let mut position = 0;
    let mut components = 0;
    while let Some(&length) = bytes.get(position) {
        if length == 0 {
            return fail(position, NameFault::EmptyComponent);
        }
        if components == MAX_COMPONENTS {
            return fail(position, NameFault::TooManyComponents);
        }
        let next = position + 1 + usize::from(length);
        if next > bytes.len() {
            return fail(position, NameFault::Overrun);
        }
        components += 1;
        position = next;
    }
    Ok(())
}

impl<'a> Name<'a> {
    /// Takes an encoding after checking that it is canonical.
    ///
    /// # Errors
    /// [`NameError`] with the offset of the first mistake.
    #[inline]
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, NameError> {
        check(bytes).map(|()| Name(bytes))
    }

    /// For bytes that the packet parser has checked; on others the methods answer nonsense but never panic.
    #[inline]
    pub(crate) const fn from_checked(bytes: &'a [u8]) -> Self {
        Name(bytes)
    }

    /// The encoding.
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The components, first to last, without their length bytes.
    #[inline]
    pub fn components(self) -> Components<'a> {
        Components { rest: self.0 }
    }

    /// Number of components, 1–16.
    #[inline]
    pub fn component_count(self) -> usize {
        self.components().count()
    }

    /// The first `components` components; at least one and at most all of them.
    #[inline]
    pub fn prefix(self, components: usize) -> Name<'a> {
        let mut end = 0;
        for component in self.components().take(components.max(1)) {
            end += 1 + component.len();
        }
        Name(self.0.get(..end).unwrap_or(self.0))
    }

    /// Whether `other` is this name or lies under it: `/a/b` covers `/a/b/c`, never `/a/bc`.
    #[inline]
    pub fn is_prefix_of(self, other: Name<'_>) -> bool {
        // Each component starts with its length, so equal bytes are equal components.
        other.0.starts_with(self.0)
    }

    /// Whether the name is reserved for routers: its first component is `dmsc`.
    #[inline]
    pub fn is_reserved(self) -> bool {
        self.components().next() == Some(RESERVED)
    }

    /// An owned copy.
    pub fn to_owned(self) -> NameBuf {
        NameBuf(Arc::from(self.0))
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        name_text::format(*self, f)
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl AsRef<[u8]> for Name<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

/// Iterator over the components of a [`Name`].
#[derive(Clone, Debug)]
pub struct Components<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Components<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.rest.split_first()?;
        let (component, rest) = rest.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some(component)
    }
}

/// An owned name; a clone shares the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameBuf(Arc<[u8]>);

impl NameBuf {
    /// Reads the text form `/a/b/c`.
    ///
    /// # Errors
    /// [`NameTextError`] with the position of the first byte that is not canonical text.
    pub fn parse(text: &str) -> Result<NameBuf, NameTextError> {
        name_text::parse(text)
    }

    /// Joins components.
    ///
    /// # Errors
    /// [`NameError`] if there are none or too many, if one is empty, or if the whole is too long.
    pub fn from_components<I>(components: I) -> Result<NameBuf, NameError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let mut bytes = Vec::with_capacity(64);
        for component in components {
            push_component(&mut bytes, component.as_ref())?;
        }
        check(&bytes)?;
        Ok(NameBuf(Arc::from(bytes)))
    }

    /// Takes an encoding after checking that it is canonical.
    ///
    /// # Errors
    /// [`NameError`] with the offset of the first mistake.
    pub fn from_bytes(bytes: &[u8]) -> Result<NameBuf, NameError> {
        Name::from_bytes(bytes).map(Name::to_owned)
    }

    /// This name with one more component.
    ///
    /// # Errors
    /// [`NameError`] if the component is empty or the result has too many components or bytes.
    pub fn child(&self, component: impl AsRef<[u8]>) -> Result<NameBuf, NameError> {
        let mut bytes = self.0.to_vec();
        push_component(&mut bytes, component.as_ref())?;
        check(&bytes)?;
        Ok(NameBuf(Arc::from(bytes)))
    }

    /// The borrowed form.
    #[inline]
    pub fn as_name(&self) -> Name<'_> {
        Name(&self.0)
    }

    /// The encoding.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Appends one component and bounds the growth; `check` finds the rest.
fn push_component(bytes: &mut Vec<u8>, component: &[u8]) -> Result<(), NameError> {
    let fail = |fault| {
        Err(NameError {
            position: bytes.len(),
            fault,
        })
    };
    let Ok(length) = u8::try_from(component.len()) else {
        return fail(NameFault::TooLong);
    };
    if bytes.len() + 1 + component.len() > MAX_NAME_LEN {
        return fail(NameFault::TooLong);
    }
    if length == 0 {
        return fail(NameFault::EmptyComponent);
    }
    bytes.push(length);
    bytes.extend_from_slice(component);
    Ok(())
}

impl fmt::Display for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_name().fmt(f)
    }
}

impl fmt::Debug for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameBuf({self})")
    }
}

impl FromStr for NameBuf {
    type Err = NameTextError;
    fn from_str(text: &str) -> Result<NameBuf, NameTextError> {
        NameBuf::parse(text)
    }
}

impl From<Name<'_>> for NameBuf {
    fn from(name: Name<'_>) -> NameBuf {
        name.to_owned()
    }
}

impl<'a> From<&'a NameBuf> for Name<'a> {
    fn from(name: &'a NameBuf) -> Name<'a> {
        name.as_name()
    }
}

impl AsRef<[u8]> for NameBuf {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for NameBuf {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// The name of a router, `/dmsc/<node id in decimal>`, built without allocating.
#[derive(Clone, Copy, Debug)]
pub struct RouterName {
    bytes: [u8; RouterName::MAX],
    len: usize,
}

impl RouterName {
    /// `4 d m s c`, a length byte and ten digits.
    const MAX: usize = 16;

    /// The name of `node`.
    pub fn new(node: NodeId) -> RouterName {
        let mut digits = [0u8; 10];
        let mut first = digits.len();
        let mut rest = node.0;
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let digits = &digits[first..];
        let mut bytes = *b"\x04dmsc\0\0\0\0\0\0\0\0\0\0\0";
        bytes[5] = digits.len() as u8;
        bytes[6..6 + digits.len()].copy_from_slice(digits);
        RouterName {
            bytes,
            len: 6 + digits.len(),
        }
    }

    /// The borrowed form.
    pub fn as_name(&self) -> Name<'_> {
        Name(&self.bytes[..self.len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NameBuf {
        NameBuf::parse(text).expect(text)
    }

    #[test]
    fn prefixes_end_on_component_boundaries() {
        assert!(
            name("/a/b")
                .as_name()
                .is_prefix_of(name("/a/b/c").as_name())
        );
        assert!(name("/a/b").as_name().is_prefix_of(name("/a/b").as_name()));
        assert!(!name("/a/b").as_name().is_prefix_of(name("/a/bc").as_name()));
        assert!(
            !name("/a/b/c")
                .as_name()
                .is_prefix_of(name("/a/b").as_name())
        );
        let abc = name("/a/b/c");
        assert_eq!(abc.as_name().prefix(2), name("/a/b").as_name());
        assert_eq!(abc.as_name().prefix(0), name("/a").as_name());
        assert_eq!(abc.as_name().prefix(99), abc.as_name());
        assert_eq!(abc.as_name().component_count(), 3);
    }

    #[test]
    fn encodings_are_checked_with_their_position() {
        let fault = |bytes: &[u8]| {
            Name::from_bytes(bytes)
                .map(|_| ())
                .map_err(|e| (e.position, e.fault))
        };
        assert_eq!(fault(b""), Err((0, NameFault::Empty)));
        assert_eq!(fault(b"\x01a\x00"), Err((2, NameFault::EmptyComponent)));
        assert_eq!(fault(b"\x01a\x02b"), Err((2, NameFault::Overrun)));
        assert_eq!(fault(&b"\x01a".repeat(16)), Ok(()));
        assert_eq!(
            fault(&b"\x01a".repeat(17)),
            Err((32, NameFault::TooManyComponents))
        );
        let mut long = vec![254];
        long.resize(255, b'x');
        assert_eq!(fault(&long), Ok(()));
        long.push(b'x');
        assert_eq!(fault(&long), Err((255, NameFault::TooLong)));
    }

    #[test]
    fn joining_refuses_what_does_not_fit() {
        let join = |parts: &[&[u8]]| NameBuf::from_components(parts).map_err(|e| e.fault);
        assert_eq!(join(&[b"a", b"b"]), Ok(name("/a/b")));
        assert_eq!(join(&[]), Err(NameFault::Empty));
        assert_eq!(join(&[b"a", b""]), Err(NameFault::EmptyComponent));
        assert_eq!(join(&[&[0; 256]]), Err(NameFault::TooLong));
        assert_eq!(join(&[&[0; 200], &[0; 54]]), Err(NameFault::TooLong));
        assert_eq!(
            join(&[b"a" as &[u8]; 17]),
            Err(NameFault::TooManyComponents)
        );
        assert_eq!(name("/a").child("b"), Ok(name("/a/b")));
    }

    #[test]
    fn routers_have_reserved_names() {
        for node in [0, 7, 10, 4_294_967_295] {
            let router = RouterName::new(NodeId(node));
            assert_eq!(router.as_name().to_string(), format!("/dmsc/{node}"));
            assert_eq!(
                Name::from_bytes(router.as_name().as_bytes()),
                Ok(router.as_name())
            );
            assert!(router.as_name().is_reserved());
        }
        assert!(!name("/dmscx/1").as_name().is_reserved());
    }
}
