//! What each route of people needs: the one table. A route that has no row here is refused to
//! everybody, and a test that walks the router says so before.

use http::Method;

use super::Role::{self, Admin, Auditor, Manager, Marketing};

/// What a route has to do with stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// Nothing: it is about the chain or about customers, who belong to no store.
    Chain,
    /// Its path names a store in `{store}`; a manager's must be it.
    Named,
    /// It answers what belongs to stores; a manager sees those that are the manager's.
    Filtered,
    /// It changes what counts in stores that its body or what it is about names, or hands out what
    /// is as good as money there. Which they are is known to the handler, which asks
    /// [`super::http::own_stores`].
    Own,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The method.
    pub method: Verb,
    /// The route's template.
    pub path: &'static str,
    /// Who may.
    pub roles: &'static [Role],
    /// Where.
    pub stores: Stores,
}

/// The methods that routes of people have; the standard ones cannot stand in a constant table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads; HEAD as well.
    Get,
    /// Creates or does.
    Post,
    /// Ends.
    Delete,
}

const EVERYBODY: &[Role] = &[Admin, Manager, Marketing, Auditor];

/// Every route of people.
pub const TABLE: &[Access] = &[
    row(Verb::Get, "/v1/accounts", EVERYBODY, Stores::Chain),
    row(Verb::Get, "/v1/accounts/{account}", EVERYBODY, Stores::Chain),
    row(Verb::Get, "/v1/accounts/{account}/coupons", EVERYBODY, Stores::Filtered),
    row(Verb::Get, "/v1/accounts/{account}/timeline", EVERYBODY, Stores::Filtered),
    row(
        Verb::Get,
        "/v1/accounts/{account}/decisions/{store}/{workstation}/{business_date}/{sequence}",
        EVERYBODY,
        Stores::Named,
    ),
    row(Verb::Post, "/v1/accounts/{account}/adjustments", &[Admin, Manager], Stores::Chain),
    row(Verb::Post, "/v1/accounts/{account}/cards/{card}/block", &[Admin, Manager], Stores::Chain),
    row(
        Verb::Post,
        "/v1/accounts/{account}/cards/{card}/unblock",
        &[Admin, Manager],
        Stores::Chain,
    ),
    row(
        Verb::Post,
        "/v1/accounts/{account}/cards/{card}/replace",
        &[Admin, Manager],
        Stores::Chain,
    ),
    row(Verb::Get, "/v1/users", &[Admin, Auditor], Stores::Chain),
    row(Verb::Post, "/v1/users", &[Admin], Stores::Chain),
    row(Verb::Post, "/v1/users/{user}/disable", &[Admin], Stores::Chain),
    row(Verb::Get, "/v1/tokens", &[Admin, Auditor], Stores::Chain),
    row(Verb::Post, "/v1/tokens", &[Admin], Stores::Chain),
    row(Verb::Delete, "/v1/tokens/{token}", &[Admin], Stores::Chain),
    row(Verb::Get, "/v1/audit", &[Admin, Auditor], Stores::Chain),
    row(Verb::Get, "/v1/stores", EVERYBODY, Stores::Filtered),
    row(Verb::Get, "/v1/terminals", &[Admin, Manager, Auditor], Stores::Filtered),
    row(
        Verb::Get,
        "/v1/terminals/{store}/{workstation}/quarantine",
        &[Admin, Manager, Auditor],
        Stores::Named,
    ),
    row(Verb::Get, "/v1/offers", EVERYBODY, Stores::Filtered),
    row(Verb::Post, "/v1/offers", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Get, "/v1/offers/{offer}", EVERYBODY, Stores::Filtered),
    row(Verb::Get, "/v1/offers/{offer}/budgets", EVERYBODY, Stores::Filtered),
    row(Verb::Post, "/v1/offers/{offer}/end", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Post, "/v1/offers/{offer}/budget", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Post, "/v1/offers/{offer}/codes", &[Admin, Manager, Marketing], Stores::Own),
    row(
        Verb::Post,
        "/v1/offers/{offer}/codes/{pool}/file",
        &[Admin, Manager, Marketing],
        Stores::Own,
    ),
    row(
        Verb::Post,
        "/v1/offers/{offer}/codes/{pool}/revoke",
        &[Admin, Manager, Marketing],
        Stores::Own,
    ),
    row(Verb::Post, "/v1/coupons", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Get, "/v1/coupons/{code}", EVERYBODY, Stores::Filtered),
    row(Verb::Post, "/v1/coupons/{code}/revoke", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Get, "/v1/handouts", EVERYBODY, Stores::Filtered),
    row(Verb::Post, "/v1/handouts", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Get, "/v1/handouts/{handout}", EVERYBODY, Stores::Filtered),
    row(Verb::Get, "/v1/handouts/{handout}/file", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Delete, "/v1/handouts/{handout}", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Post, "/v1/handouts/{handout}/list", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Post, "/v1/handouts/{handout}/issue", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Post, "/v1/handouts/{handout}/revoke", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Post, "/v1/handouts/{handout}/stop", &[Admin, Manager, Marketing], Stores::Own),
    row(Verb::Get, "/v1/programme", EVERYBODY, Stores::Chain),
    row(Verb::Post, "/v1/programme", &[Admin], Stores::Chain),
    row(Verb::Get, "/v1/programme/{programme}", EVERYBODY, Stores::Chain),
    row(Verb::Post, "/v1/programme/check", &[Admin, Marketing], Stores::Chain),
    row(Verb::Post, "/v1/programme/drafts", &[Admin, Marketing], Stores::Chain),
    row(Verb::Post, "/v1/programme/roll-back", &[Admin], Stores::Chain),
    row(Verb::Get, "/v1/models", EVERYBODY, Stores::Chain),
    row(Verb::Post, "/v1/models/roll-back", &[Admin, Marketing], Stores::Chain),
    row(Verb::Get, "/v1/exports/accounts", &[Admin, Marketing], Stores::Chain),
    row(Verb::Get, "/v1/reports/offers", &[Admin, Marketing, Auditor], Stores::Chain),
    row(Verb::Get, "/v1/reports/responses", &[Admin, Marketing, Auditor], Stores::Chain),
];

const fn row(method: Verb, path: &'static str, roles: &'static [Role], stores: Stores) -> Access {
    Access { method, path, roles, stores }
}

/// The row of a route.
pub fn of(method: &Method, path: &str) -> Option<&'static Access> {
    let method = match *method {
        Method::GET | Method::HEAD => Verb::Get,
        Method::POST => Verb::Post,
        Method::DELETE => Verb::Delete,
        _ => return None,
    };
    TABLE.iter().find(|row| row.method == method && row.path == path)
}
