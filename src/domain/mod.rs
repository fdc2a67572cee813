//! What Tillside decides, without I/O, clock or randomness.
//!
//! Nothing in here may import anything of this crate but `domain` itself.

pub mod codec;
pub mod ledger;
