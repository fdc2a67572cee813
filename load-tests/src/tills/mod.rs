//! The tills: each a task with a workstation of its own, which sells, takes back, undoes, and
//! asks again until it knows.
//!
//! What a till does is decided by its seed; when it is answered, by the faults. It must write
//! into the journal before it sends and before it goes on, and it never gives up: a transaction
//! without an answer is sent again, byte for byte, until the run is over.

mod clerk;
mod desk;
mod offline;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::desk::{Delivery, Desk, Request};
use crate::baskets::{Buyer, Sale, Shop};
use crate::error::HarnessError;
use crate::journal::{Asked, Journal};
use crate::tally::Tally;
use crate::world::Workstation;

/// Transactions that a till remembers, to send them again, bring things back, or undo them.
const REMEMBERED: usize = 64;
/// How far the clock of a till may be wrong; the service takes up to 300 s.
const SKEW_MAX_S: i64 = 250;
/// The same transaction at once, over all replicas.
const STORM: usize = 16;

/// What all tills share.
pub struct Floor {
    /// What they sell to whom.
    pub shop: Shop,
    /// Where the replicas are.
    pub base_urls: Vec<String>,
    /// The `tillside` binary, for commands.
    pub binary: PathBuf,
    /// Configurations for commands: by the faulty ways of the replicas, and directly.
    pub configs: Vec<PathBuf>,
    /// Where they write down what they know.
    pub journal: Journal,
    /// What is counted.
    pub tally: Arc<Tally>,
    /// The number of the next request.
    pub next_id: AtomicU64,
    /// Set when the faults are over: nothing new is begun, what is open is brought to its end.
    pub closing: watch::Receiver<bool>,
}

/// A transaction that was acknowledged.
struct Remembered {
    id: u64,
    sale: Sale,
    voided: bool,
    /// Something of it was brought back: it must not be undone any more, because whether a
    /// return finds its sale undone is decided by who comes first.
    returned: bool,
}

/// Starts a task for each workstation, and one for the clerk. Each ends when the floor closes and
/// everything it has sent is answered.
///
/// # Errors
/// When a key cannot be used.
pub fn open(
    floor: &Arc<Floor>,
    workstations: &[Workstation],
    seed: u64,
) -> Result<JoinSet<()>, HarnessError> {
    let mut tasks = JoinSet::new();
    let mut seeds = Rng::with_seed(seed);
    for workstation in workstations {
        let mut rng = seeds.fork();
        let skew = SignedDuration::from_secs(rng.i64(-SKEW_MAX_S..=SKEW_MAX_S));
        let desk = Desk::new(Arc::clone(floor), workstation.clone(), skew)?;
        let till = Simulator {
            rng,
            desk: Arc::new(desk),
            next_sequence_number: 1,
            remembered: VecDeque::with_capacity(REMEMBERED),
            stored: Vec::new(),
        };
        tasks.spawn(till.work());
    }
    tasks.spawn(clerk::work(Arc::clone(floor), seeds.fork()));
    Ok(tasks)
}

struct Simulator {
    rng: Rng,
    desk: Arc<Desk>,
    next_sequence_number: u64,
    remembered: VecDeque<Remembered>,
    /// What could not be sent, for the next batch.
    stored: Vec<Request>,
}

impl Simulator {
    async fn work(mut self) {
        // What is rare comes first, so that the shortest run has seen it.
        self.remember_the_forgotten().await;
        self.join_a_family().await;
        self.enrol().await;
        while !*self.desk.floor.closing.borrow() {
            match self.rng.u8(0..100) {
                0..51 => self.sell().await,
                51..54 => self.enrol().await,
                54 => self.remember_the_forgotten().await,
                55..62 => self.take_back().await,
                62..68 => self.send_again().await,
                68..75 => self.undo().await,
                75..79 => self.undo_before_it_comes().await,
                79..82 => self.sell_and_undo_at_once().await,
                82..85 => self.reuse_a_name().await,
                85..89 => self.ask_for_an_outcome().await,
                89..92 => self.send_sixteen_at_once().await,
                _ => self.work_offline().await,
            }
        }
        self.upload().await;
    }

