//! The life of a swipe at the edge: read → prove → parse → admit → answer.
//!
//! | phase  | where                       | round trips                        |
//! |--------|-----------------------------|------------------------------------|
//! | read   | [`crate::http::request`]    | 0                                  |
//! | parse  | [`wire`]                    | 0                                  |
//! | commit | [`crate::commit`]           | 1, shared with the rest of a batch |
//! | refuse | [`crate::quarantine`]       | 1, only for what is not understood |
//!
//! Looking up an outcome is the one thing that reads here by itself.

pub mod example;
pub mod http;
mod reading;
mod sql;
pub mod wire;
