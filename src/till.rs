//! A terminal in code: signs requests and posts them. Used by commands and tests.
