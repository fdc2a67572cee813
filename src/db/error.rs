//! What PostgreSQL answered instead of a result, in the classes that callers act on.
//!
//! The class follows from the SQLSTATE alone, or from the kind of an I/O error where there is
//! none; never from a message, which is translated and changes between versions. The DETAIL of
//! an error holds column values, personal data among them: neither `Display` nor `Debug` shows it.

use std::error::Error as _;
use std::{fmt, io};

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

/// A failure of the database, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The connection broke, was ended by the server, or could not be made (class 08, 57P01 to
    /// 57P05, 53300, 25P03, 25P04). A statement that was under way may or may not have taken
    /// effect; asking again over a new connection tells.
    #[error("the connection to PostgreSQL was lost or could not be made: {0}")]
    Lost(Cause),
    /// A lock, a statement or a free connection took longer than allowed (55P03, 57014).
    /// Nothing took effect; the connection is still good.
    #[error("PostgreSQL did not answer in time: {0}")]
    Timeout(Cause),
    /// The server is up but cannot write: disk full (53100), I/O error (58030), or a standby or
    /// otherwise read-only (25006). No statement that writes will succeed until people act.
    #[error("PostgreSQL cannot write: {0}")]
    StorageUnavailable(Cause),
    /// Any other SQLSTATE: this statement, with these values, was refused and had no effect.
    #[error("PostgreSQL refused the statement: {cause}")]
    Refused {
        /// The five characters that say why.
        sqlstate: SqlState,
        /// What the server said.
        cause: Cause,
    },
    /// The client and the server did not understand each other: a column of another type, a
    /// number of rows that cannot be, a damaged message, a URL that is none. A mistake of ours
    /// or of the configuration. A statement that was under way may have taken effect.
    #[error("PostgreSQL and the service do not understand each other: {0}")]
    Misunderstood(Cause),
}

impl DbError {
    /// Whether the connection is gone and the outcome of what was under way is open.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_))
    }

    /// The SQLSTATE that the server sent, if it sent one.
    pub fn sqlstate(&self) -> Option<&str> {
        self.cause().sqlstate().map(SqlState::code)
    }

    /// The table that refused, if the server named one.
    pub fn table(&self) -> Option<&str> {
        self.driver_error()?.as_db_error()?.table()
    }

    /// The error of the driver, with its DETAIL: take care where it goes.
    pub fn driver_error(&self) -> Option<&tokio_postgres::Error> {
        match &self.cause().0 {
            Inner::Postgres(error) => Some(error),
            Inner::Said(_) => None,
        }
    }

    /// A failure to connect. It is always [`DbError::Lost`] unless the server named a reason that
    /// waiting cannot mend, such as a wrong password or a database that does not exist.
    pub(crate) fn connecting(error: tokio_postgres::Error) -> Self {
        if error.code().is_some() {
            error.into()
        } else {
            Self::Lost(Cause(Inner::Postgres(error)))
        }
    }

    /// As [`DbError::Lost`], where no driver was involved.
    pub(crate) fn lost(what: &'static str) -> Self {
        Self::Lost(Cause(Inner::Said(what)))
    }

    /// As [`DbError::Lost`], for a line that said nothing for longer than a statement may take.
    pub(crate) fn silent() -> Self {
        Self::lost("PostgreSQL has fallen silent")
    }

    fn cause(&self) -> &Cause {
        match self {
            Self::Lost(cause)
            | Self::Timeout(cause)
            | Self::StorageUnavailable(cause)
            | Self::Refused { cause, .. }
            | Self::Misunderstood(cause) => cause,
        }
    }
}

/// What lies behind a [`DbError`], kept whole and shown without values of columns.
pub struct Cause(Inner);

enum Inner {
    Postgres(tokio_postgres::Error),
    Said(&'static str),
}

impl Cause {
    fn sqlstate(&self) -> Option<&SqlState> {
        match &self.0 {
            Inner::Postgres(error) => error.code(),
            Inner::Said(_) => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Said(what) => f.write_str(what),
            Inner::Postgres(error) => match error.as_db_error() {
                Some(answer) => {
                    write!(f, "{} (SQLSTATE {})", answer.message(), answer.code().code())
                }
                None => match error.source() {
                    Some(source) => write!(f, "{error}: {source}"),
                    None => write!(f, "{error}"),
                },
            },
        }
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl From<tokio_postgres::Error> for DbError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(sqlstate) = error.code().cloned() else {
            let broken = error.is_closed() || broke_the_connection(&error);
            let cause = Cause(Inner::Postgres(error));
            return if broken { Self::Lost(cause) } else { Self::Misunderstood(cause) };
        };
        let cause = Cause(Inner::Postgres(error));
        match sqlstate.code() {
            "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "53300" | "25P03" | "25P04" => {
                Self::Lost(cause)
            }
            code if code.starts_with("08") => Self::Lost(cause),
            "57014" | "55P03" => Self::Timeout(cause),
            "53100" | "58030" | "25006" => Self::StorageUnavailable(cause),
            _ => Self::Refused { sqlstate, cause },
        }
    }
}

impl From<PoolError> for DbError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::connecting(error),
            PoolError::Timeout(TimeoutType::Wait) => {
                Self::Timeout(Cause(Inner::Said("no connection of the pool became free")))
            }
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                Self::lost("connecting took too long")
            }
            PoolError::Closed => Self::lost("the service is closing its connections"),
            PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Self::Misunderstood(Cause(Inner::Said("the pool of connections is not set up")))
            }
        }
    }
}

/// Whether an I/O error stands behind it. `InvalidInput` and `InvalidData` are how the driver
/// reports messages that cannot be written or read: those do not mean a lost connection.
fn broke_the_connection(error: &tokio_postgres::Error) -> bool {
    error.source().and_then(|source| source.downcast_ref::<io::Error>()).is_some_and(|io| {
        !matches!(io.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
    })
}