    async fn sell(&mut self) {
        let sale = self.next_sale(Buyer::Anybody);
        self.present(sale).await;
    }

    /// A customer with a card, which nobody has used as a rule, is enrolled or put on the account
    /// of somebody else, while the card is used.
    async fn enrol(&mut self) {
        let floor = Arc::clone(&self.desk.floor);
        let is_new = self.rng.u8(0..4) > 0;
        let card = if is_new { floor.shop.new_card() } else { floor.shop.old_card(&mut self.rng) };
        if self.rng.bool() {
            let sale = self.next_sale(Buyer::Holder(&card));
            self.present(sale).await;
        }
        let link_to = (self.rng.u8(0..3) > 0).then(|| floor.shop.family_card(&mut self.rng));
        self.enrol_with(card, link_to).await;
    }

    /// Somebody has shopped with a card and joins an account that is there.
    async fn join_a_family(&mut self) {
        let floor = Arc::clone(&self.desk.floor);
        let (card, family) = (floor.shop.new_card(), floor.shop.family_card(&mut self.rng));
        for holder in [&card, &family] {
            let sale = self.next_sale(Buyer::Holder(holder));
            self.present(sale).await;
        }
        self.enrol_with(card, Some(family)).await;
    }

    async fn enrol_with(&mut self, card: String, link_to: Option<String>) {
        let floor = Arc::clone(&self.desk.floor);
        let enrolment = self.desk.enrolment(&card, link_to);
        let mut rng = self.rng.fork();
        let desk = Arc::clone(&self.desk);
        let enrolling = tokio::spawn(async move { desk.deliver(&mut rng, enrolment).await });
        let sale = self.next_sale(Buyer::Holder(&card));
        self.present(sale).await;
        enrolling.await.expect("an enrolment is answered, sooner or later");
        if self.rng.u8(0..4) == 0 {
            // Again, or for somebody else: then it is refused.
            let link_to = self.rng.bool().then(|| floor.shop.family_card(&mut self.rng));
            let again = self.desk.enrolment(&card, link_to);
            self.deliver(again).await;
        }
    }

    /// A purchase of long ago, which comes to light only now.
    async fn remember_the_forgotten(&mut self) {
        let card = self.desk.floor.shop.new_card();
        let sale = self.next_sale(Buyer::Forgotten(&card));
        let request = self.desk.sale(&sale);
        self.deliver(request).await;
    }

    async fn take_back(&mut self) {
        let Some(at) = self.pick(|it| !it.voided && !it.returned && it.sale.card.is_some()) else {
            return;
        };
        self.remembered[at].returned = true;
        let earlier = self.remembered[at].sale.clone();
        let sale = self.next_sale(Buyer::Returning(&earlier));
        self.present(sale).await;
    }

    /// The same bytes again, perhaps to another replica, perhaps after its void.
    async fn send_again(&mut self) {
        let Some(at) = self.pick(|_| true) else { return };
        let earlier = &self.remembered[at];
        let request = Request::again(earlier.id, &earlier.sale);
        self.deliver(request).await;
    }

    async fn undo(&mut self) {
        let Some(at) = self.pick(|it| !it.voided && !it.returned) else { return };
        self.remembered[at].voided = true;
        let earlier = &self.remembered[at];
        let again = Request::again(earlier.id, &earlier.sale);
        let void = self.desk.void(&earlier.sale.name);
        self.deliver(void).await;
        if self.rng.bool() {
            self.deliver(again).await;
        }
    }

    async fn undo_before_it_comes(&mut self) {
        let sale = self.next_sale(Buyer::Anybody);
        let void = self.desk.void(&sale.name);
        self.deliver(void).await;
        self.present_as(sale, true).await;
    }

