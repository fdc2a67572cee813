//! A terminal in code: signs requests and sends them. Used by commands and tests.
//!
//! It speaks plain HTTP only: TLS belongs to the terminal's own platform or to a proxy.
//! It never retries; whoever uses it decides what a failure means.

use std::time::Duration;

use ::http::header::HOST;
use ::http::uri::{Authority, Scheme};
use ::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::http::signature::{Unsigned, sign};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// One terminal. Clones share their connections.
#[derive(Clone)]
pub struct Till {
    authority: Authority,
    keyid: String,
    secret: Zeroizing<[u8; 32]>,
    client: Client<HttpConnector, Full<Bytes>>,
    version: Version,
}

/// What the service answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TillError {
    /// The address of the service cannot be used.
    #[error("the address must be of the form http://host:port, without a path")]
    Address,
    /// The key id is not one.
    #[error("the key id must be printable ASCII, such as 0367/03.1")]
    KeyId,
    /// The path is not one.
    #[error("the path must begin with a slash and be encoded")]
    Path,
    /// Nobody answered at that address.
    #[error("the service could not be reached: {0}")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    /// The connection broke; the request may or may not have been done.
    #[error("the connection broke before the answer was complete: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There was no complete answer in time; the request may or may not have been done.
    #[error("no answer within {} seconds", ANSWER_TIMEOUT.as_secs())]
    Timeout,
}

impl Till {
    /// A terminal that speaks HTTP/1.1 to `base_url`, such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// [`TillError::Address`] and [`TillError::KeyId`] for values that cannot be used.
    pub fn new(base_url: &str, keyid: &str, secret: [u8; 32]) -> Result<Self, TillError> {
        Self::build(base_url, keyid, secret, Version::HTTP_11)
    }

    /// The same over HTTP/2 without TLS, all requests on one connection.
    ///
    /// # Errors
    /// As [`Till::new`].
    pub fn new_http2(base_url: &str, keyid: &str, secret: [u8; 32]) -> Result<Self, TillError> {
        Self::build(base_url, keyid, secret, Version::HTTP_2)
    }

    fn build(
        base_url: &str,
        keyid: &str,
        secret: [u8; 32],
        version: Version,
    ) -> Result<Self, TillError> {
        if keyid.is_empty() || !keyid.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(TillError::KeyId);
        }
        let url: Uri = base_url.parse().map_err(|_| TillError::Address)?;
        let bare = url.path() == "/" && url.query().is_none() && !base_url.contains('@');
        let authority = url
            .authority()
            .filter(|_| bare && url.scheme() == Some(&Scheme::HTTP))
            .ok_or(TillError::Address)?;
        // Clients leave the default port out of Host, and what is signed must be what is sent.
        let text = authority.as_str().to_ascii_lowercase();
        let text = text.strip_suffix(":80").unwrap_or(&text);
        let authority = text.parse().map_err(|_| TillError::Address)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .http2_only(version == Version::HTTP_2)
            .build(connector);
        Ok(Self { authority, keyid: keyid.to_owned(), secret: secret.into(), client, version })
    }

    /// Posts a JSON document to a path.
    ///
    /// # Errors
    /// [`TillError`] when there is no complete answer; a refusal is an answer.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Answer, TillError> {
        self.call(Method::POST, path, body.into()).await
    }

    /// Reads a path.
    ///
    /// # Errors
    /// As [`Till::post`].
    pub async fn get(&self, path: &str) -> Result<Answer, TillError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Deletes what stands under a path.
    ///
    /// # Errors
    /// As [`Till::post`].
    pub async fn delete(&self, path: &str) -> Result<Answer, TillError> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, TillError> {
        let request = self.sign(method, path, body, Timestamp::now())?;
        self.send(request).await
    }

    /// Signs a request without sending it, so that headers can be added, or bytes spoilt.
    ///
    /// # Errors
    /// [`TillError::Path`].
    pub fn sign(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        created: Timestamp,
    ) -> Result<Request<Full<Bytes>>, TillError> {
        let url = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .ok()
            .filter(|_| path.starts_with('/'))
            .ok_or(TillError::Path)?;
        let unsigned = Unsigned {
            method: method.as_str(),
            authority: self.authority.as_str(),
            path: url.path(),
            query: url.query(),
            body: &body,
        };
        let signed = sign(&unsigned, &self.keyid, &*self.secret, created.as_second());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url;
        *request.version_mut() = self.version;
        request.headers_mut().extend(signed.headers());
        if self.version < Version::HTTP_2 {
            let host = HeaderValue::from_str(self.authority.as_str());
            request.headers_mut().insert(HOST, host.expect("an authority is header text"));
        }
        Ok(request)
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// As [`Till::post`].
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, TillError> {
        let answering = async {
            let response = self.client.request(request).await.map_err(|error| {
                if error.is_connect() {
                    TillError::Unreachable(error)
                } else {
                    TillError::Broken(error.into())
                }
            })?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| TillError::Broken(error.into()))?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(ANSWER_TIMEOUT, answering).await.unwrap_or(Err(TillError::Timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_key_ids_are_checked_before_anything_is_sent() {
        let host = |url: &str| Till::new(url, "0367/03.1", [0; 32]).map(|till| till.authority);
        assert_eq!(host("http://Pos.Example:80").expect("good").as_str(), "pos.example");
        assert_eq!(host("http://[::1]:8080/").expect("good").as_str(), "[::1]:8080");
        for url in ["", "pos:80", "https://pos", "http://pos/v1", "http://a@pos", "http://pos/?x"] {
            assert!(matches!(host(url), Err(TillError::Address)), "{url}");
        }
        for keyid in ["", "0367/03\n.1", "caf\u{e9}"] {
            let till = Till::new("http://pos", keyid, [0; 32]);
            assert!(matches!(till, Err(TillError::KeyId)), "{keyid:?}");
        }
    }

    #[test]
    fn paths_are_checked_and_the_host_is_the_signed_one() {
        let till = Till::new("http://pos:8080", "0367/03.1", [0; 32]).expect("good values");
        let sign = |path: &str| till.sign(Method::GET, path, Bytes::new(), Timestamp::UNIX_EPOCH);
        let request = sign("/v1/cards/1?a").expect("a good path");
        assert_eq!(request.headers()[HOST], "pos:8080");
        assert_eq!(request.uri(), "http://pos:8080/v1/cards/1?a");
        for path in ["", "v1", "/a b"] {
            assert!(matches!(sign(path), Err(TillError::Path)), "{path:?}");
        }
    }
}
