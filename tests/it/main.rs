//! The integration tests, in one binary: real PostgreSQL, real router, no mocks.
//!
//! `support` holds what tests share. A test file is named for what it shows.

mod support;

mod bad_bodies;
mod database_errors;
mod framing;
mod generated_bodies;
mod import;
mod keys;
mod openapi;
mod operations;
mod private_postgres;
mod problem_texts;
mod refused_bodies;
mod schema;
mod signatures;
mod swipe;
