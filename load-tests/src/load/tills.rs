//! The tills at work, all on one thread. Owns the pace.
//!
//! What is due is not kept in a queue: the slots of a pace are numbered, and the next one that
//! has come is taken by whichever connection is free, with its intended time. So nothing that a
//! slow answer does can move a later slot, and a backlog costs no memory.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, sleep_until, timeout};

use super::measured::{Measured, Notes};
use super::swipe::Swipes;
use super::{Load, Protocol, Shape, Target};
use crate::error::HarnessError;
use crate::wire::http2::Line;
use crate::wire::{self, Answer, Wire};
use crate::world::Workstation;

/// How long a connection is listened to. The service gives up long before.
const PATIENCE: Duration = Duration::from_secs(5);
/// A connection that was not used for so long may have been closed by the service.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Before the next attempt where somebody did not answer, so that it is not a busy loop.
const AFTER_FAILURE: Duration = Duration::from_millis(20);
/// How long at least it is not looked for what has become due. An alarm for each swipe took a third
/// more of the cores that are shared with the service; what this delays counts as latency.
const TICK: Duration = Duration::from_micros(500);
/// Swipes that share a connection of HTTP/2.
const STREAMS: usize = 32;

/// Everybody, and what they share.
struct Tills {
    target: Target,
    swipes: Swipes,
    protocol: Protocol,
    shape: Shape,
    first_number: u64,
    began: Instant,
    ends: Instant,
    /// Slots of the whole run; for a closed loop those that were taken so far.
    slots: Cell<u64>,
    /// One per address.
    places: Vec<Place>,
    under_way: Cell<u64>,
    /// Somebody has nothing more to do.
    finished: Notify,
    notes: RefCell<Notes>,
}

/// The tills of one replica.
struct Place {
    address: SocketAddr,
    authority: String,
    /// How many slots have been taken here.
    taken: Cell<u64>,
    /// Connections that wait for a slot, and have not been woken.
    idle: Cell<usize>,
    wake: Notify,
}

/// A swipe whose time has come.
struct Due {
    at: Instant,
    /// From the beginning of the run.
    slot: u64,
    /// Among those of its place.
    turn: u64,
}

/// A connection, or a stream on one.
enum Connection {
    Http1(Wire),
    Http2(Line),
}

/// Sends on this thread.
pub(super) async fn run(
    target: Target,
    load: Load,
    first_number: u64,
) -> Result<Measured, HarnessError> {
    let connections = match load.shape {
        Shape::Open { .. } => load.connections,
        Shape::Closed { connections } => connections,
    };
    let connected = connect(&target, load.protocol, connections).await;
    let connected = connected.map_err(|error| {
        HarnessError::doing("connecting the tills to the service")(error.to_string())
    })?;
    let (began, warm_up) = (Instant::now(), Duration::from_secs_f64(load.warm_up_s));
    let measuring = began + warm_up;
    let ends = measuring + Duration::from_secs_f64(load.seconds);
    let place = |address: &SocketAddr| Place {
        address: *address,
        authority: address.to_string(),
        taken: Cell::new(0),
        idle: Cell::new(0),
        wake: Notify::new(),
    };
    let slots = match load.shape {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of swipes, checked to be above 0"
        )]
        Shape::Open { per_s } => (per_s * (load.warm_up_s + load.seconds)).ceil() as u64,
        Shape::Closed { .. } => 0,
    };
    let tills = Rc::new(Tills {
        places: target.addresses.iter().map(place).collect(),
        protocol: load.protocol,
        shape: load.shape,
        first_number,
        began,
        ends,
        slots: Cell::new(slots),
        under_way: Cell::new(0),
        finished: Notify::new(),
        notes: RefCell::new(Notes::new(measuring, load.seconds)),
        swipes: Swipes::new(target.clone(), load),
        target,
    });
    for (number, connection) in connected.into_iter().enumerate() {
        spawn_local(work(Rc::clone(&tills), number % tills.places.len(), connection));
    }
    if let Shape::Open { per_s } = tills.shape {
        let alarm = Alarm::new().map_err(HarnessError::doing("setting an alarm"))?;
        spawn_local(keep_pace(Rc::clone(&tills), per_s, alarm));
    }
    sleep_until(measuring.into()).await;
    let used_before = processor_time()?;
    sleep_until(ends.into()).await;
    let used = processor_time()?.saturating_sub(used_before);
    // Slots that nobody was free for may still be taken, for as long as a till would wait.
    let _ = timeout(PATIENCE, tills.everybody_is_done()).await;
    let notes = &mut *tills.notes.borrow_mut();
    notes.unanswered += tills.under_way.get();
    notes.unsent = tills.untaken();
    Ok(notes.measured(used, first_number + tills.slots.get()))
}

/// As many connections as were asked for, to each address in turn.
async fn connect(
    target: &Target,
    protocol: Protocol,
    connections: usize,
) -> Result<Vec<Connection>, Box<dyn Error>> {
    let mut connected = Vec::with_capacity(connections);
    let mut lines: Vec<Option<Line>> = vec![None; target.addresses.len()];
    for number in 0..connections {
        let place = number % target.addresses.len();
        let address = target.addresses[place];
        connected.push(match (protocol, &mut lines[place]) {
            (Protocol::Http1, _) => Connection::Http1(Wire::connect(address).await?),
            (Protocol::Http2, line) => {
                if (number / target.addresses.len()).is_multiple_of(STREAMS) {
                    *line = Some(Line::connect(address).await?);
                }
                Connection::Http2(line.clone().expect("made for the first stream"))
            }
        });
    }
    Ok(connected)
}

