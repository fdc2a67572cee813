//! One connection through the proxy: passes requests up and answers down, one request at a time,
//! and lets befall them what was drawn. A fault is counted when it has happened.
//!
//! Requests that a client sends before the previous one is answered wait here, so a fault
//! befalls one request and the answers before it are whole.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tokio::time::{sleep, timeout};

use super::framing::{self, Intent};
use super::line::Line;
use super::{Endpoint, Faults, Shared};

/// How long a swallowed request keeps its connection open.
const BLACK_HOLE: Duration = Duration::from_secs(3);

/// How long an answer is waited for that nobody will get.
const UNHEARD: Duration = Duration::from_secs(10);

/// A slow answer has so many pauses, each as long as drawn.
const PAUSES: usize = 10;
const PAUSE_MS: std::ops::RangeInclusive<u64> = 5..=50;

/// What befalls a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    CutBeforeRequest,
    CutAfterRequest,
    BlackHole,
    Slow,
    Reset,
    Duplicate,
}

impl Fault {
    /// Everything that is counted.
    pub(super) const NAMES: [&str; 9] = [
        "cut_before_request",
        "cut_after_request",
        "cut_after_answer",
        "black_hole",
        "slow",
        "reset",
        "duplicate",
        "duplicate_differs",
        "delay",
    ];

    fn draw(faults: &Faults, rng: &mut Rng) -> Option<Self> {
        let mut left = rng.f64();
        for (fault, chance) in [
            (Self::CutBeforeRequest, faults.cut_before_request),
            (Self::CutAfterRequest, faults.cut_after_request),
            (Self::BlackHole, faults.black_hole),
            (Self::Slow, faults.slow),
            (Self::Reset, faults.reset),
            (Self::Duplicate, faults.duplicate),
        ] {
            if left < chance {
                return Some(fault);
            }
            left -= chance;
        }
        None
    }
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Dribbled,
    ThrownAway,
}

/// Whether a connection goes on after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoesOn,
    Ends,
}

pub(super) struct Relay {
    client: Line,
    server: Line,
    upstream: Endpoint,
    shared: Arc<Shared>,
    rng: Rng,
    /// Whether the next request is the first one.
    first: bool,
}

impl Relay {
    pub(super) fn new(
        client: Line,
        server: Line,
        upstream: Endpoint,
        shared: Arc<Shared>,
        rng: Rng,
    ) -> Self {
        Self { client, server, upstream, shared, rng, first: true }
    }

