//! Users: who may be given tokens. Adding and disabling, for routes and commands alike.

use jiff::{Span, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::token::{self, NewToken, TokenScope, TokenStatus};
use super::{Role, sql};
use crate::db::DbError;
use crate::db::pool::Pool;
use crate::domain::name::is_place_id;

/// Longest that a token lasts, in days.
pub const EXPIRES_DAYS_MAX: i32 = 400;
/// Most characters of an address or a name.
pub const TEXT_MAX: usize = 120;

/// A user to be added.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The e-mail address: names the user.
    pub email: String,
    /// What people call the user.
    pub name: String,
    /// What the user is.
    pub role: Role,
    /// The stores of a manager; empty for everybody else.
    pub stores: Vec<String>,
}

/// A user as listed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserStatus {
    /// The user's number.
    #[schema(example = 3)]
    pub user: i32,
    /// The e-mail address.
    #[schema(example = "ada@chain.example")]
    pub email: String,
    /// What people call the user.
    pub name: String,
    /// What the user is.
    pub role: Role,
    /// The stores of a manager; empty for everybody else.
    pub stores: Vec<String>,
    /// When the user was added.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the user was disabled; null when not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub disabled_at: Option<Timestamp>,
}

/// Why something was not done about a user or a token.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    /// Not an address.
    #[error("an e-mail address of at most 120 printable characters is required")]
    NotAnAddress,
    /// Not a name.
    #[error("a name must be 1 to 120 printable characters")]
    NotAName,
    /// A manager without stores, or stores of somebody who is no manager.
    #[error("a manager, and nobody else, has one store or more")]
    Stores,
    /// A store that is not there.
    #[error("there is no such store; bring it in with `tillside import stores`")]
    NoSuchStore,
    /// The address is taken.
    #[error("there is a user with this address already")]
    Exists,
    /// No such user, or one who is disabled.
    #[error("there is no such user, or the user is disabled")]
    NoSuchUser,
    /// No such token, or one that has been revoked.
    #[error("there is no such token, or it has been revoked already")]
    NoSuchToken,
    /// Too short, or too long.
    #[error("a token lasts 1 to 400 days")]
    Expiry,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// Which user is meant.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// By number.
    Number(i32),
    /// By address, capitals or not.
    Email(&'a str),
}

/// Adds a user; `settle` stands in the same transaction.
///
/// # Errors
/// [`OfficeError`], whose message says what to do.
pub async fn add(
    pool: &Pool,
    user: &NewUser,
    by: Option<i32>,
    settle: Option<sql::Settle<'_, UserStatus>>,
    now: Timestamp,
) -> Result<UserStatus, OfficeError> {
    let is_text = |text: &str| {
        (1..=TEXT_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    };
    if !is_text(&user.email) || !user.email.contains('@') || user.email.contains(' ') {
        return Err(OfficeError::NotAnAddress);
    }
    if !is_text(&user.name) {
        return Err(OfficeError::NotAName);
    }
    if (user.role == Role::Manager) == user.stores.is_empty() {
        return Err(OfficeError::Stores);
    }
    if !user.stores.iter().all(|store| is_place_id(store)) {
        return Err(OfficeError::NoSuchStore);
    }
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = sql::Change::begin(&mut client, by, now).await?;
    if !change.stores_exist(&user.stores).await? {
        return Err(OfficeError::NoSuchStore);
    }
    let status = change.insert_user(user).await?.ok_or(OfficeError::Exists)?;
    let fields = ["email", "name", "role", "stores"];
    let object = format!("user:{}", status.user);
    change.trace("user.add", &object, &fields).await?;
    change.commit(settle, &status).await?;
    Ok(status)
}

/// Disables a user: every token of the user is refused from now on.
///
/// # Errors
/// [`OfficeError::NoSuchUser`], and what the database says.
pub async fn disable(
    pool: &Pool,
    who: Who<'_>,
    by: Option<i32>,
    now: Timestamp,
) -> Result<UserStatus, OfficeError> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = sql::Change::begin(&mut client, by, now).await?;
    let user_no = change.user(who).await?.ok_or(OfficeError::NoSuchUser)?;
    let status = change.disable_user(user_no).await?;
    change.trace("user.disable", &format!("user:{user_no}"), &["disabled_at"]).await?;
    change.commit(None, &status).await?;
    Ok(status)
}

/// What a token shall be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whose.
    pub who: Who<'a>,
    /// What it is for.
    pub name: &'a str,
    /// What it may be used for.
    pub scope: TokenScope,
    /// How long it lasts.
    pub expires_days: i32,
}

/// Makes a token for a user; `settle` stands in the same transaction.
///
/// # Errors
/// [`OfficeError`], whose message says what to do.
pub async fn add_token(
    pool: &Pool,
    wanted: &Wanted<'_>,
    by: Option<i32>,
    settle: Option<sql::Settle<'_, TokenStatus>>,
    now: Timestamp,
) -> Result<NewToken, OfficeError> {
    let Wanted { who, name, scope, expires_days } = *wanted;
    let length = name.chars().count();
    if !(1..=TEXT_MAX).contains(&length) || name.chars().any(char::is_control) {
        return Err(OfficeError::NotAName);
    }
    let lasts = (1..=EXPIRES_DAYS_MAX).contains(&expires_days);
    let hours = Span::new().hours(i64::from(expires_days) * 24);
    let expires_at = now.checked_add(hours).ok().filter(|_| lasts).ok_or(OfficeError::Expiry)?;
    let secret = token::secret();
    let hash = token::hash_of(&secret).expect("it was just made");
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = sql::Change::begin(&mut client, by, now).await?;
    let user_no = change.user(who).await?.ok_or(OfficeError::NoSuchUser)?;
    let last_four = &secret[secret.len() - 4..];
    let token = sql::TokenRow { user_no, hash: &hash, name, scope, last_four, expires_at };
    let status = change.insert_token(&token).await?;
    let fields = ["user", "name", "scope", "expires_at"];
    change.trace("token.add", &format!("token:{}", status.token), &fields).await?;
    change.commit(settle, &status).await?;
    Ok(NewToken { secret, status })
}

/// Ends a token at once.
///
/// # Errors
/// [`OfficeError::NoSuchToken`], and what the database says.
pub async fn revoke_token(
    pool: &Pool,
    token_no: i32,
    by: Option<i32>,
    now: Timestamp,
) -> Result<TokenStatus, OfficeError> {
    let mut client = pool.get().await.map_err(DbError::from)?;
    let change = sql::Change::begin(&mut client, by, now).await?;
    let status = change.revoke_token(token_no).await?.ok_or(OfficeError::NoSuchToken)?;
    change.trace("token.revoke", &format!("token:{token_no}"), &["revoked_at"]).await?;
    change.commit(None, &status).await?;
    Ok(status)
}