/// What a connection does: one swipe after the other, as they become due.
async fn work(tills: Rc<Tills>, place: usize, connection: Connection) {
    let mut connection = Some(connection);
    let (mut body, mut request) = (Vec::new(), Vec::new());
    let mut free_since = Instant::now();
    loop {
        let due = tills.next(place).await;
        let number = tills.first_number + due.slot;
        let till = tills.till(place, due.turn);
        tills.under_way.set(tills.under_way.get() + 1);
        let card = tills.swipes.write(&mut body, till, number);
        let Place { address, authority, .. } = &tills.places[place];
        if free_since.elapsed() > IDLE_MAX {
            connection = None;
        }
        let asked = timeout(PATIENCE, async {
            let created_s = Timestamp::now().as_second();
            let mut usable = match connection.take() {
                Some(connection) => connection,
                None => match tills.protocol {
                    Protocol::Http1 => Connection::Http1(Wire::connect(*address).await?),
                    Protocol::Http2 => Connection::Http2(Line::connect(*address).await?),
                },
            };
            let answer = match &mut usable {
                Connection::Http1(wire) => {
                    wire::write_request(&mut request, authority, till, &body, created_s);
                    tills.sent(&due, free_since);
                    wire.ask(&request).await?
                }
                Connection::Http2(line) => {
                    tills.sent(&due, free_since);
                    line.ask(authority, till, &body, created_s).await?
                }
            };
            if answer.keeps {
                connection = Some(usable);
            }
            Ok::<Answer, Box<dyn Error>>(answer)
        });
        let answer = asked.await.ok().and_then(Result::ok);
        tills.under_way.set(tills.under_way.get() - 1);
        free_since = Instant::now();
        let answered = answer.is_some();
        if let Some(coupon) = answer.as_ref().and_then(|answer| answer.coupon.clone()) {
            tills.target.wallets.put(card, coupon);
        }
        tills.notes.borrow_mut().take(due.at, free_since, answer);
        if !answered {
            sleep(AFTER_FAILURE).await;
        }
    }
}

/// Wakes connections when slots become due. Those that are busy look for themselves.
async fn keep_pace(tills: Rc<Tills>, per_s: f64, alarm: AsyncFd<Alarm>) {
    let places = tills.places.len() as u64;
    for slot in 0..tills.slots.get() {
        let wait = tills.due_at(slot, per_s).saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            let once = Expiration::OneShot(wait.max(TICK).into());
            let armed = alarm.get_ref().0.set(once, TimerSetTimeFlags::empty());
            armed.expect("any time may be waited for");
            let rang = alarm.readable().await;
            rang.expect("the runtime is there").clear_ready();
        }
        let place = usize::try_from(slot % places).expect("an index");
        tills.places[place].wake_one();
    }
}

/// A clock of the kernel, since tokio's own ticks in milliseconds.
struct Alarm(TimerFd);

impl Alarm {
    #[expect(
        deprecated,
        reason = "its successor is unsafe and asks for a descriptor that stays the same and open; \
                  a TimerFd owns its own"
    )]
    fn new() -> io::Result<AsyncFd<Self>> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        AsyncFd::with_interest(Self(timer), Interest::READABLE)
    }
}

impl AsRawFd for Alarm {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Tills {
    /// The next swipe of a place, when its time has come.
    async fn next(&self, place: usize) -> Due {
        loop {
            if let Some(due) = self.take(place) {
                return due;
            }
            let place = &self.places[place];
            place.idle.set(place.idle.get() + 1);
            self.finished.notify_one();
            place.wake.notified().await;
        }
    }

    fn take(&self, index: usize) -> Option<Due> {
        let place = &self.places[index];
        let (turn, now) = (place.taken.get(), Instant::now());
        let (at, slot) = match self.shape {
            Shape::Open { per_s } => {
                let slot = turn * self.places.len() as u64 + index as u64;
                let at = self.due_at(slot, per_s);
                (slot < self.slots.get() && at <= now).then_some((at, slot))?
            }
            Shape::Closed { .. } => {
                let slot = self.slots.get();
                (now < self.ends).then(|| self.slots.set(slot + 1))?;
                (now, slot)
            }
        };
        place.taken.set(turn + 1);
        Some(Due { at, slot, turn })
    }

    fn due_at(&self, slot: u64, per_s: f64) -> Instant {
        self.began + Duration::from_secs_f64(slot as f64 / per_s)
    }

    /// Every till of a place in turn.
    fn till(&self, place: usize, turn: u64) -> &Workstation {
        let (tills, places) = (&self.target.tills, self.places.len());
        // With fewer tills than replicas, some till goes to more than one.
        let of_place = tills.len().saturating_sub(place).div_ceil(places).max(1) as u64;
        let turn = usize::try_from(turn % of_place).expect("less than the number of tills");
        &tills[(turn * places + place) % tills.len()]
    }

    /// Just before a swipe is on the wire. What it waited for a free connection is the service's.
    fn sent(&self, due: &Due, free_since: Instant) {
        let could_be = due.at.max(free_since);
        self.notes.borrow_mut().lag(due.at, could_be.elapsed());
    }

    /// Slots that nobody has taken.
    fn untaken(&self) -> u64 {
        let taken: u64 = self.places.iter().map(|place| place.taken.get()).sum();
        self.slots.get() - taken
    }

    async fn everybody_is_done(&self) {
        while self.under_way.get() + self.untaken() > 0 {
            self.finished.notified().await;
        }
    }
}

impl Place {
    fn wake_one(&self) {
        if let Some(idle) = self.idle.get().checked_sub(1) {
            self.idle.set(idle);
            self.wake.notify_one();
        }
    }
}

/// Of this thread, user and system.
fn processor_time() -> Result<Duration, HarnessError> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD);
    let usage = usage.map_err(HarnessError::doing("reading what the generator has used"))?;
    let us = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(us.unsigned_abs()))
}
