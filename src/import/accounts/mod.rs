//! The file of accounts: what its columns are, and the accounts that its rows make up.
//!
//! An account is spread over as many rows as it has cards, members or lots; the column
//! `account` holds them together and is not kept. Member values never leave this module
//! but inside the records, and never stand in a finding.

pub(super) mod sql;

use std::collections::HashMap;

use jiff::civil::Date;

use crate::domain::card::CardFormat;
use crate::domain::ledger::NEVER;
use crate::domain::payment_card::{self, Field};
use crate::import::cells::Cells;
use crate::import::findings::{Findings, Place};
use crate::import::table::{Column, Table, TableError};

/// The columns of a file of accounts.
pub const COLUMNS: &[Column] = &[
    Column {
        name: "account",
        required: true,
        meaning: "any key; the rows with the same key are one account (the key is not kept)",
    },
    Column { name: "card", required: true, meaning: "a card of it; an account has at least one" },
    Column { name: "given_name", required: false, meaning: "of a member" },
    Column { name: "family_name", required: false, meaning: "of a member" },
    Column { name: "birthday", required: false, meaning: "of a member, YYYY-MM-DD" },
    Column { name: "email", required: false, meaning: "of a member" },
    Column { name: "phone", required: false, meaning: "of a member, best as +15550100" },
    Column {
        name: "consents",
        required: false,
        meaning: "what the member agreed to, with semicolons: email;post;profiling",
    },
    Column {
        name: "joined_on",
        required: false,
        meaning: "of a member; empty: the day of the import",
    },
    Column {
        name: "points",
        required: false,
        meaning: "an opening lot; every row that has points adds one",
    },
    Column {
        name: "expires_on",
        required: false,
        meaning: "last day of the row's points; empty: they never expire",
    },
];

/// An account as a file describes it.
#[derive(Clone, Debug)]
pub struct AccountRecord {
    /// Where its first row stands.
    pub place: Place,
    /// Its cards, each once.
    pub cards: Vec<String>,
    /// Its members, in the order of the file.
    pub members: Vec<MemberRecord>,
    /// Its opening lots.
    pub lots: Vec<LotRecord>,
}

/// A person on an account.
#[derive(Clone, PartialEq, Eq)]
pub struct MemberRecord {
    /// Given name.
    pub given_name: Option<String>,
    /// Family name.
    pub family_name: Option<String>,
    /// Date of birth.
    pub birthday: Option<Date>,
    /// Electronic mail address.
    pub email: Option<String>,
    /// Telephone number.
    pub phone: Option<String>,
    /// What the person agreed to.
    pub consents: Vec<String>,
    /// Since when.
    pub joined_on: Date,
}

impl std::fmt::Debug for MemberRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemberRecord(personal data)")
    }
}

/// Points with which an account begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LotRecord {
    /// How many; positive.
    pub points: i64,
    /// The last business date on which they can be spent.
    pub expires_on: Date,
}

/// Reads a file of accounts. `on` is the business date of the import.
///
/// # Errors
/// When the file is not such a table; what is wrong with rows stands in the findings.
pub fn read(
    table: Table,
    format: &CardFormat,
    on: Date,
    findings: &mut Findings,
    mut progress: impl FnMut(u64),
) -> Result<Vec<AccountRecord>, TableError> {
    let mut accounts: Vec<AccountRecord> = Vec::new();
    let mut by_key: HashMap<String, usize> = HashMap::new();
    let mut card_owner: HashMap<String, usize> = HashMap::new();
    table.for_each(|row| {
        progress(1);
        let mut cells = Cells::new(row, findings);
        let Some(key) = cells.required("account", 200, Field::Sku) else { return };
        let place = cells.place();
        let at = *by_key.entry(key).or_insert_with(|| {
            accounts.push(AccountRecord {
                place,
                cards: Vec::new(),
                members: Vec::new(),
                lots: Vec::new(),
            });
            accounts.len() - 1
        });
        let account = &mut accounts[at];
        let admits = |card: &str| format.admits(card);
        if let Some(card) = cells.admitted("card", admits, "is not a card by the chain's format") {
            match card_owner.insert(card.clone(), at) {
                None => account.cards.push(card),
                Some(owner) if owner == at => {}
                Some(_) => cells.refuse("card", "stands under another account of the file too"),
            }
        } else if cells.is_set("card") {
            // The finding is noted; the account is not to be blamed for having no card as well.
            account.cards.push(String::new());
        }
        if let Some(member) = member(&mut cells, on)
            && !account.members.contains(&member)
        {
            account.members.push(member);
        }
        account.lots.extend(lot(&mut cells, on));
    })?;
    for account in accounts.iter().filter(|account| account.cards.is_empty()) {
        findings.add(account.place, "card", "the account has no card in any of its rows");
    }
    for account in accounts.iter().filter(|account| account.members.len() > MEMBERS_MAX) {
        findings.add(account.place, "account", format!("has more than {MEMBERS_MAX} members"));
    }
    for account in accounts.iter().filter(|account| account.lots.len() > LOTS_MAX) {
        findings.add(account.place, "points", format!("the account has more than {LOTS_MAX} lots"));
    }
    Ok(accounts)
}

const MEMBERS_MAX: usize = 100;
const LOTS_MAX: usize = 1_000;

