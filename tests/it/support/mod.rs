//! What the tests share.

pub(crate) mod bodies;
pub(crate) mod caches;
pub(crate) mod database;
pub(crate) mod edge;
pub(crate) mod explain;
pub(crate) mod flow;
pub(crate) mod gate;
pub(crate) mod office;
pub(crate) mod parquet;
pub(crate) mod service;
pub(crate) mod tap;
