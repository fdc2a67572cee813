//! The integration tests, in one binary: real PostgreSQL, real router, no mocks.
//!
//! `support` holds what tests share. A test file is named for what it shows.

mod support;

mod database_errors;
mod import;
mod private_postgres;
mod schema;
mod swipe;
mod verify;
