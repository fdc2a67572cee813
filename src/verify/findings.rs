//! What an audit found: every invariant that can be broken, and where it was.
//!
//! Owns the list of invariants, each with its name and what its breach means. Keeps the first
//! few places of each and counts the rest, so that a database full of damage does not fill the
//! memory. Personal data never stands in a finding: places are numbers and names of swipes.

use std::fmt;

use serde::Serialize;

/// Places of one broken invariant that are kept; more are counted only.
pub const PLACES_MAX: usize = 20;

macro_rules! invariants {
    ($($variant:ident $name:literal $meaning:literal)*) => {
        /// An invariant, named for how it looks when it is broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each has its meaning as a text, which people are shown")]
        pub enum Kind { $($variant,)* }

        impl Kind {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// How programs know it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means that it is broken.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

invariants! {
    AccountMissing "account-missing"
        "Rows belong to an account that does not exist; nobody can be shown or owed what they say."
    BucketWrong "bucket-wrong"
        "A row lies in another bucket than its key says; the service will never find it there."
    TotalDiffers "total-differs"
        "The points of an account are not the sum of its entries; the entries are what happened."
    LotsDamaged "lots-damaged"
        "The lots of an account cannot be read; every swipe of its cards fails."
    LotsDiffer "lots-differ"
        "The lots of an account are not what its entries leave behind."
    LotImpossible "lot-impossible"
        "A lot is empty, out of order, negative without being the debt, or a debt beside points that \
         could have paid."
    LotExpired "lot-expired"
        "A lot had run out when the account last changed, and was not written off."
    ExpiryEarly "expiry-early"
        "Points were written off although their last day had not passed."
    SpentWrongly "spent-wrongly"
        "Points paid on a day on which they were still pending or had run out, or were owed \
         although there were others that could pay."
    NextExpiryDiffers "next-expiry-differs"
        "The day on which points of an account run out next is not that of its lots; they will be \
         written off late."
    VersionBehind "version-behind"
        "Rows stand above the version of their account; the next swipe will collide with them."
    VersionTwice "version-twice"
        "Two transactions stand at one version of an account."
    VersionMissing "version-missing"
        "Versions of an account have neither a transaction nor entries, and no enrolment or link \
         explains them: something was lost."
    SalesDiffer "sales-differ"
        "The sales of an account are not the sum of its transactions less the voided ones."
    BasketsDiffer "baskets-differ"
        "The number of baskets of an account is not that of its transactions less voided ones."
    TallyDamaged "tally-damaged"
        "What an account has counted towards tiers cannot be read; every swipe of its cards fails."
    TallyDiffers "tally-differs"
        "What an account has counted towards tiers is not what its transactions counted, and those \
         of the accounts that were merged into it."
    ClockBehind "clock-behind"
        "The clock of an account lies before a business date that it has seen."
    ClockAhead "clock-ahead"
        "The clock of an account lies after every business date that it has seen; its points \
         expire too early."
    HouseHolds "house-holds"
        "A workstation's own account holds points, cards, members or a profile."
    HouseAstray "house-astray"
        "A house account and its workstation do not name each other."
    MergedHolds "merged-holds"
        "An account that was merged into another still holds points or a debt."
    MergedAstray "merged-astray"
        "An account was merged into one that does not exist or is not a customer's."
    CardAstray "card-astray"
        "A card points at no account, at a workstation's own, or at one that was merged away."
    ProvisionalAstray "provisional-astray"
        "An account that nobody enrolled has a member, or no card that leads to it."
    TransfersUnbalanced "transfers-unbalanced"
        "Points that left accounts by transfer did not arrive, or arrived without having left."
    EntryUnexpected "entry-unexpected"
        "An entry is of a kind or a date that its transaction cannot have."
    EntryGap "entry-gap"
        "The entries of a version are not numbered without a gap: one was lost or added."
    PointsDiffer "points-differ"
        "What a transaction says it earned, took back or spent is not what its entries did."
    AdjustmentDiffers "adjustment-differs"
        "What a person corrected is not what the entries of that version did, or one of the two \
         is not there."
    CouponAstray "coupon-astray"
        "A coupon lies in a bucket that its code does not name, or in another than its account's, or \
         is of an offer that does not exist."
    CouponDiffers "coupon-differs"
        "How a coupon stands is not what the transactions and the people did that changed it."
    LimitExceeded "limit-exceeded"
        "More coupons of an offer were redeemed than it allows, to an account, on a day or in a \
         transaction, or beside one of its group, and are not marked."
    BudgetOverspent "budget-overspent"
        "More was spent of an offer's budget than it is."
    BudgetDiffers "budget-differs"
        "What was spent of an offer's budget is not what its coupons drew on it, or what it has leased \
         is not what its leases hold."
    NameWithoutSwipe "name-without-swipe"
        "A name is taken, but its transaction is not stored; a retry of it will fail."
    SwipeWithoutName "swipe-without-name"
        "A transaction is stored that no name leads to; a retry would be booked a second time."
    NameDiffers "name-differs"
        "A name and its transaction do not agree on what it is: sale, void or void before sale."
    HashMalformed "hash-malformed"
        "The content of a name is not a hash that this version knows; retries are refused."
    ContentDiffers "content-differs"
        "What is stored of a transaction is not what the till signed."
    SwipeMisplaced "swipe-misplaced"
        "A transaction lies on an account that it cannot belong to."
    RecordDamaged "record-damaged"
        "What is remembered of a transaction cannot be read."
    RecordImpossible "record-impossible"
        "What is remembered of a transaction breaks a rule of the message; lines, discounts and \
         adjustments do not add up to its total, for example."
    LinePointsDiffer "line-points-differ"
        "The points of the lines do not add up to those of the transaction."
    ProgrammeDiffers "programme-differs"
        "The programme that was in force gives other points than were booked, or values points that \
         paid otherwise than is noted."
    VoidDiffers "void-differs"
        "A void does not undo what its sale did."
    EpochUnknown "epoch-unknown"
        "A transaction was decided by rules that are not there, or had not begun."
    WorkstationUnknown "workstation-unknown"
        "A transaction or a name is of a workstation that does not exist."
    ReceiptDamaged "receipt-damaged"
        "A receipt cannot be read; a retry of its transaction will fail."
    ReceiptDiffers "receipt-differs"
        "A receipt says something else than what was booked."
    ProfileDamaged "profile-damaged"
        "The checkpoint of a profile cannot be read; it is folded anew each time it is needed."
    ProfileAhead "profile-ahead"
        "The checkpoint of a profile is of a version that its account has not reached."
    ProfileDiffers "profile-differs"
        "The checkpoint of a profile is not what the account's transactions teach."
    TailLate "tail-late"
        "An account says that its sales since the checkpoint begin later than they do; those before \
         are missing from its profile until the next checkpoint is written without them."
}

/// One broken invariant: how often, and where at first.
#[derive(Clone, Debug, Serialize)]
pub struct Broken {
    /// Its name.
    pub invariant: &'static str,
    /// What that means.
    pub meaning: &'static str,
    /// How many places break it.
    pub count: u64,
    /// The first [`PLACES_MAX`] of them.
    pub places: Vec<Place>,
}

/// Where an invariant is broken.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// The row.
    pub place: String,
    /// What is wrong with it.
    pub detail: String,
}

/// What was found so far.
#[derive(Debug)]
pub(super) struct Findings {
    counts: Vec<u64>,
    places: Vec<Vec<Place>>,
}

impl Default for Findings {
    fn default() -> Self {
        let kinds = Kind::ALL.len();
        Self { counts: vec![0; kinds], places: vec![Vec::new(); kinds] }
    }
}

impl Findings {
    /// Notes a broken invariant. Texts are only made when they will be shown.
    pub(super) fn add(&mut self, kind: Kind, place: impl fmt::Display, detail: impl fmt::Display) {
        let at = kind as usize;
        self.counts[at] += 1;
        if self.places[at].len() < PLACES_MAX {
            let (place, detail) = (place.to_string(), detail.to_string());
            self.places[at].push(Place { place, detail });
        }
    }

    /// Notes a broken invariant unless it holds.
    pub(super) fn require(
        &mut self,
        holds: bool,
        kind: Kind,
        place: impl fmt::Display,
        detail: impl fmt::Display,
    ) {
        if !holds {
            self.add(kind, place, detail);
        }
    }

    /// Everything that was found, in the order of the invariants.
    pub(super) fn broken(self) -> Vec<Broken> {
        let found = Kind::ALL.iter().zip(self.counts).zip(self.places);
        found
            .filter(|((_, count), _)| *count > 0)
            .map(|((kind, count), places)| Broken {
                invariant: kind.name(),
                meaning: kind.meaning(),
                count,
                places,
            })
            .collect()
    }
}
