//! From the bytes of a body to a value, with answers that a till's programmer can use.
//!
//! What is not JSON (RFC 8259), or has a key twice, is `malformed-json`; JSON of another shape
//! is `validation-failed` with a pointer to the place. No input is repeated in an answer.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use super::problem::{FieldError, Problem, Slug};
use crate::domain::card::CardFormat;
use crate::domain::payment_card::{self, Field};

/// Parses a whole body.
///
/// # Errors
/// `malformed-json`, `validation-failed` with one pointer, or, when a body that cannot be
/// understood holds a payment-card number, `payment-card-data-refused`.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    match serde_json::from_slice(body) {
        Ok(Object(value)) => Ok(value),
        Err(_) => Err(misshapen::<T>(body)),
    }
}

/// What is wrong with a body that could not be parsed. Where it is wrong costs every field a
/// note of its own, so it is asked only of a body that is refused.
fn misshapen<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Problem {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let Err(error) = serde_path_to_error::deserialize::<_, Object<T>>(&mut deserializer) else {
        // Something follows the value.
        return Problem::new(Slug::MalformedJson);
    };
    match error.inner().classify() {
        Category::Data => {}
        _ => return Problem::new(Slug::MalformedJson),
    }
    // The shape is wrong; whether it is JSON at all is known only from the whole of it.
    match scan(body) {
        Err(_) => Problem::new(Slug::MalformedJson),
        Ok(Scan { payment_card: true, .. }) => Problem::new(Slug::PaymentCardDataRefused),
        Ok(_) => shape(place(&error), reason(error.inner())),
    }
}

/// Whether a payment-card number stands anywhere in a body that could be parsed.
pub fn holds_payment_card(body: &[u8]) -> bool {
    matches!(scan(body), Ok(Scan { payment_card: true, .. }))
}

/// What is really to be said about a body that was refused: when a payment-card number stands
/// anywhere in it, that comes first, and the body must not be kept. Fields that are judged by a
/// format of their own are looked at here only.
pub fn refusal(body: &[u8], problem: Problem) -> Problem {
    let later = problem.slug() > Slug::PaymentCardDataRefused;
    if later && matches!(scan(body), Ok(Scan { payment_card: true, .. })) {
        return Problem::new(Slug::PaymentCardDataRefused);
    }
    problem
}

/// A list of objects. A struct could also be read from an array, by position; the contract
/// knows objects only.
///
/// # Errors
/// What the deserializer says.
pub fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(value)| value).collect())
}

/// An object, or null.
///
/// # Errors
/// What the deserializer says.
pub fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let object = Option::<Object<T>>::deserialize(deserializer)?;
    Ok(object.map(|Object(value)| value))
}

/// Something that is read from an object and from nothing else.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

fn scan(body: &[u8]) -> Result<Scan, serde_json::Error> {
    let mut whole = serde_json::Deserializer::from_slice(body);
    Scan::default().deserialize(&mut whole).and_then(|scan| whole.end().map(|()| scan))
}

/// Whether a token may be a card of this chain.
///
/// # Errors
/// `payment-card-data-refused` or `card-invalid`.
pub fn check_card(card: &str, pointer: &str, format: &CardFormat) -> Result<(), Problem> {
    if format.admits(card) {
        return Ok(());
    }
    if payment_card::found_in(card, Field::Text) {
        return Err(Problem::new(Slug::PaymentCardDataRefused));
    }
    let detail = "this is not a card of this chain".into();
    let finding = FieldError { pointer: pointer.to_owned(), detail };
    Err(Problem::invalid(Slug::CardInvalid, vec![finding]))
}

fn shape(pointer: String, detail: &'static str) -> Problem {
    let finding = FieldError { pointer, detail: detail.into() };
    Problem::invalid(Slug::ValidationFailed, vec![finding])
}

/// What is wrong, told from the beginning of serde's message, which holds no input there.
fn reason(error: &serde_json::Error) -> &'static str {
    let message = error.to_string();
    let known = [
        ("unknown field", "this field is not known here"),
        ("missing field", "a required field is missing"),
        ("unknown variant", "this is not one of the values that are known here"),
        ("invalid value", "this value is out of range"),
        ("invalid length", "too few elements"),
    ];
    let found = known.iter().find(|(beginning, _)| message.starts_with(beginning));
    found.map_or("this is not of the required type", |(_, reason)| reason)
}

/// Where it is wrong. A field that is missing has no place yet: serde's message names it, as
/// the contract spells it.
fn place(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let mut pointer = pointer(error.path());
    let message = error.inner().to_string();
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
    if let Some((name, _)) = missing {
        pointer.push('/');
        pointer.push_str(name);
    }
    pointer
}

/// The JSON pointer (RFC 6901) of a path.
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        pointer.push('/');
        match segment {
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Map { key } => pointer.push_str(&escaped(key)),
            Segment::Enum { variant } => pointer.push_str(variant),
            Segment::Unknown => pointer.push('?'),
        }
    }
    pointer
}

/// A key in a pointer. Keys come from input: only what a field's name could be is shown.
fn escaped(key: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    if key.len() <= 32 && key.chars().all(plain) { key.to_owned() } else { "?".to_owned() }
}

