//! The pure parts of a swipe's way, each by itself: one transaction of ten lines, an account
//! with a year of history. `cargo bench --bench hot` prints nanoseconds; no database, no network.

use std::fmt::Write as _;
use std::sync::Arc;

use divan::{Bencher, black_box};
use http::HeaderValue;
use http::header::HOST;
use http::request::Parts;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use tillside::accounts::Hot;
use tillside::catalogue::Workstation;
use tillside::domain::account::{Account, State};
use tillside::domain::basket::Swipe;
use tillside::domain::card::CardFormat;
use tillside::domain::consent::Profiling;
use tillside::domain::coupon::{Code, Open};
use tillside::domain::offer::{Basket, Offer};
use tillside::domain::pack::{Pack, Unit};
use tillside::domain::product::{Product, Taxa};
use tillside::domain::profile::{Profile, Visit};
use tillside::domain::programme::earning::Place;
use tillside::domain::programme::{EarnRule, Multiplier, Programme, Rules as ProgrammeRules};
use tillside::domain::selection::offers::{BUILT_IN, Live, OfferRoom};
use tillside::domain::selection::showcase::{
    EVIDENCE_BYTES, Evidence, Lot, Noted, Reason, Showcase, ShowcaseRoom,
};
use tillside::domain::standing;
use tillside::domain::swipe::{Decision, Facts, decide};
use tillside::domain::target::Target;
use tillside::domain::{content, record};
use tillside::http::body;
use tillside::http::signature::{Message, TerminalKey, Unsigned, prove, sign};
use tillside::receipt::{self, Compressor, Points, Receipt};
use tillside::swipe::wire::{Rules, SwipeIn};

/// As in the service: what is measured is mostly small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LINES: u16 = 10;
const TODAY: Date = date(2026, 3, 14);
const NOW_S: i64 = 1_773_506_000;
const SECRET: [u8; 32] = [7; 32];

fn main() {
    divan::main();
}

/// The body of a transaction of ten lines.
fn message() -> String {
    let mut lines = String::new();
    for line in 1..=LINES {
        let separator = if line == 1 { "" } else { "," };
        write!(
            lines,
            r#"{separator}{{"line":{line},"sku":"{}","quantity":"1","amount_minor":{}}}"#,
            1_000_000 + u32::from(line) * 7_919,
            u32::from(line) * 100,
        )
        .expect("writing to a String cannot fail");
    }
    format!(
        r#"{{"store_id":"0367","workstation_id":"03","business_date":"{TODAY}",
        "sequence_number":31198,"occurred_at":"2026-03-14T11:53:26-05:00","currency":"USD",
        "card":"2990000000019","lines":[{lines}],"total_minor":5500}}"#
    )
}

fn parse(body: &[u8], workstation: &Workstation, cards: &CardFormat) -> Swipe {
    let rules = Rules { currency: "USD", cards, window: None, only_read: false };
    let wire: SwipeIn<'_> = body::parse(body).expect("the message is good");
    wire.into_swipe(workstation, &rules).expect("the message is good")
}

fn workstation() -> Workstation {
    Workstation {
        workstation_no: 3,
        store_no: 367,
        house_account: 1,
        bucket: 5,
        time_zone: TimeZone::UTC,
    }
}

fn cards() -> CardFormat {
    CardFormat {
        length_min: 8,
        length_max: 32,
        letters: false,
        check_digit: true,
        prefixes: Vec::new(),
    }
}

fn swipe() -> Swipe {
    parse(message().as_bytes(), &workstation(), &cards())
}

/// Articles of a basket, one of 350 in 176 types.
fn products(basket: u32) -> Vec<Product> {
    let article = |line: u32| {
        let product_no = (basket * 37 + line * 11) % 350 + 1;
        let type_no = product_no % 176 + 1;
        let taxa = Taxa {
            department_no: type_no % 9 + 1,
            category_no: type_no % 40 + 1,
            type_no,
            brand_no: 3,
        };
        let pack = Some(Pack { unit: Unit::Gram, amount: 500 });
        Product { product_no, taxa, pack, ..Product::default() }
    };
    (0..u32::from(LINES)).map(article).collect()
}

fn visit(sold: &[Product], business_date: Date) -> Visit<'_> {
    Visit { business_date, hour: 11, store_no: 367, total_minor: 5_500, redemptions: 0, sold }
}

/// What 63 baskets of a year leave behind.
fn profile() -> Profile {
    let mut profile = Profile::default();
    for basket in 0..63_u32 {
        let day = TODAY - jiff::SignedDuration::from_hours(24 * (365 - i64::from(basket) * 5));
        profile.learn(&visit(&products(basket), day));
    }
    profile
}

fn programme() -> Programme {
    Programme::compile(&ProgrammeRules::default(), |_, _| None).expect("the default is good")
}

fn decided() -> Decision {
    let facts = Facts {
        programme: &programme(),
        products: &products(1),
        returned: &[None; LINES as usize],
        place: Place::default(),
    };
    decide(&Account::new(9, State::Provisional), &swipe(), &facts)
}

