//! Who sent a request, end to end: every way in which a signature can be wrong, over HTTP/1.1
//! and HTTP/2, each with its exact answer; before the MAC is proven always the same bytes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::{Method, StatusCode, Version};
use jiff::{SignedDuration, Timestamp};

use crate::support::edge::{HEAD, Hand, WHOLE, digest, exchange, shown, tills, told, within};
use crate::support::service::{Replica, TestService, card, swipe};

const INVALID: (u16, &str) = (401, "signature-invalid");
const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// One way to spoil a request: before it is signed, and afterwards.
struct Case {
    name: String,
    before: Box<dyn Fn(&mut Hand)>,
    after: Box<dyn Fn(&mut Hand)>,
    expected: (u16, &'static str),
}

fn before(name: &str, expected: (u16, &'static str), change: impl Fn(&mut Hand) + 'static) -> Case {
    let (name, before) = (name.to_owned(), Box::new(change));
    Case { name, before, after: Box::new(|_| {}), expected }
}

fn after(name: &str, expected: (u16, &'static str), change: impl Fn(&mut Hand) + 'static) -> Case {
    let (name, after) = (name.to_owned(), Box::new(change));
    Case { name, before: Box::new(|_| {}), after, expected }
}

fn good(replica: &Replica) -> Hand {
    Hand::new(replica, Method::POST, "/v1/swipes", &swipe(1, Some(&card(1)), 398).to_string())
}

/// Sends every case over both versions of HTTP; returns how many requests were refused.
async fn run(service: &TestService, cases: &[Case]) -> usize {
    let mut unproven = None;
    for (version, till) in tills(&service.replica) {
        for case in cases {
            let mut hand = good(&service.replica);
            (case.before)(&mut hand);
            hand.sign();
            (case.after)(&mut hand);
            let answer = within(till.send(hand.request(version))).await.expect(&case.name);
            let (status, slug) = told(&answer);
            assert_eq!((status, &*slug), case.expected, "{} over {version:?}", case.name);
            assert!(answer.headers.contains_key("x-request-id"), "{}", case.name);
            if case.expected == INVALID {
                let shown = shown(&answer);
                let first = unproven.get_or_insert_with(|| shown.clone());
                assert_eq!(*first, shown, "{} over {version:?}", case.name);
            }
        }
    }
    for table in ["swipe", "swipe_key", "entry", "card", "quarantine"] {
        let rows = service.count(&format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(rows, 0, "rows in {table}");
    }
    // The request that all of these were made from is a good one.
    let (version, till) = &tills(&service.replica)[0];
    let hand = good(&service.replica).signed();
    let answer = within(till.send(hand.request(*version))).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::CREATED);
    cases.len() * VERSIONS.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_no_signature_are_refused_with_the_same_bytes() {
    let service = TestService::start().await;
    let mut cases = vec![
        after("no signature", INVALID, |hand| hand.remove("signature")),
        after("no signature-input", INVALID, |hand| hand.remove("signature-input")),
        after("neither", INVALID, |hand| {
            hand.remove("signature");
            hand.remove("signature-input");
        }),
        after("labels differ", INVALID, |hand| {
            let other = hand.header("signature").replacen("sig1", "sig2", 1);
            hand.set("signature", &other);
        }),
        after("two labels", INVALID, |hand| {
            for name in ["signature", "signature-input"] {
                let value = hand.header(name).to_owned();
                hand.set(name, &format!("{value}, {}", value.replacen("sig1", "sig2", 1)));
            }
        }),
        after("one label twice", INVALID, |hand| {
            for name in ["signature", "signature-input"] {
                let value = hand.header(name).to_owned();
                hand.set(name, &format!("{value}, {value}"));
            }
        }),
        after("the fields stand twice", INVALID, |hand| {
            for name in ["signature", "signature-input"] {
                let value = hand.header(name).to_owned();
                hand.add(name, &value);
            }
        }),
        after("a parameter on the MAC", INVALID, |hand| {
            let value = hand.header("signature").to_owned();
            hand.set("signature", &format!("{value};x=1"));
        }),
        after("two spaces in the list", INVALID, |hand| {
            let value = hand.header("signature-input").replacen(' ', "  ", 1);
            hand.set("signature-input", &value);
        }),
        after("a scheme of another draft", INVALID, |hand| {
            let value = hand.header("signature").to_owned();
            hand.set("authorization", &format!("Signature {value}"));
            hand.remove("signature");
        }),
    ];
    for name in ["signature", "signature-input"] {
        for value in ["", "sig1", "sig1=", "sig1=1", "sig1=()", "sig1=\"x\"", "(", "=", "sig1=?1"] {
            let spoil = move |hand: &mut Hand| hand.set(name, value);
            cases.push(after(&format!("{name}: {value}"), INVALID, spoil));
        }
    }
    assert_eq!(run(&service, &cases).await, 56);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_the_profile_does_not_have_are_refused_with_the_same_bytes() {
    let service = TestService::start().await;
    let (keyid, _) = service.replica.key("0367", "03");
    let keyid = format!(";keyid=\"{keyid}\"");
    let now_s = Timestamp::now().as_second();
    let created = format!(";created={now_s}");
    let params = [
        format!(";created=\"{now_s}\"{keyid}"),
        format!(";created={now_s}.5{keyid}"),
        format!(";created=-1{keyid}"),
        format!(";created=@{now_s}{keyid}"),
        format!(";created=999999999999999{keyid}"),
        format!(";created=9999999999999999{keyid}"),
        format!(";created{keyid}"),
        keyid.clone(),
        created.clone(),
        format!("{created};keyid=\"\""),
        format!("{created};keyid=abc"),
        format!("{created};keyid=\"{}\"", "k".repeat(10_240)),
        format!("{created};keyid=\"0367/03.2\""),
        format!("{created};keyid=\"0367/03\""),
        format!("{created};keyid=\"0367/03.01\""),
        format!("{created};keyid=\"0367/03.1 \""),
        format!("{created};keyid=\"0406/03.1\""),
        format!("{created};keyid=\"nobody\""),
        format!("{created}{keyid};expires=-1"),
        format!("{created}{keyid};expires=1.0"),
        format!("{created}{keyid};unknown=1"),
        format!("{created}{keyid}{created}"),
        format!("{created}{keyid}{keyid}"),
        format!("{created}{keyid};alg=\"ed25519\""),
        format!("{created}{keyid};alg=\"none\""),
        format!("{created}{keyid};alg=\"HMAC-SHA256\""),
        format!("{created}{keyid};alg=hmac-sha256"),
        format!("{created}{keyid};nonce=1"),
        format!("{created}{keyid};tag=tag"),
        format!("; created={now_s}{keyid}"),
    ];
    let cases: Vec<Case> = params
        .into_iter()
        .map(|params| {
            let name = params.clone();
            before(&name, INVALID, move |hand| hand.params.clone_from(&params))
        })
        .collect();
    assert_eq!(run(&service, &cases).await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_are_missing_or_too_many_are_refused_with_the_same_bytes() {
    let service = TestService::start().await;
    let inner = WHOLE.trim_matches(['(', ')']);
    let many: String = (0..27).map(|n| format!(" \"x-{n}\"")).collect();
    let mut lists = vec![
        "()".to_owned(),
        format!("({inner} \"x-absent\")"),
        format!("({inner} \"x-there\" \"x-there\")"),
        format!("({inner} \"X-There\")"),
        format!("({inner} \"@signature-params\")"),
        format!("({inner} \"@target-uri\")"),
        format!("({inner} \"@status\")"),
        format!("({inner} \"@request-target\")"),
        format!("({inner} \"\")"),
        format!("({inner} x-there)"),
        format!("({inner} 1)"),
        format!("({inner}{many})"),
    ];
    for flag in ["sf", "bs", "key=\"x\"", "req", "tr"] {
        lists.push(format!("({inner} \"x-there\";{flag})"));
        lists.push(WHOLE.replace("\"content-type\"", &format!("\"content-type\";{flag}")));
    }
    for missing in inner.split(' ') {
        lists.push(format!("({})", inner.replace(missing, "").replace("  ", " ").trim()));
    }
    let cases: Vec<Case> = lists
        .into_iter()
        .map(|list| {
            before(&list.clone(), INVALID, move |hand| {
                hand.set("x-there", "1");
                for n in 0..27 {
                    hand.set(&format!("x-{n}"), "1");
                }
                hand.covered.clone_from(&list);
            })
        })
        .collect();
    assert_eq!(run(&service, &cases).await, 56);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_components_are_more_than_a_head_may_hold() {
    let service = TestService::start().await;
    let mut hand = good(&service.replica);
    let many: Vec<String> = (0..10_000).map(|n| format!("\"x-{n}\"")).collect();
    hand.covered = format!("({})", many.join(" "));
    let answers = exchange(&service.replica, hand.signed().raw()).await;
    assert_eq!(answers[0].status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn macs_that_are_wrong_in_any_bit_or_form_are_refused_with_the_same_bytes() {
    let service = TestService::start().await;
    let spoilt = |change: &'static dyn Fn(&[u8]) -> String| {
        move |hand: &mut Hand| {
            let mac = hand.header("signature").trim_start_matches("sig1=").trim_matches(':');
            let mac = STANDARD.decode(mac).expect("just made");
            let value = change(&mac);
            hand.set("signature", &value);
        }
    };
    let mut cases = vec![
        after("0 bytes", INVALID, spoilt(&|_| "sig1=::".to_owned())),
        after(
            "31 bytes",
            INVALID,
            spoilt(&|mac| format!("sig1=:{}:", STANDARD.encode(&mac[..31]))),
        ),
        after(
            "33 bytes",
            INVALID,
            spoilt(&|mac| format!("sig1=:{}:", STANDARD.encode([mac, &[0]].concat()))),
        ),
        after("another alphabet", INVALID, |hand| {
            // Signed until the MAC has a character in which the two alphabets differ.
            for n in 0.. {
                hand.set("x-n", &n.to_string());
                hand.covered = WHOLE.replace(')', " \"x-n\")");
                hand.sign();
                let value = hand.header("signature").to_owned();
                if value.contains(['+', '/']) {
                    let mac = value.trim_start_matches("sig1=").trim_matches(':');
                    let mac = STANDARD.decode(mac).expect("just made");
                    hand.set("signature", &format!("sig1=:{}:", URL_SAFE.encode(mac)));
                    return;
                }
            }
        }),
        after("a space", INVALID, |hand| {
            let value = hand.header("signature").replace("=:", "=: ");
            hand.set("signature", &value);
        }),
        after("no padding", INVALID, |hand| {
            let value = hand.header("signature").replace("=:", ":").replacen("sig1:", "sig1=:", 1);
            hand.set("signature", &value);
        }),
        after("a token", INVALID, |hand| hand.set("signature", "sig1=abc")),
        before("another key", INVALID, |hand| hand.secret[31] ^= 1),
        before("the empty key", INVALID, |hand| hand.secret = [0; 32]),
        before("the empty key of nobody", INVALID, |hand| {
            hand.secret = [0; 32];
            hand.params = hand.params.replace("0367/03.1", "0367/03.9");
        }),
    ];
    for bit in 0..256_usize {
        cases.push(after(&format!("bit {bit}"), INVALID, move |hand| {
            let mac = hand.header("signature").trim_start_matches("sig1=").trim_matches(':');
            let mut mac = STANDARD.decode(mac).expect("just made");
            mac[bit / 8] ^= 1 << (bit % 8);
            hand.set("signature", &format!("sig1=:{}:", STANDARD.encode(mac)));
        }));
    }
    assert_eq!(run(&service, &cases).await, 532);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_altered_after_signing_is_refused_with_the_same_bytes() {
    let service = TestService::start().await;
    let cases = [
        after("a query", INVALID, |hand| hand.target += "?a=b"),
        before("another query", INVALID, |hand| hand.target += "?a=b")
            .and_after(|hand| hand.target = "/v1/swipes?a=c".to_owned()),
        before("a query lost", INVALID, |hand| hand.target += "?a")
            .and_after(|hand| hand.target = "/v1/swipes".to_owned()),
        after("the same body to another address", INVALID, |hand| hand.target += "/batch"),
        before("a spelling of the path", INVALID, |hand| {
            hand.target = "/v1/swipes/0367/03/2026-03-14/1/void".to_owned();
        })
        .and_after(|hand| hand.target = "/v1/swipes/0367/03/2026-03-14/%31/void".to_owned()),
        after("another content type", INVALID, |hand| {
            hand.set("content-type", "application/json;charset=utf-8");
        }),
        after("content-type twice", INVALID, |hand| hand.add("content-type", "application/json")),
        after("content-digest twice", INVALID, |hand| {
            let value = hand.header("content-digest").to_owned();
            hand.add("content-digest", &value);
        }),
        after("a digest of another body", INVALID, |hand| {
            hand.set("content-digest", &digest(b"{}"));
        }),
        after("no digest", INVALID, |hand| hand.remove("content-digest")),
        before("a digest that is not covered", INVALID, |hand| {
            hand.covered = HEAD.to_owned();
        }),
        before("a covered header that changed", INVALID, |hand| {
            hand.set("x-there", "1");
            hand.covered = WHOLE.replace(')', " \"x-there\")");
        })
        .and_after(|hand| hand.set("x-there", "2")),
        before("a covered header that stands twice", INVALID, |hand| {
            hand.set("x-there", "1");
            hand.covered = WHOLE.replace(')', " \"x-there\")");
        })
        .and_after(|hand| hand.add("x-there", "1")),
        // Routing comes first: what is no address of ours is not a matter of signatures.
        after("another method", (405, "method-not-allowed"), |hand| hand.method = Method::PUT),
        after("two slashes", (404, "not-found"), |hand| hand.target = "//v1/swipes".to_owned()),
        after("a detour", (404, "not-found"), |hand| hand.target = "/v1/../v1/swipes".to_owned()),
        after("an encoded slash", (404, "not-found"), |hand| {
            hand.target = "/v1%2Fswipes".to_owned();
        }),
        after("a slash at the end", (404, "not-found"), |hand| hand.target += "/"),
        after("a combined content type", (415, "unsupported-media-type"), |hand| {
            hand.set("content-type", "application/json, application/json");
        }),
    ];
    assert_eq!(run(&service, &cases).await, 38);

    // The host of HTTP/1.1 stands in a header of its own.
    let till = service.till();
    let port = good(&service.replica).authority.rsplit(':').next().map(str::to_owned);
    let port = port.expect("a port");
    for host in ["localhost".to_owned(), format!("127.0.0.1.:{port}"), "127.0.0.1".to_owned()] {
        let mut hand = good(&service.replica).signed();
        hand.set("host", &host);
        let answer = within(till.send(hand.request(Version::HTTP_11))).await.expect("an answer");
        assert_eq!(told(&answer), (401, "signature-invalid".to_owned()), "{host}");
    }
    // HEAD of a signed GET is another method, though routers take one for the other.
    let target = "/v1/swipes/0367/03/2026-03-14/1";
    let mut hand = Hand::new(&service.replica, Method::GET, target, "").signed();
    let answer = within(till.send(hand.request(Version::HTTP_11))).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::OK, "the swipe of the table's end");
    hand.method = Method::HEAD;
    let answer = within(till.send(hand.request(Version::HTTP_11))).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), &*answer.body), (401, &b""[..]));
}

impl Case {
    fn and_after(mut self, change: impl Fn(&mut Hand) + 'static) -> Self {
        self.after = Box::new(change);
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proven_terminal_is_told_exactly_what_is_wrong_with_body_and_clock() {
    const NO_DIGEST: (u16, &str) = (400, "content-digest-invalid");
    const MISMATCH: (u16, &str) = (400, "content-digest-mismatch");
    const SKEW: (u16, &str) = (401, "clock-skew");
    const EXPIRED: (u16, &str) = (401, "signature-expired");
    let service = TestService::start().await;
    let sha_512_of_nothing = format!("sha-512=:{}:", STANDARD.encode([0; 64]));
    let with_digest = |digest: &str| {
        let digest = digest.to_owned();
        move |hand: &mut Hand| hand.set("content-digest", &digest)
    };
    let at = |created: i64, more: &str| {
        let more = more.to_owned();
        move |hand: &mut Hand| {
            let now_s = Timestamp::now().as_second();
            let more = more.replace("NOW", &now_s.to_string());
            let created_s = now_s + created;
            hand.params = format!(";created={created_s};keyid=\"0367/03.1\"{more}");
        }
    };
    let body = swipe(1, Some(&card(1)), 398).to_string();
    let two = format!("{0}, {0}", digest(body.as_bytes()));
    let one_wrong = format!("{}, {sha_512_of_nothing}", digest(body.as_bytes()));
    let cases = [
        after("one byte of the body", MISMATCH, |hand| {
            let text = String::from_utf8(hand.body.to_vec()).expect("JSON");
            hand.body = text.replacen("398", "399", 1).into();
        }),
        after("a space more", MISMATCH, |hand| hand.body = [&hand.body, &b" "[..]].concat().into()),
        after("the whole body", MISMATCH, |hand| hand.body = "{}".into()),
        before("md5", NO_DIGEST, with_digest("md5=:Sd/dVLAcvNLSq16eXua5uQ==:")),
        before("a short digest", NO_DIGEST, with_digest("sha-256=:X48E9qOokqqrvdts8nOJRA==:")),
        before("one digest twice", NO_DIGEST, with_digest(&two)),
        before("a token", NO_DIGEST, with_digest("sha-256=abc")),
        before("a flag", NO_DIGEST, with_digest("sha-256")),
        before("a list", NO_DIGEST, with_digest("sha-256=()")),
        before("capital letters", NO_DIGEST, with_digest("SHA-256=:AA==:")),
        before("one of two is wrong", MISMATCH, with_digest(&one_wrong)),
        before("from the future", SKEW, at(310, "")),
        before("from the past", SKEW, at(-310, "")),
        before("from the year 1970", SKEW, at(-1_700_000_000, "")),
        before("skewed and expired", SKEW, at(-400, ";expires=1")),
        before("expired", EXPIRED, at(-20, ";expires=1")),
        before("expires as it begins", EXPIRED, at(0, ";expires=NOW")),
    ];
    assert_eq!(run(&service, &cases).await, 34);

    // What a till needs to set its clock.
    let mut hand = good(&service.replica);
    at(-310, "")(&mut hand);
    let till = service.till();
    let answer = within(till.send(hand.signed().request(Version::HTTP_11))).await;
    let date = answer.expect("an answer").headers["date"].to_str().expect("text").to_owned();
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(&date);
    let apart = Timestamp::now().duration_since(date.expect("as RFC 9110 has it"));
    assert!(apart.abs() < SignedDuration::from_mins(1), "{apart}");
}
