//! The integration tests, in one binary: real PostgreSQL, real router, no mocks.
//!
//! `support` holds what tests share. A test file is named for what it shows.

mod support;

mod private_postgres;
