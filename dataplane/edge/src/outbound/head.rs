//! The head of a request as it goes on.

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri, Version};

use super::upload::Upload;
use super::{headers, trace};

/// What goes on; the rest of a request's head was for this connection only.
#[derive(Debug, Clone)]
pub struct Head {
    /// As the program said it.
    pub method: Method,
    /// HTTP/1.1: path and query only.
    pub uri: Uri,
    /// The caller's, but no older than 1.1.
    pub version: Version,
    /// Those that are for the other end, and the trace.
    pub headers: HeaderMap,
}

impl Head {
    /// Of a request, and its trace; `wanted` is what it wants to go over to.
    pub fn onward(parts: Parts, wanted: Option<&HeaderValue>) -> (Box<Self>, [u8; 16]) {
        let mut headers = parts.headers;
        let second = parts.version == Version::HTTP_2;
        // HTTP/2 has none that are for one connection only: the library lets no such head in (RFC 9113, 8.2.2).
        if !second {
            headers::end_to_end(&mut headers);
            headers.remove(header::TE);
        }
        // It was answered here already.
        headers.remove(header::EXPECT);
        if let Some(wanted) = wanted {
            headers.insert(header::UPGRADE, wanted.clone());
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let trace_id = trace::carry_on(&mut headers);
        let (uri, version) = if second {
            (parts.uri, Version::HTTP_2)
        } else {
            (origin_form(parts.uri), Version::HTTP_11)
        };
        let head = Self {
            method: parts.method,
            uri,
            version,
            headers,
        };
        (Box::new(head), trace_id)
    }

    /// The request that it is the head of.
    pub fn with(self: Box<Self>, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        request
    }
}

/// Of a request of which nothing was sent.
impl From<Parts> for Box<Head> {
    fn from(parts: Parts) -> Self {
        Self::new(Head {
            method: parts.method,
            uri: parts.uri,
            version: parts.version,
            headers: parts.headers,
        })
    }
}

/// As HTTP/1.1 wants it of a request that goes to the server itself.
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let path = uri.into_parts().path_and_query;
    path.map_or_else(|| Uri::from_static("/"), Uri::from)
}
