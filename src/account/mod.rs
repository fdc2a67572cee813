//! What people see of an account and do to it: how it stands, what happened to it, and
//! adjustments. Never shows a member's values: that a person is known, and what was agreed to, is
//! all that these routes tell.

pub mod cards {
    //! Cards that were lost.

    pub mod http;
}
pub mod http;
mod sql;
