//! Whole refusals, so that a person sees what an integrator will read.

use http::{Method, Version};
use serde_json::{Value, json};

use crate::support::bodies::{full_swipe, nothing_recorded};
use crate::support::edge::Hand;
use crate::support::service::{TestService, body};

/// The complete text of a refusal, with its id replaced.
async fn shown(service: &TestService, path: &str, sent: Vec<u8>) -> Value {
    let answer = service.till().post(path, sent).await.expect("an answer");
    let mut whole = body(&answer);
    if let Some(id) = whole.get("instance") {
        assert_eq!(answer.headers["x-request-id"], id.as_str().expect("text"));
    }
    tame(&mut whole);
    whole
}

/// Replaces ids, and folds long texts, so that they can be read here.
fn tame(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(id) = fields.get_mut("instance") {
                *id = "(the request's id)".into();
            }
            fields.values_mut().for_each(tame);
        }
        Value::Array(items) => items.iter_mut().for_each(tame),
        Value::String(text) if text.len() > 80 => {
            let mut lines = vec![String::new()];
            for word in text.split(' ') {
                let last = lines.last_mut().expect("never empty");
                if last.len() + word.len() > 70 {
                    lines.push(word.to_owned());
                } else {
                    *last += &format!("{}{word}", if last.is_empty() { "" } else { " " });
                }
            }
            *value = lines.into();
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "the texts are what it is for")]
async fn refusals_read_like_this() {
    let service = TestService::start().await;
    let mut wrong = full_swipe(1);
    wrong["lines"][0]["quantity"] = "0.4201".into();
    wrong["currency"] = "EUR".into();
    let told = shown(&service, "/v1/swipes", wrong.to_string().into()).await;
    insta::assert_json_snapshot!(told, @r##"
    {
      "detail": [
        "errors names each place in the body and what is asked for there. The",
        "same request will fail again; it is kept for people to look at."
      ],
      "errors": [
        {
          "detail": "this chain has another currency",
          "pointer": "/currency"
        },
        {
          "detail": "a decimal from 0 to 999999.999 with at most three places is required",
          "pointer": "/lines/0/quantity"
        }
      ],
      "instance": "(the request's id)",
      "status": 422,
      "title": "The request does not hold together",
      "type": "http://127.0.0.1:8080/problems/validation-failed"
    }
    "##);
    let mut wrong = full_swipe(1);
    wrong["lines"][0]["amount"] = 398.into();
    let told = shown(&service, "/v1/swipes", wrong.to_string().into()).await;
    insta::assert_json_snapshot!(told, @r##"
    {
      "detail": [
        "errors names each place in the body and what is asked for there. The",
        "same request will fail again; it is kept for people to look at."
      ],
      "errors": [
        {
          "detail": "this field is not known here",
          "pointer": "/lines/0/amount"
        }
      ],
      "instance": "(the request's id)",
      "status": 422,
      "title": "The request does not hold together",
      "type": "http://127.0.0.1:8080/problems/validation-failed"
    }
    "##);
    let mut wrong = full_swipe(1);
    wrong["total_minor"] = 118.into();
    let told = shown(&service, "/v1/swipes", wrong.to_string().into()).await;
    insta::assert_json_snapshot!(told, @r##"
    {
      "detail": [
        "errors names each place in the body and what is asked for there. The",
        "same request will fail again; it is kept for people to look at."
      ],
      "errors": [
        {
          "detail": [
            "lines less their discounts, returns counted negative, and adjustments",
            "must add up to it"
          ],
          "pointer": "/total_minor"
        }
      ],
      "instance": "(the request's id)",
      "status": 422,
      "title": "The request does not hold together",
      "type": "http://127.0.0.1:8080/problems/validation-failed"
    }
    "##);
    let mut wrong = full_swipe(1);
    wrong["card"] = "2990000000018".into();
    let told = shown(&service, "/v1/swipes", wrong.to_string().into()).await;
    insta::assert_json_snapshot!(told, @r##"
    {
      "detail": [
        "Length, characters, prefix or check digit are not those of the chain's",
        "cards. A misread is likely: scan it again."
      ],
      "errors": [
        {
          "detail": "this is not a card of this chain",
          "pointer": "/card"
        }
      ],
      "instance": "(the request's id)",
      "status": 422,
      "title": "This is not a card of this chain",
      "type": "http://127.0.0.1:8080/problems/card-invalid"
    }
    "##);
    let told = shown(&service, "/v1/swipes", b"{".to_vec()).await;
    insta::assert_json_snapshot!(told, @r##"
    {
      "detail": [
        "The body must be one JSON document in UTF-8 without a byte order mark,",
        "with every name once."
      ],
      "instance": "(the request's id)",
      "status": 400,
      "title": "The body is not JSON",
      "type": "http://127.0.0.1:8080/problems/malformed-json"
    }
    "##);
    let mut hand = Hand::new(&service.replica, Method::POST, "/v1/swipes", "{}");
    hand.secret = [0; 32];
    let unproven = hand.signed().request(Version::HTTP_11);
    let unproven = service.till().send(unproven).await.expect("an answer");
    let mut unproven = body(&unproven);
    tame(&mut unproven);
    insta::assert_json_snapshot!(unproven, @r##"
    {
      "detail": [
        "The request is not proven to come from a terminal of this chain.",
        "Accept-Signature shows what a signature must cover; tillside sign",
        "--explain prints the text that is signed, so that the first difference",
        "can be found. The key may also have been revoked."
      ],
      "status": 401,
      "title": "The signature is missing or not valid",
      "type": "http://127.0.0.1:8080/problems/signature-invalid"
    }
    "##);
    let batch = json!({ "items": [{ "swipe": { "store_id": "0367" } }, {}] });
    let batch = shown(&service, "/v1/swipes/batch", batch.to_string().into()).await;
    insta::assert_json_snapshot!(batch, @r##"
    {
      "outcomes": [
        {
          "problem": {
            "detail": [
              "errors names each place in the body and what is asked for there. The",
              "same request will fail again; it is kept for people to look at."
            ],
            "errors": [
              {
                "detail": "a required field is missing",
                "pointer": "/items/0/swipe/workstation_id"
              }
            ],
            "instance": "(the request's id)",
            "status": 422,
            "title": "The request does not hold together",
            "type": "http://127.0.0.1:8080/problems/validation-failed"
          },
          "status": 422
        },
        {
          "problem": {
            "detail": [
              "errors names each place in the body and what is asked for there. The",
              "same request will fail again; it is kept for people to look at."
            ],
            "errors": [
              {
                "detail": "exactly one of swipe and void is required",
                "pointer": "/items/1"
              }
            ],
            "instance": "(the request's id)",
            "status": 422,
            "title": "The request does not hold together",
            "type": "http://127.0.0.1:8080/problems/validation-failed"
          },
          "status": 422
        }
      ]
    }
    "##);
    nothing_recorded(&service).await;
}
