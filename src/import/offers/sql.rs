//! The statements of an import of offers. Offers are added, each with its line in the audit trail;
//! one that exists is never changed.

use std::collections::HashMap;

use jiff::Timestamp;
use tokio_postgres::types::Type;

use super::OfferRecord;
use crate::catalogue::{self, Snapshot};
use crate::db::DbError;
use crate::domain::offer::Definition;
use crate::error::Error;
use crate::import::sql::Import;

const KNOWN_OFFERS: &str = "\
-- import::offers::known_offers
SELECT offer_id, definition::text AS definition FROM offer
WHERE offer_id = ANY($1::text[] /* offer_id */)";

// Numbered in the order of the file: their numbers are handed out after the sorting.
const WRITE_OFFERS: &str = "\
-- import::offers::write_offers
INSERT INTO offer (offer_id, definition, created_at)
SELECT offer_id, definition::jsonb, $3::timestamptz /* created_at */
FROM unnest($1::text[] /* offer_id */, $2::text[] /* definition */)
    WITH ORDINALITY AS i (offer_id, definition, n)
ORDER BY n";

const AUDIT_OFFERS: &str = "\
-- import::offers::write_offers
INSERT INTO audit (at, user_no, action, object, fields)
SELECT $2::timestamptz /* at */, NULL, 'offer.add', 'offer:' || offer_id, '{definition}'
FROM unnest($1::text[] /* offer_id */) WITH ORDINALITY AS i (offer_id, n)
ORDER BY n";

impl Import<'_> {
    /// The catalogue, the stores and the offers as they are under the lock of this import.
    pub(in crate::import) async fn snapshot(&self) -> Result<Snapshot, Error> {
        catalogue::load_for_audit(self.0.client()).await
    }

    /// Those of the offers that exist, by name, as they are stored.
    pub(in crate::import) async fn known_offers(
        &self,
        offers: &[OfferRecord],
    ) -> Result<HashMap<String, Definition>, Error> {
        let names: Vec<&str> = offers.iter().map(|offer| &*offer.definition.offer).collect();
        let rows = self.0.query_typed(KNOWN_OFFERS, &[(&names, Type::TEXT_ARRAY)]).await;
        rows.map_err(DbError::from)?
            .iter()
            .map(|row| {
                let (name, text): (String, &str) = (row.get("offer_id"), row.get("definition"));
                let definition = serde_json::from_str(text)
                    .map_err(|error| Error::Damaged(format!("offer {name}: {error}")))?;
                Ok((name, definition))
            })
            .collect()
    }

    /// Adds offers, in this order.
    pub(in crate::import) async fn write_offers(
        &self,
        offers: &[&Definition],
        now: Timestamp,
    ) -> Result<(), DbError> {
        let names: Vec<&str> = offers.iter().map(|offer| &*offer.offer).collect();
        let text = |offer: &&Definition| {
            serde_json::to_string(offer).expect("definitions are texts and numbers")
        };
        let definitions: Vec<String> = offers.iter().map(text).collect();
        let written = self
            .0
            .execute_typed(
                WRITE_OFFERS,
                &[
                    (&names, Type::TEXT_ARRAY),
                    (&definitions, Type::TEXT_ARRAY),
                    (&now, Type::TIMESTAMPTZ),
                ],
            )
            .await?;
        let traced = self
            .0
            .execute_typed(AUDIT_OFFERS, &[(&names, Type::TEXT_ARRAY), (&now, Type::TIMESTAMPTZ)])
            .await?;
        let expected = offers.len() as u64;
        assert_eq!((written, traced), (expected, expected), "plain inserts write every row");
        Ok(())
    }
}
