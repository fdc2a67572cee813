//! Why a run could not be made. What a run finds out about the service is no error: that stands
//! in its verdict.

use std::error::Error;

/// Something that the run needs did not work.
#[derive(Debug, thiserror::Error)]
#[error("{doing} failed: {source}")]
pub struct HarnessError {
    doing: String,
    source: Box<dyn Error + Send + Sync>,
}

impl HarnessError {
    /// For `map_err`: says what was being done.
    pub fn doing<E: Into<Box<dyn Error + Send + Sync>>>(
        doing: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self { doing: doing.into(), source: source.into() }
    }
}
