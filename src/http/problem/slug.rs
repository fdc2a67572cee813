//! Why a request is not done: one slug per reason, its status and its words, in order of
//! precedence. A slug that was once sent never changes its meaning.

use ::http::StatusCode;

/// Every reason for which a request is not done, in order of precedence: when several
/// apply, the first one is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table below says what each one means, in print")]
pub enum Slug {
    UriTooLong,
    HeadersTooLarge,
    MisdirectedRequest,
    NotFound,
    MethodNotAllowed,
    UnsupportedMediaType,
    BodyTooLarge,
    RequestTimeout,
    MalformedRequest,
    Overloaded,
    SignatureInvalid,
    ContentDigestInvalid,
    ContentDigestMismatch,
    ClockSkew,
    SignatureExpired,
    TerminalMismatch,
    Unauthenticated,
    Forbidden,
    MalformedJson,
    PaymentCardDataRefused,
    CardInvalid,
    TimestampOutOfRange,
    ValidationFailed,
    SwipeNameReused,
    CardOfAnotherAccount,
    CardBlocked,
    AccountNotEnrolled,
    IdempotencyKeyInvalid,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    UserExists,
    OfferExists,
    HandoutExists,
    HandoutNotReady,
    HandoutIssuing,
    CodesRevoked,
    CouponRedeemed,
    ProgrammeUnchanged,
    ModelUnchanged,
    AdjustmentCapExceeded,
    StorageUnavailable,
    DeadlineExceeded,
    OutcomeUnknown,
    Internal,
}

pub(super) struct Entry {
    slug: Slug,
    pub(super) name: &'static str,
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) help: &'static str,
}

impl Slug {
    /// All of them, in order of precedence.
    pub fn all() -> impl Iterator<Item = Self> {
        ENTRIES.iter().map(|entry| entry.slug)
    }

    /// The text of it in `type`.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> StatusCode {
        self.entry().status
    }

    pub(super) fn entry(self) -> &'static Entry {
        let entry = &ENTRIES[self as usize];
        debug_assert_eq!(entry.slug, self, "the table is in the order of the enum");
        entry
    }
}

const fn entry(
    slug: Slug,
    name: &'static str,
    status: StatusCode,
    title: &'static str,
    help: &'static str,
) -> Entry {
    Entry { slug, name, status, title, help }
}

