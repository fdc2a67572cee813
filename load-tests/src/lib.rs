//! Tillside under load and under attack.
//!
//! Simulated tills write down what they sent and what was answered, faults are injected
//! meanwhile, and one oracle judges the database by what the tills wrote down. The suite runs it
//! short (`tests/it`), `make chaos` runs it long, `make sabotage` shows that it notices.
//!
//! Load goes to this machine only, is bounded in time, and ends by itself.

pub mod baskets;
pub mod bench;
pub mod chaos;
pub mod disk;
pub mod error;
pub mod journal;
pub mod load;
pub mod nemesis;
pub mod oracle;
pub mod overload;
pub mod pgbench;
pub mod proxy;
pub mod sabotage;
pub mod stock;
pub mod tally;
pub mod tills;
pub mod usage;
mod wire;
pub mod world;