/// The head of a signed request, and the bytes that it signs.
fn signed() -> (Parts, String) {
    let body = message();
    let unsigned = Unsigned {
        method: "POST",
        authority: "till.example",
        path: "/v1/swipes",
        query: None,
        body: body.as_bytes(),
    };
    let signed = sign(&unsigned, "0367/03.1", &SECRET, NOW_S);
    let mut request = http::Request::post("/v1/swipes").body(()).expect("a good request");
    request.headers_mut().extend(signed.headers());
    request.headers_mut().insert(HOST, HeaderValue::from_static("till.example"));
    (request.into_parts().0, body)
}

#[divan::bench]
fn signature(bencher: Bencher<'_, '_>) {
    let (parts, body) = signed();
    let (store_id, workstation_id): (Arc<str>, Arc<str>) = ("0367".into(), "03".into());
    bencher.bench_local(|| {
        let key = |_: &str| {
            Some(TerminalKey {
                workstation_no: 3,
                store_id: Arc::clone(&store_id),
                workstation_id: Arc::clone(&workstation_id),
                key_no: 1,
                secret: SECRET.into(),
            })
        };
        let proven = prove(&Message::of(black_box(&parts)), key).expect("the signature is good");
        proven.accept(&parts.headers, body.as_bytes(), NOW_S, 60).expect("the body is as signed")
    });
}

#[divan::bench]
fn parse_and_check(bencher: Bencher<'_, '_>) {
    let (body, workstation, cards) = (message(), workstation(), cards());
    bencher.bench_local(|| parse(black_box(body.as_bytes()), &workstation, &cards));
}

#[divan::bench]
fn content_hash(bencher: Bencher<'_, '_>) {
    let swipe = swipe();
    bencher.bench_local(|| content::hash(black_box(&swipe)));
}

#[divan::bench]
fn decide_points(bencher: Bencher<'_, '_>) {
    let (account, swipe) = (Account::new(9, State::Provisional), swipe());
    let (programme, products) = (programme(), products(1));
    let returned = [None; LINES as usize];
    let facts = Facts {
        programme: &programme,
        products: &products,
        returned: &returned,
        place: Place::default(),
    };
    bencher.bench_local(|| decide(black_box(&account), &swipe, &facts));
}

/// By twenty rules of all kinds, half of which hold.
#[divan::bench]
fn decide_points_by_rules(bencher: Bencher<'_, '_>) {
    let rule = |at: u32| {
        let mut rule = EarnRule {
            name: at.to_string(),
            departments: vec![(at % 9 + 1).to_string()],
            minimum_minor: i64::from(at % 2) * 10_000,
            ..EarnRule::default()
        };
        match at % 4 {
            0 | 1 => rule.multiplier = Some(Multiplier(1_500 + at)),
            2 => rule.points_per_item = Some(2),
            _ => rule.fixed_points = Some(50),
        }
        rule
    };
    let rules = (0..20).map(rule).collect();
    let rules = ProgrammeRules { rules, ..ProgrammeRules::default() };
    let programme = Programme::compile(&rules, |_, name| name.parse().ok()).expect("good rules");
    let (account, swipe) = (Account::new(9, State::Provisional), swipe());
    let (products, returned) = (products(1), [None; LINES as usize]);
    let place = Place::default();
    let facts = Facts { programme: &programme, products: &products, returned: &returned, place };
    bencher.bench_local(|| decide(black_box(&account), &swipe, &facts));
}

#[divan::bench]
fn learn(bencher: Bencher<'_, '_>) {
    let sold = products(64);
    bencher.with_inputs(profile).bench_local_refs(|profile| profile.learn(&visit(&sold, TODAY)));
}

/// Once in sixteen versions of an account.
#[divan::bench]
fn checkpoint(bencher: Bencher<'_, '_>) {
    let profile = profile();
    bencher.bench_local(|| black_box(&profile).encode());
}

#[divan::bench]
fn remember(bencher: Bencher<'_, '_>) {
    let (swipe, products, decision) = (swipe(), products(1), decided());
    bencher.bench_local(|| record::encode(black_box(&swipe), &products, &decision));
}

/// A thousand offers: four in five for four articles each, the others for a larger pack each.
fn offers() -> Vec<Arc<Offer>> {
    let offer = |offer_no: i32| {
        let skus: Vec<String> = match offer_no % 5 {
            0 => vec![(offer_no / 5 % 176 + 351).to_string()],
            _ => (0..4).map(|nth| ((offer_no * 7 + nth * 31) % 350 + 1).to_string()).collect(),
        };
        let definition = serde_json::json!({
            "offer": format!("o-{offer_no}"), "headline": "Half off", "delivery": "personal",
            "reward": { "kind": "percent-off", "percent": 50 }, "valid_days": 14,
            "at_the_till": true, "scope": { "skus": skus },
            "funding": { "party": "chain", "share_percent": 100 },
        });
        let definition = serde_json::from_value(definition).expect("a definition");
        let offer = Offer::compile(offer_no, definition, |_, name| name.parse().ok());
        Arc::new(offer.expect("sound"))
    };
    (1..=1_000).map(offer).collect()
}