/// In the order of [`Slug`].
pub(super) static ENTRIES: [Entry; 44] = [
    entry(
        Slug::UriTooLong,
        "uri-too-long",
        StatusCode::URI_TOO_LONG,
        "The address is too long",
        "No address of this service is that long. Put data into the body, not into the address.",
    ),
    entry(
        Slug::HeadersTooLarge,
        "headers-too-large",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "There are too many headers",
        "The request has more headers than the service reads. Send only those that it needs; a \
         proxy on the way may be adding some.",
    ),
    entry(
        Slug::MisdirectedRequest,
        "misdirected-request",
        StatusCode::MISDIRECTED_REQUEST,
        "The request names two hosts",
        "The host in the address and the Host header differ. Send both alike, or the Host header \
         alone.",
    ),
    entry(
        Slug::NotFound,
        "not-found",
        StatusCode::NOT_FOUND,
        "There is nothing here",
        "Nothing is known under this address. For the outcome of a transaction this is not \
         final: it may still be on its way, so send the transaction again.",
    ),
    entry(
        Slug::MethodNotAllowed,
        "method-not-allowed",
        StatusCode::METHOD_NOT_ALLOWED,
        "The method does not fit the address",
        "The address exists, but not for this method. The Allow header names those that it has.",
    ),
    entry(
        Slug::UnsupportedMediaType,
        "unsupported-media-type",
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The body is not plain JSON",
        "Send Content-Type: application/json (charset utf-8, if any is named) and no \
         Content-Encoding: compressed bodies are not read.",
    ),
    entry(
        Slug::BodyTooLarge,
        "body-too-large",
        StatusCode::PAYLOAD_TOO_LARGE,
        "The body is too large",
        "The body is larger than this address accepts: 64 KiB, and 2 MiB for batches, unless it \
         is set otherwise. Split a batch into several.",
    ),
    entry(
        Slug::RequestTimeout,
        "request-timeout",
        StatusCode::REQUEST_TIMEOUT,
        "The request took too long to arrive",
        "The body was not complete in time; nothing was done. Send the request again, at once \
         and on a new connection.",
    ),
    entry(
        Slug::MalformedRequest,
        "malformed-request",
        StatusCode::BAD_REQUEST,
        "The request could not be read",
        "The body broke off or its framing is wrong; nothing was done. Send the request again.",
    ),
    entry(
        Slug::Overloaded,
        "overloaded",
        StatusCode::SERVICE_UNAVAILABLE,
        "Too much is waiting",
        "The service has as much to do as it can take; nothing was done. Wait as long as \
         Retry-After says and send the same transaction again.",
    ),
    entry(
        Slug::SignatureInvalid,
        "signature-invalid",
        StatusCode::UNAUTHORIZED,
        "The signature is missing or not valid",
        "The request is not proven to come from a terminal of this chain. Accept-Signature shows \
         what a signature must cover; tillside sign --explain prints the text that is signed, \
         so that the first difference can be found. The key may also have been revoked.",
    ),
    entry(
        Slug::ContentDigestInvalid,
        "content-digest-invalid",
        StatusCode::BAD_REQUEST,
        "The Content-Digest cannot be used",
        "Content-Digest must carry sha-256 or sha-512 (RFC 9530), each once and of its proper \
         length.",
    ),
    entry(
        Slug::ContentDigestMismatch,
        "content-digest-mismatch",
        StatusCode::BAD_REQUEST,
        "The body is not the one that was signed",
        "The digest of the body that arrived differs from Content-Digest. Compute it over the \
         very bytes that are sent, after everything that may still change them.",
    ),
    entry(
        Slug::ClockSkew,
        "clock-skew",
        StatusCode::UNAUTHORIZED,
        "The clock of the terminal is wrong",
        "The signature was created too long ago or lies in the future. Take the time from the \
         Date header of this answer, keep the difference, and sign again when sending, also \
         what was stored while offline.",
    ),
    entry(
        Slug::SignatureExpired,
        "signature-expired",
        StatusCode::UNAUTHORIZED,
        "The signature has expired",
        "The time that the signature gave itself with expires is over. Sign again.",
    ),
    entry(
        Slug::TerminalMismatch,
        "terminal-mismatch",
        StatusCode::FORBIDDEN,
        "The key belongs to another terminal",
        "The store or workstation in the request is not the one of the key. A terminal records \
         its own transactions only; reading and voiding needs the same store.",
    ),
    entry(
        Slug::Unauthenticated,
        "unauthenticated",
        StatusCode::UNAUTHORIZED,
        "The token is missing or not valid",
        "The back office takes Authorization: Bearer with a token of tillside token add. It may \
         have expired or been revoked, or its user may have been disabled.",
    ),
    entry(
        Slug::Forbidden,
        "forbidden",
        StatusCode::FORBIDDEN,
        "The role does not allow this",
        "The user of the token has a role that may not do this, or may do it in other stores \
         only, or the token is for reading only. Ask an admin of the chain.",
    ),
    entry(
        Slug::MalformedJson,
        "malformed-json",
        StatusCode::BAD_REQUEST,
        "The body is not JSON",
        "The body must be one JSON document in UTF-8 without a byte order mark, with every name \
         once.",
    ),
    entry(
        Slug::PaymentCardDataRefused,
        "payment-card-data-refused",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The request carries a payment card number",
        "What looks like the number of a payment card is not accepted anywhere, was not stored \
         and was not logged. Check which field the register puts it into.",
    ),
    entry(
        Slug::CardInvalid,
        "card-invalid",
        StatusCode::UNPROCESSABLE_ENTITY,
        "This is not a card of this chain",
        "Length, characters, prefix or check digit are not those of the chain's cards. A misread \
         is likely: scan it again.",
    ),
    entry(
        Slug::TimestampOutOfRange,
        "timestamp-out-of-range",
        StatusCode::UNPROCESSABLE_ENTITY,
        "A time lies outside of what is accepted",
        "occurred_at must lie close to the business date, and the business date within the \
         window that is set. Check the date of the register.",
    ),
    entry(
        Slug::ValidationFailed,
        "validation-failed",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The request does not hold together",
        "errors names each place in the body and what is asked for there. The same request will \
         fail again; it is kept for people to look at.",
    ),
    entry(
        Slug::SwipeNameReused,
        "swipe-name-reused",
        StatusCode::UNPROCESSABLE_ENTITY,
        "Another transaction has this name",
        "Store, workstation, business date and sequence number already name a transaction with \
         other content. That one stands. Check that the register never counts a number twice.",
    ),
    entry(
        Slug::CardOfAnotherAccount,
        "card-of-another-account",
        StatusCode::CONFLICT,
        "The card belongs to another account",
        "A card belongs to one account. Merge the accounts in the back office, or use another \
         card.",
    ),
    entry(
        Slug::CardBlocked,
        "card-blocked",
        StatusCode::CONFLICT,
        "The card is blocked",
        "A blocked card is enrolled and linked by nobody, and takes no other card's place. Use \
         another card, or unblock it in the back office.",
    ),
    entry(
        Slug::AccountNotEnrolled,
        "account-not-enrolled",
        StatusCode::CONFLICT,
        "Nobody has enrolled the account",
        "Whose card it is cannot be proven before somebody has enrolled it, or the account was \
         merged into another, which has the cards now. Nothing was done.",
    ),
    entry(
        Slug::IdempotencyKeyInvalid,
        "idempotency-key-invalid",
        StatusCode::BAD_REQUEST,
        "The Idempotency-Key is missing or not valid",
        "Send one Idempotency-Key header of 1 to 128 printable characters, a new one for each \
         thing that is to be done once, and the same one when it is sent again.",
    ),
    entry(
        Slug::IdempotencyKeyInUse,
        "idempotency-key-in-use",
        StatusCode::CONFLICT,
        "A request with this Idempotency-Key is under way",
        "The first request with the same key has not ended yet. Send it again in a moment: the \
         answer will be that of the first.",
    ),
    entry(
        Slug::IdempotencyKeyReused,
        "idempotency-key-reused",
        StatusCode::UNPROCESSABLE_ENTITY,
        "Another request had this Idempotency-Key",
        "The key was used for a request with other content, which stands. Nothing was done. Use \
         a new key for a new request.",
    ),
    entry(
        Slug::UserExists,
        "user-exists",
        StatusCode::CONFLICT,
        "There is a user with this e-mail address",
        "An address names one user, also one that is disabled. Nothing was done.",
    ),
    entry(
        Slug::OfferExists,
        "offer-exists",
        StatusCode::CONFLICT,
        "There is an offer of this name",
        "An offer keeps its name for ever, also one that has ended. Nothing was done.",
    ),
    entry(
        Slug::HandoutExists,
        "handout-exists",
        StatusCode::CONFLICT,
        "There is a handout of this name",
        "A handout keeps its name for ever, so that under it an account gets one coupon. Look at \
         the one that is there, or take another name. Nothing was done.",
    ),
    entry(
        Slug::HandoutNotReady,
        "handout-not-ready",
        StatusCode::CONFLICT,
        "The handout is not at that point",
        "It is issued when its accounts are known: it still looks for them, or waits for its list. \
         And a list is taken by a handout that is for one, until it is issued. Nothing was done.",
    ),
    entry(
        Slug::HandoutIssuing,
        "handout-issuing",
        StatusCode::CONFLICT,
        "The handout is being issued",
        "Its coupons are taken back when no more are issued: stop it first, then ask again. \
         Nothing was done.",
    ),
    entry(
        Slug::CodesRevoked,
        "codes-revoked",
        StatusCode::CONFLICT,
        "The codes were taken back",
        "No till takes any of these codes any more, so there is no file of them: make others.",
    ),
    entry(
        Slug::CouponRedeemed,
        "coupon-redeemed",
        StatusCode::CONFLICT,
        "A till has taken this coupon",
        "What was redeemed is not taken back: void the sale at the till, which opens the coupon \
         again. Nothing was done.",
    ),
    entry(
        Slug::ProgrammeUnchanged,
        "programme-unchanged",
        StatusCode::CONFLICT,
        "This would change nothing",
        "The rules are those of the newest version, or there is no programme before it to go \
         back to. Nothing was done.",
    ),
    entry(
        Slug::ModelUnchanged,
        "model-unchanged",
        StatusCode::CONFLICT,
        "This would change nothing",
        "No model was ever published: tills choose coupons with what is built in, and always have. \
         Nothing was done.",
    ),
    entry(
        Slug::AdjustmentCapExceeded,
        "adjustment-cap-exceeded",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The points of the day are used up",
        "With this adjustment the user would have given and taken more points today than \
         office.adjustment_points_per_day allows. Nothing was done.",
    ),
    entry(
        Slug::StorageUnavailable,
        "storage-unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        "Nothing can be stored at the moment",
        "The database does not answer; nothing was done. Wait as long as Retry-After says and \
         send the same transaction again.",
    ),
    entry(
        Slug::DeadlineExceeded,
        "deadline-exceeded",
        StatusCode::SERVICE_UNAVAILABLE,
        "It could not be done in time",
        "The deadline of the terminal passed before the work began; nothing was done. Send the \
         same transaction again.",
    ),
    entry(
        Slug::OutcomeUnknown,
        "outcome-unknown",
        StatusCode::SERVICE_UNAVAILABLE,
        "The outcome is not known yet",
        "The transaction may or may not have been recorded. Send it again under the same name: \
         it counts once, and the answer is the same.",
    ),
    entry(
        Slug::Internal,
        "internal",
        StatusCode::INTERNAL_SERVER_ERROR,
        "A fault of the service",
        "This should not happen. Send the same transaction again later, and report the request \
         id to the people who run the service.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_precedence() {
        for (index, entry) in ENTRIES.iter().enumerate() {
            assert_eq!(entry.slug as usize, index, "{}", entry.name);
            assert!(entry.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!(entry.status.is_client_error() || entry.status.is_server_error());
            assert!(entry.help.ends_with('.') && !entry.title.ends_with('.'), "{}", entry.name);
            assert!(!entry.help.contains(['<', '&']), "{} goes into a page as it is", entry.name);
        }
        assert_eq!(Slug::Internal as usize + 1, ENTRIES.len());
    }
}