/// The member that a row describes; none when no column of a member is set.
fn member(cells: &mut Cells<'_>, on: Date) -> Option<MemberRecord> {
    let columns =
        ["given_name", "family_name", "birthday", "email", "phone", "consents", "joined_on"];
    if !columns.iter().any(|column| cells.is_set(column)) {
        return None;
    }
    let birthday = cells.date("birthday");
    if birthday.is_some_and(|birthday| birthday > on) {
        cells.refuse("birthday", "must not lie in the future");
    }
    let email = |text: &str| {
        text.len() <= 254
            && text.split_once('@').is_some_and(|(l, r)| !l.is_empty() && r.contains('.'))
            && !text.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    let consent =
        |text: &str| text.len() <= 32 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    Some(MemberRecord {
        given_name: cells.text("given_name", 100, Field::Text),
        family_name: cells.text("family_name", 100, Field::Text),
        birthday,
        email: cells.admitted("email", email, "must be an address such as a.person@example.org"),
        phone: cells.admitted("phone", is_phone, "must be 5 to 15 digits, best as +15550100"),
        consents: cells.list("consents", consent, "each must be a word of a-z and -"),
        joined_on: cells.date("joined_on").unwrap_or(on),
    })
}

/// E.164 has at most 15 digits, as some payment cards do: without the plus sign that marks
/// an international number, a number that could be a payment card's is none.
fn is_phone(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let shape = text
        .char_indices()
        .all(|(at, c)| c.is_ascii_digit() || " -/.()".contains(c) || (c == '+' && at == 0));
    shape
        && (5..=15).contains(&digits)
        && text.len() <= 32
        && (text.starts_with('+') || !payment_card::found_in(text, Field::Text))
}

fn lot(cells: &mut Cells<'_>, on: Date) -> Option<LotRecord> {
    if !cells.is_set("points") {
        if cells.is_set("expires_on") {
            cells.refuse("points", "must not be empty where expires_on is set");
        }
        return None;
    }
    let points = cells.number("points", 1);
    let expires_on = cells.date("expires_on").unwrap_or(NEVER);
    if expires_on < on {
        cells.refuse("expires_on", &format!("has passed on {on}; leave these points out"));
    }
    Some(LotRecord { points: points?, expires_on })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use jiff::civil::date;

    use super::*;

    const ON: Date = date(2026, 3, 14);

    fn parse(text: &str) -> (Vec<AccountRecord>, String) {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        let table = Table::open(file.path(), COLUMNS).expect("a table");
        let mut findings = Findings::default();
        let format = CardFormat {
            length_min: 13,
            length_max: 13,
            letters: false,
            check_digit: true,
            prefixes: vec!["299".into()],
        };
        let accounts = read(table, &format, ON, &mut findings, |_| ()).expect("readable");
        (accounts, findings.to_string())
    }

    #[test]
    fn rows_with_the_same_key_are_one_account() {
        let (accounts, findings) = parse(
            "account,card,given_name,email,consents,points,expires_on\n\
             a,2990000000019,Ada,ada@example.org,email;post,100,2026-06-30\n\
             b,2990000000026,,,,,\n\
             a,2990000000033,,,,25,\n\
             a,2990000000019,Ada,ada@example.org,email;post,,\n\
             a,,Ben,,,,\n",
        );
        assert_eq!(findings, "");
        assert_eq!(accounts.len(), 2);
        let [a, b] = accounts.as_slice() else { unreachable!("two accounts") };
        assert_eq!(a.cards, ["2990000000019", "2990000000033"]);
        let names: Vec<_> = a.members.iter().map(|m| m.given_name.as_deref()).collect();
        assert_eq!(names, [Some("Ada"), Some("Ben")]);
        assert_eq!(a.members[0].consents, ["email", "post"]);
        assert_eq!(a.members[1].joined_on, ON);
        assert_eq!(
            a.lots,
            [
                LotRecord { points: 100, expires_on: date(2026, 6, 30) },
                LotRecord { points: 25, expires_on: NEVER }
            ]
        );
        assert!(b.members.is_empty() && b.lots.is_empty());
    }

    #[test]
    fn every_bad_cell_is_named_and_no_value_is_echoed() {
        let (_, findings) = parse(
            "account,card,birthday,email,phone,points,expires_on\n\
             a,2990000000018,2030-01-01,nobody,call me,0,\n\
             b,2990000000019,,,,5,2026-03-13\n\
             c,2990000000019,,,,,2027-01-01\n\
             ,2990000000026,,,,,\n\
             d,,,,4111 1111 1111 111,,\n",
        );
        assert_eq!(
            findings,
            "line 2, column card: is not a card by the chain's format\n\
             line 2, column birthday: must not lie in the future\n\
             line 2, column email: must be an address such as a.person@example.org\n\
             line 2, column phone: must be 5 to 15 digits, best as +15550100\n\
             line 2, column points: must be a whole number, 1 or more, such as 398\n\
             line 3, column expires_on: has passed on 2026-03-14; leave these points out\n\
             line 4, column card: stands under another account of the file too\n\
             line 4, column points: must not be empty where expires_on is set\n\
             line 5, column account: must not be empty\n\
             line 4, column card: the account has no card in any of its rows\n\
             line 6, column card: the account has no card in any of its rows"
        );
    }

    #[test]
    fn telephone_numbers_are_told_from_payment_cards() {
        for (text, admitted) in [
            ("+15550100", true),
            ("555 0100", true),
            ("(555) 0100-22", true),
            // Thirteen digits beginning with 4 that satisfy Luhn's formula.
            ("+4000000000006", true),
            ("4000000000006", false),
            ("1234", false),
            ("+1 555 0100 ext. 7", false),
        ] {
            assert_eq!(is_phone(text), admitted, "{text}");
        }
    }
}
