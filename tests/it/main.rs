//! The integration tests, in one binary: real PostgreSQL, real router, no mocks.
//!
//! `support` holds what tests share. A test file is named for what it shows.

mod support;

mod bad_bodies;
mod database_errors;
mod framing;
mod import;
mod openapi;
mod operations;
mod private_postgres;
mod schema;
mod signatures;
mod swipe;
