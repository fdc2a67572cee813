//! The integration tests, in one binary: real PostgreSQL, real router, no mocks.
//!
//! `support` holds what tests share. A test file is named for what it shows.

mod support;

mod batches;
mod cards;
mod database_errors;
mod demo;
mod faults;
mod import;
mod orders;
mod private_postgres;
mod profiles;
mod races;
mod receipts;
mod replay;
mod schema;
mod swipe;
mod verify;
mod voids;
