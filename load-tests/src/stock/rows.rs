//! Rows in PostgreSQL's binary COPY format, a buffer for each table. Knows the columns and
//! nothing of what stands in them.

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use tillside::domain::account::Account;
use tillside::domain::bucket;
use tillside::domain::codec::days;
use tillside::domain::content::ContentHash;
use tillside::domain::ledger::Entry;
use tokio::sync::mpsc::Sender;

use super::copy::{ACCOUNT, CARD, ENTRY, KEY, MONTHS, PROFILE, SWIPE, TABLES};

/// Microseconds from 1970 to 2000, where PostgreSQL's times begin.
const TIMES_BEGIN_US: i64 = 946_684_800_000_000;

/// What is collected until it is sent.
pub(super) struct Rows {
    buffers: Vec<Buffer>,
}

#[derive(Clone, Default)]
struct Buffer {
    bytes: Vec<u8>,
}

/// What identifies a swipe, as it is stored.
#[derive(Clone, Copy)]
pub(super) struct Name {
    pub(super) bucket: u8,
    pub(super) workstation_no: i32,
    pub(super) business_date: Date,
    pub(super) sequence_number: i64,
}

/// What a row of `swipe` has besides its name and account.
pub(super) struct Swiped<'a> {
    pub(super) version: i64,
    pub(super) epoch: i32,
    pub(super) occurred_at: Timestamp,
    pub(super) recorded_at: Timestamp,
    pub(super) total_minor: i64,
    pub(super) earned: i64,
    pub(super) record: &'a [u8],
    pub(super) receipt: &'a [u8],
}

impl Rows {
    pub(super) fn new() -> Self {
        Self { buffers: vec![Buffer::default(); TABLES.len() - 1 + MONTHS] }
    }

    /// Hands everything over and is empty again. Waits while PostgreSQL is behind.
    pub(super) fn send_to(&mut self, sinks: &[Sender<Bytes>]) {
        for (buffer, sink) in self.buffers.iter_mut().zip(sinks) {
            if !buffer.bytes.is_empty() {
                let bytes = std::mem::take(&mut buffer.bytes);
                buffer.bytes.reserve(bytes.len());
                let _ = sink.blocking_send(bytes.into());
            }
        }
    }

    /// `tail_since` is the day of the first basket since the checkpoint.
    pub(super) fn account(&mut self, account: &Account, tail_since: Date) {
        let row = self.buffers[ACCOUNT].row(13);
        row.i64(account.account_id).i64(account.version).i64(account.lots.total());
        row.i64(account.sales_minor).i32(account.baskets).date(account.clock);
        row.bucket(account.account_id).i16(account.state as i16).bytes(&account.lots.encode());
        match account.lots.first_expiry() {
            Some(day) => row.date(day),
            None => row.null(),
        };
        row.date(tail_since).i64(account.version);
        match account.tally.encode() {
            Some(tally) => row.bytes(&tally),
            None => row.null(),
        };
    }

    pub(super) fn card(&mut self, account_id: i64, card: &str, linked_at: Timestamp) {
        let row = self.buffers[CARD].row(4);
        row.i64(account_id).timestamp(linked_at);
        row.i16(bucket::of_card(card).into()).bytes(card.as_bytes());
    }

    pub(super) fn key(&mut self, account_id: i64, version: i64, name: Name, hash: &ContentHash) {
        let row = self.buffers[KEY].row(8);
        row.i64(name.sequence_number).i64(account_id).i64(version).i64(0);
        row.date(name.business_date).i32(name.workstation_no);
        row.i16(name.bucket.into()).bytes(hash);
    }

    /// `month` counts from the first one of the stock.
    pub(super) fn swipe(&mut self, month: usize, account_id: i64, name: Name, it: &Swiped<'_>) {
        let row = self.buffers[SWIPE + month].row(16);
        row.i64(account_id).i64(it.version).i64(name.sequence_number).i64(it.total_minor);
        row.i64(it.earned).i64(0).timestamp(it.occurred_at).timestamp(it.recorded_at);
        row.date(name.business_date).i32(name.workstation_no).i32(it.epoch).bucket(account_id);
        row.i16(0).bytes(it.record).bytes(it.receipt).i64(0);
    }

    pub(super) fn entries(
        &mut self,
        account_id: i64,
        version: i64,
        business_date: Date,
        entries: &[Entry],
    ) {
        for (entry, entry_no) in entries.iter().zip(0..) {
            let row = self.buffers[ENTRY].row(9);
            row.i64(account_id).i64(version).i64(entry.points);
            row.date(entry.lot.available_from).date(entry.lot.expires_on).date(business_date);
            row.bucket(account_id).i16(entry_no).i16(entry.kind as i16);
        }
    }

    pub(super) fn profile(&mut self, account_id: i64, version: i64, encoding: u8, data: &[u8]) {
        let row = self.buffers[PROFILE].row(5);
        row.i64(account_id).i64(version).bucket(account_id).i16(encoding.into()).bytes(data);
    }
}

impl Buffer {
    fn row(&mut self, columns: i16) -> &mut Self {
        self.bytes.extend_from_slice(&columns.to_be_bytes());
        self
    }

    fn bytes(&mut self, value: &[u8]) -> &mut Self {
        let length = i32::try_from(value.len()).expect("values of a row are small");
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    fn null(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    fn i16(&mut self, value: i16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    fn bucket(&mut self, account_id: i64) -> &mut Self {
        self.i16(bucket::of_account(account_id).into())
    }

    fn date(&mut self, value: Date) -> &mut Self {
        self.i32(days(value))
    }

    fn timestamp(&mut self, value: Timestamp) -> &mut Self {
        self.i64(value.as_microsecond() - TIMES_BEGIN_US)
    }
}
