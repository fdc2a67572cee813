//! Reference data as an audit needs it: from the numbers that rows hold back to what tills say.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::findings::{Findings, Kind};
use super::sql::Name;
use crate::catalogue::{Snapshot, Workstation};
use crate::domain::bucket;
use crate::domain::name::SwipeName;

/// Stores, workstations, epochs and articles.
pub(super) struct Reference {
    pub(super) snapshot: Snapshot,
    places: HashMap<i32, Place>,
    skus: HashMap<u32, String>,
    /// Workstations by their house account, until that is found.
    unseen_houses: HashMap<i64, i32>,
}

struct Place {
    store_id: String,
    workstation_id: String,
    workstation: Arc<Workstation>,
}

impl Reference {
    /// `buckets` are those whose house accounts must turn up.
    pub(super) fn new(
        snapshot: Snapshot,
        buckets: &RangeInclusive<u8>,
        findings: &mut Findings,
    ) -> Self {
        let mut places = HashMap::new();
        let mut unseen_houses = HashMap::new();
        for (store_id, workstation_id, workstation) in snapshot.workstations() {
            let Workstation { workstation_no, house_account, bucket, .. } = **workstation;
            findings.require(
                bucket::of_account(house_account) == bucket,
                Kind::BucketWrong,
                format_args!("workstation {store_id}/{workstation_id}"),
                format_args!("its house account {house_account} is not of bucket {bucket}"),
            );
            if buckets.contains(&bucket::of_account(house_account)) {
                unseen_houses.insert(house_account, workstation_no);
            }
            let (store_id, workstation_id) = (store_id.to_owned(), workstation_id.to_owned());
            let workstation = Arc::clone(workstation);
            places.insert(workstation_no, Place { store_id, workstation_id, workstation });
        }
        let skus = snapshot.skus().map(|(number, sku)| (number, sku.to_owned())).collect();
        Self { snapshot, places, skus, unseen_houses }
    }

    /// A name as tills write it; none when its workstation does not exist.
    pub(super) fn swipe_name(&self, name: &Name) -> Option<SwipeName> {
        let Place { store_id, workstation_id, .. } = self.places.get(&name.workstation_no)?;
        Some(SwipeName {
            store_id: store_id.clone(),
            workstation_id: workstation_id.clone(),
            business_date: name.business_date,
            sequence_number: name.sequence_number,
        })
    }

    pub(super) fn workstation(&self, workstation_no: i32) -> Option<&Workstation> {
        self.places.get(&workstation_no).map(|place| &*place.workstation)
    }

    /// How tills name an article.
    pub(super) fn sku(&self, product_no: u32) -> Option<&str> {
        self.skus.get(&product_no).map(String::as_str)
    }

    /// Notes that a house account exists; whether a workstation has it.
    pub(super) fn house_found(&mut self, account_id: i64) -> bool {
        self.unseen_houses.remove(&account_id).is_some()
    }

    /// Names the workstations whose house account was not found.
    pub(super) fn finish(&self, findings: &mut Findings) {
        for (account_id, workstation_no) in &self.unseen_houses {
            findings.add(
                Kind::HouseAstray,
                format_args!("workstation {workstation_no}"),
                format_args!("its house account {account_id} is not there"),
            );
        }
    }
}