/// Walks any JSON value: fails on a key that stands twice, and looks for payment-card numbers.
#[derive(Default)]
struct Scan {
    payment_card: bool,
    /// What the value under way is.
    field: Field,
}

impl Scan {
    fn look_at(&mut self, text: &str) {
        self.payment_card |= payment_card::found_in(text, self.field);
    }

    fn look_at_number(&mut self, number: u64) {
        self.payment_card |= payment_card::is_number(number);
    }
}

impl<'de> DeserializeSeed<'de> for Scan {
    type Value = Self;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scan {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<Self, E> {
        self.look_at_number(value.unsigned_abs());
        Ok(self)
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<Self, E> {
        self.look_at_number(value);
        Ok(self)
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<Self, E> {
        // A number can be written with a point or an exponent and be whole all the same.
        if let Ok(number) = format!("{:.0}", value.abs()).parse() {
            self.look_at_number(number);
        }
        Ok(self)
    }

    fn visit_str<E>(mut self, value: &str) -> Result<Self, E> {
        self.look_at(value);
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<Self, A::Error> {
        while let Some(element) = sequence.next_element_seed(Self::default())? {
            self.payment_card |= element.payment_card;
        }
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            self.look_at(&key);
            let field = Field::of_key(&key);
            let value = map.next_value_seed(Self { field, ..Self::default() })?;
            self.payment_card |= value.payment_card;
            if !keys.insert(key) {
                return Err(serde::de::Error::custom("a key stands twice"));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[expect(dead_code, reason = "only its parsing is of interest")]
        amount: i64,
        #[serde(default)]
        #[expect(dead_code, reason = "only its parsing is of interest")]
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[expect(dead_code, reason = "only its parsing is of interest")]
        sku: String,
    }

    fn slug_and_pointer(body: &[u8]) -> (Slug, String) {
        let problem = parse::<Body>(body).expect_err("none of these is a body");
        let pointer = problem.errors().first().map(|finding| finding.pointer.clone());
        (problem.slug(), pointer.unwrap_or_default())
    }

    #[test]
    fn what_is_not_json_is_malformed_and_what_has_another_shape_is_pointed_at() {
        let deep = vec![b'['; 100_000];
        let many: Vec<u8> =
            [b"{\"amount\":1".to_vec(), b",\"x\":1".repeat(2), b"}".to_vec()].concat();
        for (body, slug, pointer) in [
            (&b""[..], Slug::MalformedJson, ""),
            (b"{", Slug::MalformedJson, ""),
            (b"{\"amount\":1} x", Slug::MalformedJson, ""),
            (b"\xef\xbb\xbf{\"amount\":1}", Slug::MalformedJson, ""),
            (b"{\"amount\":1e400}", Slug::MalformedJson, ""),
            (b"{\"amount\":NaN}", Slug::MalformedJson, ""),
            (b"{\"amount\":1,\"lines\":[{\"sku\":\"\\ud800\"}]}", Slug::MalformedJson, ""),
            (b"{\"amount\":1,\"lines\":[{\"sku\":\"\xff\"}]}", Slug::MalformedJson, ""),
            (b"{\"amount\":1,\"amount\":1}", Slug::MalformedJson, ""),
            (&many, Slug::MalformedJson, ""),
            (&deep, Slug::MalformedJson, ""),
            (b"null", Slug::ValidationFailed, ""),
            (b"[]", Slug::ValidationFailed, ""),
            (b"[1,[]]", Slug::ValidationFailed, ""),
            (b"{}", Slug::ValidationFailed, "/amount"),
            (b"{\"amount\":1.5}", Slug::ValidationFailed, "/amount"),
            (b"{\"amount\":\"1\"}", Slug::ValidationFailed, "/amount"),
            (b"{\"amount\":1,\"points\":5}", Slug::ValidationFailed, "/points"),
            (b"{\"amount\":1,\"<b>\":5}", Slug::ValidationFailed, "/?"),
            (b"{\"amount\":1,\"lines\":[{}]}", Slug::ValidationFailed, "/lines/0/sku"),
            (b"{\"amount\":1,\"lines\":[{\"sku\":7}]}", Slug::ValidationFailed, "/lines/0/sku"),
            (b"{\"amount\":1,\"note\":\"4111 1111 1111 1111\"}", Slug::PaymentCardDataRefused, ""),
            (b"{\"amount\":1,\"note\":4111111111111111}", Slug::PaymentCardDataRefused, ""),
            (b"{\"amount\":1,\"note\":-4111111111111111}", Slug::PaymentCardDataRefused, ""),
            (b"{\"amount\":1,\"note\":4.111111111111111e15}", Slug::PaymentCardDataRefused, ""),
            (b"{\"amount\":1,\"4111111111111111\":[]}", Slug::PaymentCardDataRefused, ""),
            (b"{\"amount\":1,\"phone\":\"+49 1511 1111113\"}", Slug::ValidationFailed, "/phone"),
        ] {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
            assert_eq!(slug_and_pointer(body), (slug, pointer.to_owned()), "{shown}");
        }
    }
}
