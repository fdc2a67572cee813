//! One account: its history is replayed version by version, and its row compared with the end.
//!
//! Every version from 1 to the account's is a transaction, or entries without one (opening
//! points, transfers), or coupons that people issued or took back, or bare: an enrolment or a
//! link that moved no points. Bare versions cannot be told from lost ones by themselves, but
//! they can be counted: a provisional or a house account has none, a merged one at most its
//! merge, and an enrolled one at most as many as it has cards, each of which came by one
//! enrolment or link. More than that were lost.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;

use super::Ledger;
use super::coupons::sql::CouponRow;
use super::findings::Kind;
use super::names::{self, OpenVoid};
use super::points::{self, Points};
use super::profiles::Learning;
use super::sql::{
    Account, AccountRow, AdjustmentRow, CardRow, EntryRow, NameRow, ProfileRow, SwipeRow,
};
use super::tallies::Counting;
use super::{receipts, swipes};
use crate::domain::account::{CLOCK_START, State};
use crate::domain::bucket;
use crate::domain::ledger::{DEBT, Lots};
use crate::domain::swipe;

/// Where an account's rows stand, as findings name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) account_id: i64,
    pub(super) version: Option<i64>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account {}", self.account_id)?;
        self.version.map_or(Ok(()), |version| write!(f, ", version {version}"))
    }
}

/// An account whose history is being replayed.
pub(super) struct History<'a> {
    pub(super) ledger: &'a mut Ledger,
    pub(super) account_id: i64,
    pub(super) row: Option<AccountRow>,
    pub(super) state: Option<State>,
    pub(super) points: Points,
    pub(super) learning: Learning,
    pub(super) counting: Counting,
    /// Whether the sale of the version at hand was voided later.
    pub(super) is_voided: bool,
    /// Sales whose void is still to come, by its version.
    pub(super) open_voids: BTreeMap<i64, OpenVoid>,
    pub(super) sales_minor: i128,
    pub(super) baskets: i64,
    cards: i64,
    /// Versions that are explained by what people did to cards.
    links_changed: i64,
    members: i64,
    /// The version replayed last, and how many up to it had no row.
    version: i64,
    bare_versions: i64,
    /// The latest business date so far.
    pub(super) latest: Option<Date>,
}

impl<'a> History<'a> {
    pub(super) fn begin(
        ledger: &'a mut Ledger,
        (bucket, account_id): Account,
        row: Option<AccountRow>,
        profile: Option<ProfileRow>,
    ) -> Self {
        let at = At { account_id, version: None };
        ledger.findings.require(
            bucket == i16::from(bucket::of_account(account_id)),
            Kind::BucketWrong,
            at,
            format_args!("its rows lie in bucket {bucket}"),
        );
        if row.is_none() {
            let detail = "it is not there, but cards, names, transactions or entries are";
            ledger.findings.add(Kind::AccountMissing, at, detail);
        }
        ledger.counts.profiles += u64::from(profile.is_some());
        let state = row.as_ref().and_then(|row| State::from_code(row.state));
        Self {
            ledger,
            account_id,
            row,
            state,
            points: Points::default(),
            learning: Learning::new(profile),
            counting: Counting::default(),
            is_voided: false,
            open_voids: BTreeMap::new(),
            sales_minor: 0,
            baskets: 0,
            cards: 0,
            links_changed: 0,
            members: 0,
            version: 0,
            bare_versions: 0,
            latest: None,
        }
    }

    /// Notes a broken invariant of this account unless it holds.
    pub(super) fn require(
        &mut self,
        holds: bool,
        kind: Kind,
        version: impl Into<Option<i64>>,
        detail: impl fmt::Display,
    ) {
        let at = At { account_id: self.account_id, version: version.into() };
        self.ledger.findings.require(holds, kind, at, detail);
    }

    pub(super) fn is_house(&self) -> bool {
        self.state == Some(State::House)
    }

    /// A card that points here. Cards are not personal data by themselves, but lead to people:
    /// a finding shows the end of one only.
    /// A blocked card is one less, and its block is a version more: both are explained by it.
    pub(super) fn card(&mut self, CardRow { bucket, card }: &CardRow) {
        let Some(card) = card else {
            self.links_changed += i64::from(*bucket);
            return;
        };
        self.cards += 1;
        self.ledger.counts.cards += 1;
        let end: String = card.chars().rev().take(4).collect::<Vec<_>>().iter().rev().collect();
        let right = i16::from(bucket::of_card(card));
        self.require(
            *bucket == right,
            Kind::BucketWrong,
            None,
            format_args!("its card …{end} lies in bucket {bucket} instead of {right}"),
        );
        let is_customers =
            matches!(self.state, Some(State::Provisional | State::Enrolled | State::Blocked));
        self.require(
            is_customers,
            Kind::CardAstray,
            None,
            format_args!("card …{end} points here, which is no customer's account"),
        );
    }

