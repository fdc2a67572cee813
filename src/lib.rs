//! Tillside: loyalty at the till.
//!
//! The modules in reading order. ARCHITECTURE.md has the map and the arguments.

pub mod cli;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
pub mod http;
pub mod metrics;
pub mod sealing;
pub mod till;
