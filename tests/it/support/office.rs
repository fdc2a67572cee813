//! People of the back office in tests: users with tokens, and what they send.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use jiff::Timestamp;
use serde_json::Value;
use tillside::office::user::{self, NewUser, Wanted, Who};
use tillside::office::{Role, TokenScope};
use tillside::till::{Answer, Till, TillError};

use super::service::TestService;

/// Somebody with a token.
#[derive(Clone)]
pub(crate) struct Person {
    till: Till,
    base_url: String,
    pub(crate) user: i32,
    pub(crate) token_no: i32,
    pub(crate) token: String,
}

/// A new user with a token. A manager has store 0367.
pub(crate) async fn person(service: &TestService, role: Role) -> Person {
    let stores: &[&str] = if role == Role::Manager { &["0367"] } else { &[] };
    person_of(service, role, stores, TokenScope::Full).await
}

/// A new user with these stores and a token of this scope.
pub(crate) async fn person_of(
    service: &TestService,
    role: Role,
    stores: &[&str],
    scope: TokenScope,
) -> Person {
    let now = Timestamp::now();
    let count = service.count("SELECT count(*) FROM app_user").await;
    let email = format!("{}{count}@chain.example", role.name());
    let stores = stores.iter().map(|store| (*store).to_owned()).collect();
    let new = NewUser { email, name: "Somebody".into(), role, stores };
    let user = user::add(&service.pool, &new, None, None, now).await.expect("a new user");
    let who = Who::Number(user.user);
    let wanted = Wanted { who, name: "test", scope, expires_days: 1 };
    let made = user::add_token(&service.pool, &wanted, None, None, now).await.expect("a token");
    Person {
        till: service.till(),
        base_url: service.replica.base_url.clone(),
        user: user.user,
        token_no: made.status.token,
        token: made.secret.to_string(),
    }
}

impl Person {
    /// Sends anything.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url))
            .header("authorization", format!("Bearer {}", self.token));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(Full::new(body)).expect("legal");
        self.till.send(request).await.expect("an answer")
    }

    /// Sends a text that is no JSON.
    pub(crate) async fn bring(&self, path: &str, media_type: &str, text: String) -> Answer {
        let request = Request::post(format!("{}{path}", self.base_url))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", media_type);
        let body = Full::new(Bytes::from(text));
        self.till.send(request.body(body).expect("legal")).await.expect("an answer")
    }

    /// As [`Person::get`], where there may be no whole answer.
    pub(crate) async fn try_get(&self, path: &str) -> Result<Answer, TillError> {
        let request = Request::get(format!("{}{path}", self.base_url))
            .header("authorization", format!("Bearer {}", self.token));
        self.till.send(request.body(Full::default()).expect("legal")).await
    }

    /// The same person before another replica.
    pub(crate) fn at(&self, base_url: &str) -> Self {
        Self { base_url: base_url.to_owned(), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, None).await
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(key), Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, None).await
    }

    /// The same person with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }
}