    pub(super) fn member(&mut self) {
        self.members += 1;
        self.ledger.counts.members += 1;
    }

    /// Everything that one version wrote.
    pub(super) fn version(
        &mut self,
        version: i64,
        names: Vec<NameRow>,
        swipes: &[SwipeRow],
        entries: &[EntryRow],
        adjustments: &[AdjustmentRow],
        coupons: &[CouponRow],
    ) {
        if !swipes.is_empty() || !entries.is_empty() {
            self.explains(version);
        }
        let dates = swipes.iter().map(|swipe| swipe.name.business_date);
        let dates = dates.chain(entries.iter().map(|entry| entry.business_date));
        self.latest = self.latest.into_iter().chain(dates).max();
        self.require(
            swipes.len() <= 1,
            Kind::VersionTwice,
            version,
            format_args!("{} transactions", swipes.len()),
        );
        self.learning.reach(version);
        self.is_voided = names.iter().any(|it| !it.is_void && it.void_version > it.version);
        let hashes = names::check(self, version, names, swipes);
        let owed_wrongly = self.points.apply(entries);
        let detail = "points are owed that were there";
        self.require(!owed_wrongly, Kind::SpentWrongly, version, detail);
        for (swipe, content_hash) in swipes.iter().zip(hashes) {
            self.swipe(version, swipe, content_hash.as_deref(), entries, coupons);
        }
        if swipes.is_empty() {
            points::check_entries(self, version, None, entries);
        }
        points::check_adjustments(self, version, entries, adjustments);
    }

    /// A row stands at this version, so it is not bare.
    pub(super) fn explains(&mut self, version: i64) {
        self.bare_versions += (version - self.version - 1).max(0);
        self.version = self.version.max(version);
    }

    fn swipe(
        &mut self,
        version: i64,
        row: &SwipeRow,
        content_hash: Option<&[u8]>,
        entries: &[EntryRow],
        coupons: &[CouponRow],
    ) {
        let Some(kind) = swipe::Kind::from_code(row.kind) else {
            self.require(false, Kind::RecordDamaged, version, format_args!("kind {}", row.kind));
            return;
        };
        let counts = &mut self.ledger.counts;
        match kind {
            swipe::Kind::Sale => {
                counts.sales += 1;
                self.sales_minor += i128::from(row.total_minor);
                self.baskets += 1;
            }
            swipe::Kind::Training | swipe::Kind::SaleAfterVoid => counts.sales_not_counted += 1,
            swipe::Kind::Void | swipe::Kind::Tombstone => counts.voids += 1,
        }
        points::check_entries(self, version, Some((kind, row)), entries);
        swipes::check(self, version, kind, row, content_hash);
        receipts::check(self, version, kind, row, entries, coupons);
    }

    /// Compares the account's row with where its history has led.
    pub(super) fn end(mut self) {
        self.learning_ends();
        let Some(row) = self.row.take() else { return };
        self.bare_versions += (row.version - self.version).max(0);
        let (last, bare) = (self.version, self.bare_versions);
        self.require(
            last <= row.version,
            Kind::VersionBehind,
            None,
            format_args!("it is at version {}, its rows go up to {last}", row.version),
        );
        let explained = match self.state {
            Some(State::Enrolled) => self.cards + self.links_changed,
            Some(State::Merged) => 1,
            _ => 0,
        };
        self.require(
            bare <= explained,
            Kind::VersionMissing,
            None,
            format_args!("{bare} versions without any row, at most {explained} are explained"),
        );
        let (sales, baskets) = (self.sales_minor, self.baskets);
        self.require(
            i128::from(row.sales_minor) == sales,
            Kind::SalesDiffer,
            None,
            format_args!("it says {} minor units, its transactions {sales}", row.sales_minor),
        );
        self.require(
            i64::from(row.baskets) == baskets,
            Kind::BasketsDiffer,
            None,
            format_args!("it says {}, its transactions {baskets}", row.baskets),
        );
        self.clock(&row);
        self.lots(&row);
        self.tally(&row);
        self.state(&row);
        let counts = &mut self.ledger.counts;
        counts.sales_minor += sales;
        counts.points_outstanding += i128::from(row.total_points);
        match self.state {
            Some(State::Provisional) => counts.accounts_provisional += 1,
            Some(State::Enrolled) => counts.accounts_enrolled += 1,
            Some(State::House) => counts.accounts_house += 1,
            Some(State::Merged) => counts.accounts_merged += 1,
            Some(State::Blocked) => counts.accounts_blocked += 1,
            None => {}
        }
    }

