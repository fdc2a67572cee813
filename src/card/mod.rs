//! Cards at the till: how an account stands, and who it belongs to.
//!
//! | call    | round trips                                                          |
//! |---------|----------------------------------------------------------------------|
//! | look up | 2 reads of the primary: card, account                                |
//! | enrol   | 2 to find or open, BEGIN and locks, reads, 1 statement with COMMIT   |
//!
//! Enrolment writes through [`crate::commit`], like everything that an account owns.

pub mod http;
mod sql;
