//! Tillside: loyalty at the till.
//!
//! The modules in reading order. ARCHITECTURE.md has the map and the arguments.

pub mod account;
pub mod accounts;
pub mod app;
pub mod card;
pub mod catalogue;
pub mod cli;
pub mod commit;
pub mod config;
pub mod db;
pub mod decision;
pub mod demo;
pub mod domain;
pub mod error;
pub mod evaluate;
pub mod expiry;
pub mod export;
pub mod http;
pub mod import;
pub mod journey;
pub mod learn;
pub mod learning;
pub mod member_prices;
pub mod metrics;
pub mod offer;
pub mod office;
pub mod programme;
pub mod quarantine;
pub mod receipt;
pub mod replay;
pub mod response;
pub mod router;
pub mod sabotage;
pub mod sealing;
pub mod segment;
pub mod setup;
pub mod swipe;
pub mod terminal;
pub mod till;
pub mod verify;
