//! What can go wrong in operation. Refusals are values of `domain`, bugs are panics;
//! this is the third kind: the world did not do its part.

use std::time::Duration;

/// An operational failure. `http::problem` is the only place that turns it into a status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More was waiting than may wait; nothing was done.
    #[error("too much is waiting")]
    Overloaded {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The caller's deadline passed before anything was sent to the database.
    #[error("the deadline passed before the work began")]
    DeadlineExceeded,
    /// The work may or may not have been committed; asking again under the same name tells.
    #[error("the outcome is not known yet")]
    OutcomeUnknown,
    /// The work met a bug of ours and was not done.
    #[error("a bug stopped the work")]
    Bug,
    /// The database said no, or could not be reached.
    #[error(transparent)]
    Database(#[from] crate::db::DbError),
    /// Stored bytes could not be read back.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
}
