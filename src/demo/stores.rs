//! The stores of the demo: three, in time zones of their own.

use crate::import::stores::StoreRecord;

/// A store that the demo makes.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) store_id: &'static str,
    pub(super) name: &'static str,
    pub(super) time_zone: &'static str,
    pub(super) workstations: &'static [&'static str],
}

/// Three digits, so that no store of a data set with longer ids is ever one of these.
pub(super) const STORES: [Store; 3] = [
    Store {
        store_id: "101",
        name: "Harbor Street",
        time_zone: "America/New_York",
        workstations: &["01", "02", "03"],
    },
    Store {
        store_id: "204",
        name: "Prairie Avenue",
        time_zone: "America/Chicago",
        workstations: &["01", "02"],
    },
    Store {
        store_id: "307",
        name: "Canyon Road",
        time_zone: "America/Los_Angeles",
        workstations: &["01", "02", "03"],
    },
];

/// The stores as they are imported.
pub(super) fn records() -> Vec<StoreRecord> {
    let record = |store: &Store| StoreRecord {
        store_id: store.store_id.to_owned(),
        name: store.name.to_owned(),
        time_zone: store.time_zone.to_owned(),
        workstations: store.workstations.iter().map(|id| (*id).to_owned()).collect(),
    };
    STORES.iter().map(record).collect()
}

/// Every terminal of the demo: store and workstation.
pub fn terminals() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of = |store: &'static Store| store.workstations.iter().map(|id| (store.store_id, *id));
    STORES.iter().flat_map(of)
}