    /// Relays until either side closes, or a fault ends the connection.
    ///
    /// # Errors
    /// When either side breaks, or says what is not understood.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let protocol = self.shared.protocol;
        loop {
            let first = self.first;
            let request = tokio::select! {
                request = self.client.next(|bytes| protocol.request(bytes, first)) => request?,
                // Notices, and the reasons why a server ends a session, come unasked.
                piece = self.server.next(|bytes| protocol.piece(bytes)) => match piece? {
                    Some(piece) => {
                        self.client.write(&piece).await?;
                        continue;
                    }
                    None => None,
                },
            };
            let Some(request) = request else { return Ok(()) };
            let intent = protocol.intent(&request, first);
            match intent {
                Intent::Encryption => self.client.write(b"N").await?,
                Intent::Farewell => return self.server.write(&request).await,
                Intent::Request | Intent::Conversation => {
                    self.first = false;
                    if self.carry(&request, intent).await? == Then::Ends {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn carry(&mut self, request: &Bytes, intent: Intent) -> io::Result<Then> {
        let faults = self.shared.lock().faults.clone();
        if faults.delay_ms > 0 {
            sleep(Duration::from_millis(faults.delay_ms)).await;
            self.shared.count("delay");
        }
        match Fault::draw(&faults, &mut self.rng) {
            None => {
                self.server.write(request).await?;
                self.answer(intent, Fate::Passed).await
            }
            Some(Fault::CutBeforeRequest) => {
                self.shared.count("cut_before_request");
                Ok(Then::Ends)
            }
            Some(Fault::CutAfterRequest) => {
                self.server.write(request).await?;
                if self.rng.bool() {
                    self.shared.count("cut_after_request");
                    return Ok(Then::Ends);
                }
                let heard = timeout(UNHEARD, self.answer(intent, Fate::ThrownAway)).await;
                if heard.is_ok_and(|heard| heard.is_ok_and(|then| then == Then::GoesOn)) {
                    self.shared.count("cut_after_answer");
                }
                Ok(Then::Ends)
            }
            Some(Fault::BlackHole) => {
                self.shared.count("black_hole");
                let swallow = async { while let Ok(Some(_)) = self.client.anything().await {} };
                // Either the client gave up, or the time is up.
                let _ = timeout(BLACK_HOLE, swallow).await;
                Ok(Then::Ends)
            }
            Some(Fault::Slow) => {
                self.server.write(request).await?;
                let then = self.answer(intent, Fate::Dribbled).await?;
                self.shared.count("slow");
                Ok(then)
            }
            Some(Fault::Reset) => {
                if self.rng.bool() {
                    self.server.write(request).await?;
                }
                self.client.reset_on_close()?;
                self.shared.count("reset");
                Ok(Then::Ends)
            }
            Some(Fault::Duplicate) => self.duplicate(request).await,
        }
    }

    /// Brings down the answer to the request that upstream has just got. It ends the connection
    /// when the client goes away meanwhile.
    async fn answer(&mut self, intent: Intent, fate: Fate) -> io::Result<Then> {
        let protocol = self.shared.protocol;
        let mut converses = intent == Intent::Conversation;
        let mut pauses = PAUSES;
        loop {
            let hear_client = async {
                if converses {
                    return self.client.anything().await;
                }
                self.client.gone().await;
                Ok(None)
            };
            let piece = tokio::select! {
                piece = self.server.next(|bytes| protocol.piece(bytes)) => piece?,
                said = hear_client => match said? {
                    Some(said) => {
                        self.server.write(&said).await?;
                        continue;
                    }
                    None => None,
                },
            };
            let Some(piece) = piece else { return Ok(Then::Ends) };
            converses |= protocol.asks_back(&piece);
            match fate {
                Fate::Passed => self.client.write(&piece).await?,
                Fate::Dribbled => {
                    for part in piece.chunks(piece.len().div_ceil(PAUSES)) {
                        if pauses > 0 {
                            pauses -= 1;
                            sleep(Duration::from_millis(self.rng.u64(PAUSE_MS))).await;
                        }
                        self.client.write(part).await?;
                    }
                }
                Fate::ThrownAway => {}
            }
            if protocol.is_last(&piece) {
                return Ok(Then::GoesOn);
            }
        }
    }

    /// Sends a request twice at the same time, as a till does that lost patience and has two
    /// network cards, and passes the first connection's answer on.
    async fn duplicate(&mut self, request: &Bytes) -> io::Result<Then> {
        let protocol = self.shared.protocol;
        let mut second = Line::connect(&self.upstream).await?;
        tokio::try_join!(self.server.write(request), second.write(request))?;
        self.shared.count("duplicate");
        let both = async {
            tokio::join!(
                self.server.next(|bytes| protocol.piece(bytes)),
                timeout(UNHEARD, second.next(|bytes| protocol.piece(bytes))),
            )
        };
        let (first, second) = tokio::select! {
            both = both => both,
            () = self.client.gone() => return Ok(Then::Ends),
        };
        let Some(first) = first? else { return Ok(Then::Ends) };
        if let Ok(Ok(Some(second))) = second
            && framing::answers_once(request)
            && let (Some(one), Some(other)) =
                (framing::good_body(&first), framing::good_body(&second))
            && one != other
        {
            self.shared.count("duplicate_differs");
        }
        self.client.write(&first).await?;
        Ok(Then::GoesOn)
    }
}
