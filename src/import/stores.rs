//! The file of stores: what its columns are, and the stores that it names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::tz::TimeZone;

use super::cells::Cells;
use super::findings::{Findings, Place};
use super::table::{Column, Table, TableError};
use crate::domain::name::is_place_id;
use crate::domain::payment_card::Field;

/// The columns of a file of stores.
pub const COLUMNS: &[Column] = &[
    Column {
        name: "store_id",
        required: true,
        meaning: "1 to 16 of A-Z a-z 0-9 . _ -; leading zeros are kept",
    },
    Column { name: "name", required: true, meaning: "for people" },
    Column {
        name: "time_zone",
        required: false,
        meaning: "IANA name, such as America/Chicago; empty: the chain's",
    },
    Column {
        name: "workstations",
        required: false,
        meaning: "ids as a list with semicolons (01;02), or one row for each",
    },
];

/// A store with its workstations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRecord {
    /// ARTS `RetailStoreID`.
    pub store_id: String,
    /// For people.
    pub name: String,
    /// IANA name of its time zone.
    pub time_zone: String,
    /// ARTS `WorkstationID`s, each once.
    pub workstations: Vec<String>,
}

/// Reads a file of stores. Stores without a time zone get the chain's.
///
/// # Errors
/// When the file is not such a table; what is wrong with rows stands in the findings.
pub fn read(
    table: Table,
    chain_time_zone: &str,
    findings: &mut Findings,
    mut progress: impl FnMut(u64),
) -> Result<Vec<StoreRecord>, TableError> {
    let mut stores: Vec<StoreRecord> = Vec::new();
    let mut seen: HashMap<String, (usize, Place)> = HashMap::new();
    table.for_each(|row| {
        progress(1);
        let mut cells = Cells::new(row, findings);
        let Some(store) = record(&mut cells, chain_time_zone) else { return };
        match seen.entry(store.store_id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert((stores.len(), cells.place()));
                stores.push(store);
            }
            Entry::Occupied(entry) => {
                let (at, first) = *entry.get();
                merge(&mut stores[at], store, first, &mut cells);
            }
        }
    })?;
    Ok(stores)
}

fn record(cells: &mut Cells<'_>, chain_time_zone: &str) -> Option<StoreRecord> {
    const ID: &str = "must be 1 to 16 of A-Z a-z 0-9 . _ -";
    if !cells.is_set("store_id") {
        cells.refuse("store_id", "must not be empty");
    }
    let store_id = cells.admitted("store_id", is_place_id, ID);
    let name = cells.required("name", 200, Field::Text);
    let zone_is_known = |zone: &str| TimeZone::get(zone).is_ok();
    let zone_given = cells.is_set("time_zone");
    let time_zone = cells
        .admitted("time_zone", zone_is_known, "must be an IANA name, such as America/Chicago")
        .or_else(|| (!zone_given).then(|| chain_time_zone.to_owned()));
    let workstations =
        cells.list("workstations", is_place_id, "each must be 1 to 16 of A-Z a-z 0-9 . _ -");
    let mut store =
        StoreRecord { store_id: store_id?, name: name?, time_zone: time_zone?, workstations };
    store.workstations.sort();
    store.workstations.dedup();
    Some(store)
}

/// A further row of a store: it may only add workstations.
fn merge(store: &mut StoreRecord, further: StoreRecord, first: Place, cells: &mut Cells<'_>) {
    if store.name != further.name {
        cells.refuse("name", &format!("differs from {first}, where the same store stands"));
    }
    if store.time_zone != further.time_zone {
        cells.refuse("time_zone", &format!("differs from {first}, where the same store stands"));
    }
    if further.workstations.is_empty() {
        cells.refuse("workstations", &format!("adds nothing to {first}, the same store"));
    }
    for id in further.workstations {
        if store.workstations.contains(&id) {
            cells.refuse("workstations", &format!("the store has workstation {id} already"));
        } else {
            store.workstations.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn parse(text: &str) -> (Vec<StoreRecord>, String) {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        let table = Table::open(file.path(), COLUMNS).expect("a table");
        let mut findings = Findings::default();
        let stores = read(table, "America/New_York", &mut findings, |_| ()).expect("readable");
        (stores, findings.to_string())
    }

    #[test]
    fn workstations_are_a_list_or_one_row_each() {
        let (stores, findings) = parse(
            "store_id,name,time_zone,workstations\n\
             0367,Main Street,America/Chicago,02;01\n\
             0368,Harbour,,01\n\
             0368,Harbour,,02\n",
        );
        assert_eq!(findings, "");
        let store = |id: &str, name: &str, zone: &str| StoreRecord {
            store_id: id.into(),
            name: name.into(),
            time_zone: zone.into(),
            workstations: vec!["01".into(), "02".into()],
        };
        assert_eq!(
            stores,
            [
                store("0367", "Main Street", "America/Chicago"),
                store("0368", "Harbour", "America/New_York")
            ]
        );
    }

    #[test]
    fn every_bad_cell_is_named_with_its_remedy() {
        let (_, findings) = parse(
            "store_id,name,time_zone,workstations\n\
             a b,X,Mars/Base,01;?\n\
             1,Y,,01\n\
             1,Z,,01\n\
             ,,,\n\
             ,N,,\n",
        );
        assert_eq!(
            findings,
            "line 2, column store_id: must be 1 to 16 of A-Z a-z 0-9 . _ -\n\
             line 2, column time_zone: must be an IANA name, such as America/Chicago\n\
             line 2, column workstations: each must be 1 to 16 of A-Z a-z 0-9 . _ -\n\
             line 4, column name: differs from line 3, where the same store stands\n\
             line 4, column workstations: the store has workstation 01 already\n\
             line 6, column store_id: must not be empty"
        );
    }
}
