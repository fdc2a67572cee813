//! The text that is signed (RFC 9421 section 2.5), built from components by name.

use std::borrow::Cow;

use ::http::header::HOST;
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName};

use super::single;

/// What a signature can cover of a request, as it was received: nothing is decoded, no path
/// is cleaned, no port is dropped. Only the host is made lower case (RFC 9421 section 2.2.3);
/// a default port stays when it was sent, because behind a balancer the scheme is not known.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    method: &'a str,
    authority: Cow<'a, str>,
    path: &'a str,
    query: &'a str,
    headers: &'a HeaderMap,
}

impl<'a> Message<'a> {
    /// The parts that a server sees. The host is that of the request target (HTTP/2, or the
    /// absolute form), else the Host header; without either the signature cannot hold.
    pub fn of(parts: &'a Parts) -> Self {
        let authority = match parts.uri.authority() {
            Some(authority) => authority.as_str(),
            None => single(&parts.headers, &HOST).unwrap_or_default(),
        };
        Self {
            method: parts.method.as_str(),
            authority: lower_case(authority),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
        }
    }

    pub(super) fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The value of a component; `None` when there is no such component, or a header that is
    /// absent, stands twice or is not text.
    pub(super) fn component(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "@method" => Some(self.method.into()),
            "@authority" => {
                Some((&*self.authority).into()).filter(|host: &Cow<'_, str>| !host.is_empty())
            }
            "@path" => Some(self.path.into()),
            "@query" => Some(format!("?{}", self.query).into()),
            _ if name.bytes().any(|byte| byte.is_ascii_uppercase()) => None,
            _ => {
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                single(self.headers, &name).ok().map(Cow::from)
            }
        }
    }
}

/// Makes a host lower case without copying one that already is.
pub(super) fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    }
}

/// Joins the components and the parameters; `None` when a component has no value.
pub(super) fn build<'a, N: AsRef<str>>(
    names: &[N],
    params: &str,
    value_of: impl Fn(&str) -> Option<Cow<'a, str>>,
) -> Option<String> {
    let mut base = String::with_capacity(512);
    for name in names {
        let name = name.as_ref();
        let value = value_of(name)?;
        for part in ["\"", name, "\": ", &value, "\n"] {
            base.push_str(part);
        }
    }
    base.push_str("\"@signature-params\": ");
    base.push_str(params);
    Some(base)
}