    /// A transfer moves the clock to a day that leaves no trace when there were no points; so
    /// an equal clock is asked only of accounts that had none.
    fn clock(&mut self, row: &AccountRow) {
        let Some(latest) = self.latest else { return };
        let clock = row.clock;
        let detail = format!("its clock is {clock}, its latest business date {latest}");
        self.require(clock >= latest, Kind::ClockBehind, None, &detail);
        let is_exact =
            matches!(self.state, Some(State::Provisional | State::House | State::Blocked));
        self.require(!is_exact || clock <= latest, Kind::ClockAhead, None, &detail);
    }

    fn lots(&mut self, row: &AccountRow) {
        let total = self.points.total();
        self.require(
            i128::from(row.total_points) == total,
            Kind::TotalDiffers,
            None,
            format_args!("it says {}, its entries {total}", row.total_points),
        );
        let lots = match Lots::decode(&row.lots) {
            Ok(lots) => lots,
            Err(error) => return self.require(false, Kind::LotsDamaged, None, error),
        };
        let replayed = self.points.lots();
        let differ = lots != *replayed;
        let detail = format!("stored {}, by the entries {}", shown(&lots), shown(replayed));
        self.require(!differ, Kind::LotsDiffer, None, detail);
        let sorted = lots.iter().zip(lots.iter().skip(1)).all(|(one, next)| one.key < next.key);
        let signs = lots.iter().all(|lot| match lot.key {
            DEBT => {
                let alone = lots.iter().count() == 1;
                lot.points < 0 && (alone || self.points.owed_beside_points())
            }
            _ => lot.points > 0,
        });
        self.require(sorted && signs, Kind::LotImpossible, None, shown(&lots));
        // What an older version wrote says that nobody has looked yet.
        let next_expiry = lots.first_expiry();
        let stored = row.next_expiry;
        self.require(
            stored == next_expiry || stored == Some(CLOCK_START),
            Kind::NextExpiryDiffers,
            None,
            format_args!("it says {stored:?}, its lots {next_expiry:?}"),
        );
        let expired = lots.iter().find(|lot| lot.key.expires_on < row.clock);
        if let Some(lot) = expired {
            let detail = format!("{} points until {}", lot.points, lot.key.expires_on);
            self.require(false, Kind::LotExpired, None, detail);
        }
        if let Some(expires_on) = self.points.latest_expired().filter(|day| *day >= row.clock) {
            let detail = format!("points until {expires_on}, its clock is {}", row.clock);
            self.require(false, Kind::ExpiryEarly, None, detail);
        }
        self.ledger.counts.points_owed += i128::from(lots.debt());
        self.ledger.transferred += self.points.transferred();
        if self.is_house() {
            let empty = lots == Lots::default() && self.points.is_untouched();
            self.require(empty, Kind::HouseHolds, None, "points or entries");
        }
        if self.state == Some(State::Merged) {
            self.require(lots == Lots::default(), Kind::MergedHolds, None, shown(&lots));
        }
    }

    fn state(&mut self, row: &AccountRow) {
        let (cards, members) = (self.cards, self.members);
        let state = self.state;
        self.require(
            state.is_some(),
            Kind::AccountMissing,
            None,
            format_args!("state {}", row.state),
        );
        match state {
            Some(State::Provisional | State::Blocked) => {
                self.require(cards > 0, Kind::ProvisionalAstray, None, "no card leads to it");
                self.require(members == 0, Kind::ProvisionalAstray, None, "it has a member");
            }
            Some(State::House) => {
                let known = self.ledger.reference.house_found(self.account_id);
                self.require(known, Kind::HouseAstray, None, "no workstation has it");
                self.require(members == 0, Kind::HouseHolds, None, "a member");
            }
            Some(State::Merged) => self.require(
                row.target_state == Some(State::Enrolled as i16),
                Kind::MergedAstray,
                None,
                format_args!("state of the other one: {:?}", row.target_state),
            ),
            _ => {}
        }
    }
}

/// Lots in words, the first few of them.
fn shown(lots: &Lots) -> String {
    const SHOWN: usize = 4;
    let mut parts: Vec<String> = lots
        .iter()
        .take(SHOWN)
        .map(|lot| match lot.key {
            DEBT => format!("{} owed", lot.points),
            key => format!("{} from {} to {}", lot.points, key.available_from, key.expires_on),
        })
        .collect();
    let more = lots.iter().count().saturating_sub(SHOWN);
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    if parts.is_empty() { "nothing".into() } else { parts.join("; ") }
}
