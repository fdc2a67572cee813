//! What the tests share.

pub(crate) mod database;
pub(crate) mod flow;
pub(crate) mod gate;
pub(crate) mod service;
