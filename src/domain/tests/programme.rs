//! Earning by rules.
