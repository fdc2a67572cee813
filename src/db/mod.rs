//! PostgreSQL: connections, errors, schema, and the private server of demo and tests.

/// What the database answered instead of a result.
#[derive(Debug, thiserror::Error)]
#[error("database")]
pub struct DbError;
