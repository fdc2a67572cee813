//! What routes of people take and answer, in JSON.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Role, TokenScope, TokenStatus, UserStatus};

/// A user to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser)]
pub struct UserIn<'a> {
    /// The e-mail address; names the user.
    #[serde(borrow)]
    #[schema(max_length = 120, example = "ada@chain.example")]
    pub email: Cow<'a, str>,
    /// What people call the user.
    #[serde(borrow)]
    #[schema(max_length = 120)]
    pub name: Cow<'a, str>,
    /// What the user is.
    pub role: Role,
    /// The stores of a manager; for everybody else left out.
    #[serde(default)]
    pub stores: Vec<String>,
}

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken)]
pub struct TokenIn<'a> {
    /// The number of the user whose it shall be.
    #[schema(example = 3)]
    pub user: i32,
    /// What it is for.
    #[serde(borrow)]
    #[schema(max_length = 120, example = "nightly export")]
    pub name: Cow<'a, str>,
    /// How long it lasts, in days.
    #[schema(minimum = 1, maximum = 400)]
    pub expires_days: i32,
    /// What it may be used for; left out: everything that its user may do.
    #[serde(default)]
    pub scope: TokenScope,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeToken)]
pub struct TokenOut<'a> {
    /// The token itself, this once: a repetition of the request is answered null.
    #[schema(example = "tsk_…")]
    pub secret: Option<&'a str>,
    /// As it is listed.
    pub token: &'a TokenStatus,
}

/// A page of users, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Users)]
pub struct UsersOut {
    /// The users.
    pub users: Vec<UserStatus>,
    /// What `after` takes for the next page; null on the last one.
    pub next: Option<String>,
}

/// A page of tokens, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
pub struct TokensOut {
    /// The tokens.
    pub tokens: Vec<TokenStatus>,
    /// What `after` takes for the next page; null on the last one.
    pub next: Option<String>,
}

/// A page of the audit trail, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditTrail)]
pub struct AuditTrailOut {
    /// The lines.
    pub audit: Vec<AuditOut>,
    /// What `after` takes for the next page; null on the last one.
    pub next: Option<String>,
}

/// What was done, by whom. Names of fields, never their values.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditLine)]
pub struct AuditOut {
    /// Its number.
    pub audit: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The user; null for somebody at the command line.
    pub user: Option<i32>,
    /// The address of that user.
    pub email: Option<String>,
    /// What was done.
    #[schema(example = "account.adjust")]
    pub action: String,
    /// What to.
    #[schema(example = "acc_000000000A1KV")]
    pub object: String,
    /// The fields that changed, or that were read.
    pub fields: Vec<String>,
}

/// A page of stores, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Stores)]
pub struct StoresOut {
    /// The stores; those of the manager who asks.
    pub stores: Vec<StoreOut>,
    /// What `after` takes for the next page; null on the last one.
    pub next: Option<String>,
}

/// A store.
#[derive(Serialize, ToSchema)]
#[schema(as = Store)]
pub struct StoreOut {
    /// Its id, as tills send it.
    #[schema(example = "0367")]
    pub store_id: String,
    /// Its name.
    pub name: String,
    /// Its time zone.
    #[schema(example = "America/New_York")]
    pub time_zone: String,
}

/// A page of terminals, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Terminals)]
pub struct TerminalsOut {
    /// The terminals; those of the manager's stores who asks.
    pub terminals: Vec<TerminalOut>,
    /// What `after` takes for the next page; null on the last one.
    pub next: Option<String>,
}

/// A terminal.
#[derive(Serialize, ToSchema)]
#[schema(as = Terminal)]
pub struct TerminalOut {
    /// Its store.
    #[schema(example = "0367")]
    pub store_id: String,
    /// Its workstation.
    #[schema(example = "03")]
    pub workstation_id: String,
    /// The keys that it may sign with now.
    pub keys: Vec<String>,
    /// How many of its requests were not understood and are kept.
    pub quarantined: i64,
}

/// What a terminal sent that was not understood, the newest first; a hundred at most.
#[derive(Serialize, ToSchema)]
#[schema(as = Quarantine)]
pub struct QuarantineOut {
    /// The requests.
    pub requests: Vec<KeptOut>,
}

/// A request that was not understood.
#[derive(Serialize, ToSchema)]
#[schema(as = KeptRequest)]
pub struct KeptOut {
    /// The id that its first answer carried.
    pub request_id: String,
    /// When it first came.
    #[schema(value_type = String, format = DateTime)]
    pub first_at: Timestamp,
    /// When it last came.
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Timestamp,
    /// How often it came.
    pub attempts: i64,
    /// The route's template.
    pub route: String,
    /// The slug that it was answered with.
    pub problem: String,
    /// The findings, a line each.
    pub errors: String,
    /// The body, bytes that are not UTF-8 replaced; what may be personal is left out.
    pub body: String,
}
