//! The tokens of a demo's back office, one for each role: those of its `demo.json` as long as they
//! work, else new ones.

use jiff::Timestamp;

use crate::cli::demo_file::DemoToken;
use crate::config::Secret;
use crate::db::pool::Pool;
use crate::demo;
use crate::office::user::{self, NewUser, OfficeError, Wanted, Who};
use crate::office::{self, Role, TokenScope};

/// A demo that is older than this makes itself new tokens.
const EXPIRES_DAYS: i32 = 365;

/// Gives every role a user and a token. The manager has the first store of the demo; where the
/// database was filled with other data there is no such store, and no such manager.
pub(super) async fn ensure(
    pool: &Pool,
    known: &[DemoToken],
    now: Timestamp,
) -> Result<Vec<DemoToken>, OfficeError> {
    let mut tokens = Vec::new();
    for role in Role::ALL {
        let usable = known.iter().find(|token| token.role == role);
        if let Some(token) = usable
            && office::who(pool, token.token.reveal(), now).await?.is_some()
        {
            tokens.push(token.clone());
            continue;
        }
        let email = format!("{}@demo.example", role.name());
        let is_manager = role == Role::Manager;
        let first = demo::terminals().map(|(store_id, _)| store_id.to_owned()).next();
        let stores = first.filter(|_| is_manager).into_iter().collect();
        let name = format!("{} of the demo", role.name());
        let new = NewUser { email: email.clone(), name, role, stores };
        match user::add(pool, &new, None, None, now).await {
            Ok(_) | Err(OfficeError::Exists) => {}
            Err(OfficeError::NoSuchStore) => continue,
            Err(error) => return Err(error),
        }
        let scope = TokenScope::Full;
        let who = Who::Email(&email);
        let wanted = Wanted { who, name: "demo", scope, expires_days: EXPIRES_DAYS };
        let made = user::add_token(pool, &wanted, None, None, now).await?;
        tokens.push(DemoToken { role, token: Secret::new(made.secret.as_str()) });
    }
    Ok(tokens)
}
