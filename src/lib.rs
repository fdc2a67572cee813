//! Tillside: loyalty at the till.
//!
//! The modules in reading order. ARCHITECTURE.md has the map and the arguments.

pub mod accounts;
pub mod catalogue;
pub mod cli;
pub mod commit;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
pub mod http;
pub mod import;
pub mod journey;
pub mod metrics;
pub mod receipt;
pub mod replay;
pub mod sealing;
pub mod till;
