//! The same over HTTP/2: several swipes at a time on one connection. Owns nothing but the wire.

use std::error::Error;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::{Method, Request, Version};
use tillside::http::signature::{Unsigned, sign};
use tokio::net::TcpStream;

use super::{Answer, PATH, coupon, slug};
use crate::world::Workstation;

/// Of each direction: more than all answers under way.
const WINDOW_BYTES: u32 = 1 << 20;

/// A connection that carries several requests at a time; clones share it.
#[derive(Clone)]
pub(crate) struct Line {
    requests: SendRequest<Bytes>,
}

impl Line {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut builder = client::Builder::new();
        builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let (requests, connection) = builder.handshake(stream).await?;
        // It ends with the last clone, or with the connection; whoever waits on it is told.
        tokio::spawn(connection);
        Ok(Self { requests })
    }

    /// Sends a swipe, signed now, and reads the whole answer.
    pub(crate) async fn ask(
        &mut self,
        authority: &str,
        till: &Workstation,
        body: &[u8],
        created_s: i64,
    ) -> Result<Answer, Box<dyn Error>> {
        let unsigned = Unsigned { method: "POST", authority, path: PATH, query: None, body };
        let signed = sign(&unsigned, &till.keyid, &till.secret, created_s);
        let uri = format!("http://{authority}{PATH}");
        let request = Request::builder().method(Method::POST).uri(uri).version(Version::HTTP_2);
        let request = signed.headers().fold(request, |it, (name, value)| it.header(name, value));
        // The server may allow fewer streams than there are tills.
        let mut requests = self.requests.clone().ready().await?;
        let (answer, mut sending) = requests.send_request(request.body(())?, false)?;
        sending.send_data(Bytes::copy_from_slice(body), true)?;
        let (head, mut receiving) = answer.await?.into_parts();
        let mut text = Vec::new();
        while let Some(part) = receiving.data().await {
            let part = part?;
            receiving.flow_control().release_capacity(part.len())?;
            text.extend_from_slice(&part);
        }
        let status = head.status.as_u16();
        let retry_after_s = head.headers.get("retry-after").and_then(|it| it.to_str().ok());
        Ok(Answer {
            status,
            retry_after_s: retry_after_s.and_then(|it| it.parse().ok()),
            slug: slug(status, &text).unwrap_or_default().to_owned(),
            coupon: coupon(status, &text),
            keeps: true,
        })
    }
}