/// What baskets hold, and of each type a larger pack that none ever held.
fn catalogue() -> Vec<Product> {
    let mut catalogue = vec![Product::default(); 351];
    for product in (0..63).flat_map(products) {
        catalogue[product.product_no as usize] = product;
    }
    catalogue.extend((1..=176).map(|type_no| Product {
        product_no: 350 + type_no,
        taxa: Taxa { type_no, brand_no: 3, ..Taxa::default() },
        pack: Some(Pack { unit: Unit::Gram, amount: 1_000 }),
        ..Product::default()
    }));
    catalogue
}

/// The scores alone.
#[divan::bench]
fn score_coupons(bencher: Bencher<'_, '_>) {
    let (offers, profile) = (offers(), profile());
    let targets: Vec<&Target> = offers.iter().map(|offer| offer.target()).collect();
    let live = Live::new(&targets, &catalogue(), &[], BUILT_IN);
    let mut room = OfferRoom::default();
    bencher.bench_local(|| {
        live.weigh_all(black_box(&profile), &mut room);
        live.weighed(&room).map(|(_, score)| score).sum::<f32>()
    });
}

/// Places, kinds, reasons and numbers on top of the scores.
#[divan::bench]
fn choose_coupons(bencher: Bencher<'_, '_>) {
    let profile = profile();
    let showcase = Showcase::new(offers().into_iter(), &catalogue(), &[], BUILT_IN);
    let (swipe, products, mut room) = (swipe(), products(1), ShowcaseRoom::default());
    let lines = &swipe.lines;
    let basket = Basket { business_date: TODAY, store_no: 367, lines, products: &products };
    let noted = Noted {
        most: 2,
        explore_ppm: 50_000,
        knows_packs: true,
        held: vec![3, 70],
        ..Noted::default()
    };
    bencher.bench_local(|| {
        let moment = noted.moment(&basket, Lot::of(&swipe.name));
        showcase.choose(black_box(&profile), &moment, &mut room)
    });
}

/// All that a swipe pays for what is stored of its choice: which offers the customer holds and is
/// tired of, out of forty coupons, beside the swipe; and slot, probability and numbers beside each
/// of two coupons.
#[divan::bench]
fn note_a_choice(bencher: Bencher<'_, '_>) {
    let open = |nth: u8| Open {
        code: Code::new(9, nth.into()),
        offer_no: i32::from(nth % 13) * 41 + 3,
        valid_from: TODAY.saturating_sub(Span::new().days(i64::from(nth) * 2 + 14)),
        valid_until: TODAY.saturating_sub(Span::new().days(i64::from(nth) * 2 - 12)),
        is_used: nth.is_multiple_of(5),
        reason: Some(Reason::Favourite),
    };
    let hot = Hot {
        account: Account::new(9, State::Enrolled),
        cards: Arc::default(),
        profile: Arc::default(),
        open: (0..40).map(open).collect(),
        profiling: Profiling::Unsaid,
        tail_since: TODAY,
    };
    let evidence =
        Evidence { bought: 14, gap_days: 9, days_since: 7, rank: 3, score: -214, ..<_>::default() };
    bencher.bench_local(|| {
        let hot = black_box(&hot);
        let mut held: Vec<i32> = hot.open_on(TODAY).map(|it| it.offer_no).collect();
        held.sort_unstable();
        held.dedup();
        let most = 8_usize.saturating_sub(hot.chosen_in_week(TODAY)).min(2);
        let noted = Noted {
            reference_version: 70_000,
            epoch: 12,
            most: u8::try_from(most).expect("at most two"),
            explore_ppm: 50_000,
            held,
            tired: hot.tired_of(TODAY),
            ..Noted::default()
        };
        let mut beside_coupons = Vec::with_capacity(2 * EVIDENCE_BYTES);
        for _ in 0..2 {
            beside_coupons.extend_from_slice(&black_box(evidence).encode());
        }
        (noted.encode(), beside_coupons)
    });
}

#[divan::bench]
fn receipt_in_bytes(bencher: Bencher<'_, '_>) {
    let (swipe, decision) = (swipe(), decided());
    bencher.bench_local(|| answer(black_box(&swipe), &decision));
}

#[divan::bench]
fn receipt_compressed(bencher: Bencher<'_, '_>) {
    let answer = answer(&swipe(), &decided());
    let mut compressor = Compressor::new();
    bencher.bench_local(|| compressor.compress(black_box(&answer)));
}

fn answer(swipe: &Swipe, decision: &Decision) -> bytes::Bytes {
    let standing = standing::of(&decision.account, decision.account.clock);
    receipt::to_bytes(&Receipt {
        swipe: &swipe.name.to_string(),
        account: Some(receipt::account_text(decision.account.account_id)),
        recorded_at: Timestamp::UNIX_EPOCH,
        points: Points { earned: decision.earned, ..Points::of_account(&standing) },
        tier: None,
        redemptions: Vec::new(),
        coupons: Vec::new(),
        messages: Vec::new(),
    })
}
