//! bad_bodies
