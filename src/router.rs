//! Every route of the service and what lies around it, on one screen.

use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::http::docs::Example;
use crate::http::{docs, edge, problem};
use crate::{
    account, card, decision, export, learn, member_prices, offer, office, programme, response,
    swipe,
};

/// Routes, their documentation, and the edge around them.
pub fn router(app: Arc<App>) -> Router {
    let (calls, document) = calls().split_for_parts();
    let json = document.to_json().expect("the document is made of texts and numbers");
    let value = serde_json::to_value(&document).expect("it has just been written");
    let example = Example {
        path: "/v1/swipes",
        request: swipe::example::REQUEST,
        answer: swipe::example::ANSWER,
    };
    let page = docs::page_of(&value, &example);
    let (http, public_url) = (app.config.http.clone(), app.config.chain.public_url.clone());
    let metrics = Arc::clone(&app.metrics);
    let router = Router::new()
        .merge(calls)
        .merge(problem::pages())
        .route("/openapi.json", get(async || docs::json(json)))
        .route("/docs", get(async || Html(page)))
        .route("/", get(async || Html(docs::welcome())))
        .with_state(app);
    edge(router, &public_url, &http, metrics)
}

/// Every call; the document is made from the same list.
pub fn calls() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(docs::Document::openapi()).merge(terminals()).merge(people())
}

/// The signed calls of terminals.
fn terminals() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(swipe::http::record))
        .routes(routes!(swipe::http::record_batch))
        .routes(routes!(swipe::http::outcome))
        .routes(routes!(swipe::http::void))
        .routes(routes!(card::http::look_up))
        .routes(routes!(card::http::enrol))
        .routes(routes!(member_prices::http::list))
}

/// The calls of the back office. Each needs a row in [`crate::office::access`].
pub fn people() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(account::http::find))
        .routes(routes!(account::http::look_up))
        .routes(routes!(account::http::timeline))
        .routes(routes!(offer::held::http::list))
        .routes(routes!(account::http::adjust))
        .routes(routes!(decision::http::explain))
        .routes(routes!(account::cards::http::block))
        .routes(routes!(account::cards::http::unblock))
        .routes(routes!(account::cards::http::replace))
        .routes(routes!(office::http::list_users, office::http::add_user))
        .routes(routes!(office::http::disable_user))
        .routes(routes!(office::http::list_tokens, office::http::add_token))
        .routes(routes!(office::http::revoke_token))
        .routes(routes!(office::http::list_audit))
        .routes(routes!(office::http::list_stores))
        .routes(routes!(office::http::list_terminals))
        .routes(routes!(office::http::list_quarantine))
        .routes(routes!(offer::http::list_offers, offer::http::create_offer))
        .routes(routes!(offer::http::get_offer))
        .routes(routes!(offer::http::get_budgets))
        .routes(routes!(offer::http::end_offer))
        .routes(routes!(offer::http::change_budget))
        .routes(routes!(offer::codes::http::make_codes))
        .routes(routes!(offer::codes::http::fetch_codes))
        .routes(routes!(offer::codes::http::revoke_codes))
        .routes(routes!(offer::coupons::http::issue))
        .routes(routes!(offer::coupons::http::look_up))
        .routes(routes!(offer::coupons::http::revoke))
        .routes(routes!(offer::handouts::http::list, offer::handouts::http::make))
        .routes(routes!(offer::handouts::http::look_up, offer::handouts::http::end))
        .routes(routes!(offer::handouts::list::http::bring_list))
        .routes(routes!(offer::handouts::file::http::fetch))
        .routes(routes!(offer::handouts::http::issue))
        .routes(routes!(offer::handouts::revoke::http::revoke))
        .routes(routes!(offer::handouts::http::stop))
        .routes(routes!(programme::http::list, programme::http::publish))
        .routes(routes!(programme::http::show))
        .routes(routes!(programme::http::check))
        .routes(routes!(programme::http::draft))
        .routes(routes!(programme::http::roll_back))
        .routes(routes!(learn::http::list))
        .routes(routes!(learn::http::roll_back))
        .routes(routes!(export::http::accounts))
        .routes(routes!(offer::report::http::costs))
        .routes(routes!(response::http::responses))
}
