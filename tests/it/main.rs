//! The integration tests, in one binary: real PostgreSQL, real router, no mocks.
//!
//! `support` holds what tests share. A test file is named for what it shows.

mod support;

mod account_views;
mod bad_bodies;
mod batches;
mod budgets;
mod cards;
mod cards_api;
mod chaos;
mod contention;
mod coupons;
mod coupons_api;
mod database_errors;
mod demo;
mod deploy;
mod desk;
mod disks;
mod expiries;
mod exports;
mod faults;
mod framing;
mod generated_bodies;
mod import;
mod keys;
mod lost_answers;
mod model;
mod offers_api;
mod office;
mod openapi;
mod operations;
mod orders;
mod pgbench;
mod private_postgres;
mod problem_texts;
mod profiles;
mod programme;
mod programme_api;
mod proxied;
mod races;
mod receipts;
mod refused_bodies;
mod replay;
mod round_trips;
mod schema;
mod siding;
mod signatures;
mod spending;
mod statement;
mod stock;
mod swipe;
mod tiers;
mod verify;
mod voids;
