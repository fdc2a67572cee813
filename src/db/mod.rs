//! PostgreSQL: connections, errors, schema, and the private server of demo and tests.
//!
//! Owns how the service reaches a database and what it may expect there. No statement of a
//! flow lives here; those are in the `sql.rs` of each operation and in `commit`.

pub mod error;
pub mod pool;
pub mod private;
pub mod schema;

pub use error::DbError;
