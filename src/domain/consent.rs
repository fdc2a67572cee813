//! What customers have said about profiling, and what follows from it for what they are given.
//!
//! Owns the two words among the consents of members that mean something here; all others are the
//! retailer's own. Must never ask for less than everybody on an account has said: what is bought
//! with its cards is everybody's.

use serde::{Deserialize, Serialize};

/// The word of members who want to be given what fits what they buy.
pub const PROFILING: &str = "profiling";
/// The word of those who do not.
pub const NO_PROFILING: &str = "no-profiling";

/// What the members of an account have said. The numbers are those of the statements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i16)]
pub enum Profiling {
    /// Not everybody has said something.
    #[default]
    Unsaid = 0,
    /// Everybody wants it.
    Wanted = 1,
    /// Somebody does not.
    Refused = 2,
}

/// What is done where not everybody has said something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProfilingPolicy {
    /// What customers buy decides what they are given unless one of them refuses.
    #[default]
    OptOut,
    /// Only where all of them want it.
    OptIn,
}

impl Profiling {
    /// What a number of a statement stands for; what is not known is taken for a refusal.
    pub fn from_code(code: i16) -> Self {
        match code {
            0 => Self::Unsaid,
            1 => Self::Wanted,
            _ => Self::Refused,
        }
    }

    /// What the only member of an account says.
    pub fn of_member(consents: &[String]) -> Self {
        let has = |word: &str| consents.iter().any(|consent| consent == word);
        match (has(NO_PROFILING), has(PROFILING)) {
            (true, _) => Self::Refused,
            (false, true) => Self::Wanted,
            (false, false) => Self::Unsaid,
        }
    }

    /// Whether what customers buy may decide what they are given, and be told.
    pub fn is_allowed(self, policy: ProfilingPolicy) -> bool {
        match policy {
            ProfilingPolicy::OptOut => self != Self::Refused,
            ProfilingPolicy::OptIn => self == Self::Wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_always_and_silence_as_the_chain_says() {
        use ProfilingPolicy::{OptIn, OptOut};
        for (consents, opt_out, opt_in) in [
            (&[][..], true, false),
            (&["post"], true, false),
            (&["post", "profiling"], true, true),
            (&["no-profiling"], false, false),
            (&["profiling", "no-profiling"], false, false),
        ] {
            let words: Vec<String> = consents.iter().map(|word| (*word).to_owned()).collect();
            let said = Profiling::of_member(&words);
            let allowed = (said.is_allowed(OptOut), said.is_allowed(OptIn));
            assert_eq!(allowed, (opt_out, opt_in), "{consents:?}");
            assert_eq!(Profiling::from_code(said as i16), said);
        }
    }
}