    async fn sell_and_undo_at_once(&mut self) {
        let sale = self.next_sale(Buyer::Anybody);
        let void = self.desk.void(&sale.name);
        let mut rng = self.rng.fork();
        let desk = Arc::clone(&self.desk);
        let undoing = tokio::spawn(async move { desk.deliver(&mut rng, void).await });
        self.present_as(sale, true).await;
        if let Ok(Delivery::Stored(void)) = undoing.await {
            self.stored.push(void);
        }
    }

    async fn reuse_a_name(&mut self) {
        let Some(at) = self.pick(|_| true) else { return };
        let sale = &self.remembered[at].sale;
        let body = sale.another_content();
        let request = self.desk.request(&sale.name, Asked::Reuse, body);
        self.deliver(request).await;
    }

    async fn ask_for_an_outcome(&mut self) {
        let Some(at) = self.pick(|_| true) else { return };
        let earlier = &self.remembered[at];
        let request = Request::again(earlier.id, &earlier.sale);
        self.desk.ask_until_answered(&mut self.rng, &request).await;
    }

    async fn send_sixteen_at_once(&mut self) {
        let sale = self.next_sale(Buyer::Anybody);
        let mut request = self.desk.sale(&sale);
        self.desk.announce(&mut request).await;
        let mut senders = JoinSet::new();
        for number in 0..STORM {
            let (desk, request) = (Arc::clone(&self.desk), request.clone());
            senders.spawn(async move { desk.attempt(number, &request).await.is_some() });
        }
        self.desk.floor.tally.storms.fetch_add(1, Ordering::Relaxed);
        let mut answered = false;
        while let Some(done) = senders.join_next().await {
            answered |= done.unwrap_or(false);
        }
        if answered {
            self.remember(request.id, sale, false);
        } else {
            self.present_request(request, sale, false).await;
        }
    }

    /// A while without a connection: what is sold is stored, and uploaded afterwards.
    async fn work_offline(&mut self) {
        for _ in 0..self.rng.u8(1..8) {
            let sale = self.next_sale(Buyer::Anybody);
            let mut request = self.desk.sale(&sale);
            self.desk.announce(&mut request).await;
            if self.rng.u8(0..8) == 0 {
                let mut void = self.desk.void(&sale.name);
                self.desk.announce(&mut void).await;
                self.stored.push(void);
            }
            self.stored.push(request);
        }
        self.upload().await;
    }

    async fn upload(&mut self) {
        let stored = std::mem::take(&mut self.stored);
        offline::upload(&self.desk, &mut self.rng, stored).await;
    }

    // ------------------------------------------------------------------- helpers

    fn next_sale(&mut self, buyer: Buyer<'_>) -> Sale {
        let sequence_number = self.next_sequence_number;
        self.next_sequence_number += 1;
        let floor = Arc::clone(&self.desk.floor);
        floor.shop.sale(&mut self.rng, &self.desk.workstation, sequence_number, buyer)
    }

    async fn present(&mut self, sale: Sale) {
        self.present_as(sale, false).await;
    }

    async fn present_as(&mut self, sale: Sale, voided: bool) {
        let request = self.desk.sale(&sale);
        self.present_request(request, sale, voided).await;
    }

    async fn present_request(&mut self, request: Request, sale: Sale, voided: bool) {
        let id = request.id;
        if self.deliver(request).await {
            self.remember(id, sale, voided);
        }
    }

    /// Whether it was answered; otherwise it goes into the next batch.
    async fn deliver(&mut self, request: Request) -> bool {
        match self.desk.deliver(&mut self.rng, request).await {
            Delivery::Answered => true,
            Delivery::Stored(request) => {
                self.stored.push(request);
                false
            }
        }
    }

    fn remember(&mut self, id: u64, sale: Sale, voided: bool) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(Remembered { id, sale, voided, returned: false });
    }

    fn pick(&mut self, fits: impl Fn(&Remembered) -> bool) -> Option<usize> {
        if self.remembered.is_empty() {
            return None;
        }
        let at = self.rng.usize(0..self.remembered.len());
        fits(&self.remembered[at]).then_some(at)
    }
}
