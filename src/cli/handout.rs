//! What `tillside coupon` does with handouts: issues coupons of an offer to all accounts that a
//! question means, once under a name, writes them to a file, and takes them back. Works itself, or
//! watches when a service does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::progress::Progress;
use super::{Outcome, coupon, print};
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::db::pool::Pool;
use crate::domain::offer::Delivery;
use crate::domain::segment::Segment;
use crate::http::file::Format;
use crate::metrics::Metrics;
use crate::offer;
use crate::offer::handouts::file::File;
use crate::offer::handouts::revoke::Revocation;
use crate::offer::handouts::{self, Handout, NotMade, State, Wanted, Worker, is_name, revoke};

/// How often a handout is looked at that a service works at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

const NO_SUCH_HANDOUT: &str = "there is no such handout";

/// What is asked for.
pub(super) struct Asked<'a> {
    /// What the handout is called.
    pub(super) name: &'a str,
    /// What the offer is called.
    pub(super) offer: &'a str,
    /// Which accounts: names and values, `name=value` each.
    pub(super) filters: &'a [String],
    /// Whether accounts of the hold-out get theirs as well.
    pub(super) held_out_too: bool,
    /// Whether the accounts are only to be counted.
    pub(super) only_count: bool,
    /// Whether to print JSON.
    pub(super) json: bool,
}

pub(super) async fn run(
    asked: &Asked<'_>,
    config: &Config,
    pool: &Pool,
    now: Timestamp,
) -> Outcome {
    let today = config.time_zone().to_datetime(now).date();
    // Kept current: what people end meanwhile ends here as well.
    let catalogue = Catalogue::start_for_audit(pool.clone()).await?;
    let snapshot = catalogue.current();
    if !is_name(asked.name) {
        return Err("--name must be 1 to 64 of a to z, 0 to 9 and hyphens".into());
    }
    let segment = segment(asked.filters)?;
    let no_such_offer = "there is no such offer; `tillside offer list` shows what there is";
    let offer = snapshot.offer_named(asked.offer).ok_or(no_such_offer)?;
    if offer.definition.delivery != Delivery::Personal {
        return Err("the offer has codes, and is issued to nobody".into());
    }
    let wanted = Wanted {
        handout: asked.name,
        offer_no: offer.offer_no,
        segment: Some(&segment),
        held_out_too: asked.held_out_too,
    };
    let is_live = offer.validity(today).is_some();
    let mut handout = match handouts::make(pool, &wanted, None, None, now).await? {
        Ok(made) => made,
        Err(NotMade::TooMany) => {
            return Err("200 handouts are not done: issue some of them, or end them".into());
        }
        Err(NotMade::NameTaken) => {
            let there =
                handouts::find(pool, asked.name).await?.ok_or("it was ended this moment")?;
            let is_same = there.offer == asked.offer
                && there.segment.as_ref() == Some(&segment)
                && there.held_out_too == asked.held_out_too;
            if !is_same {
                return Err("another handout is called so: take another --name".into());
            }
            there
        }
    };
    // It knows no tills, so it waits for none; a handful of accounts at a time holds up nobody.
    let mut worker = Worker::new(config, pool.clone(), Arc::new(Metrics::new()));
    if handout.state == State::Counting {
        let progress = Progress::new("looking for accounts", None);
        handout =
            worked(&mut worker, handout, pool, &catalogue, &progress, |it| it.accounts).await?;
    }
    if asked.only_count {
        return say(asked, &handout);
    }
    if handout.state != State::Done {
        if !is_live {
            return Err("the offer is over, or has not begun".into());
        }
        let issuing = handouts::issue(pool, &handout, None, today, now).await?;
        handout = issuing.ok_or("its accounts are not known yet")?;
        let total = u64::try_from(handout.accounts - handout.done).unwrap_or(0);
        let progress = Progress::new("issuing to accounts", Some(total));
        handout = worked(&mut worker, handout, pool, &catalogue, &progress, |it| it.done).await?;
    }
    say(asked, &handout)?;
    match (handout.state, handout.stopped_why.as_deref()) {
        (State::Done, None) => Ok(()),
        (_, Some("budget-spent")) => Err("nothing is left of the offer's budget that others do \
             not hold: raise it, and run this again to go on"
            .into()),
        (_, Some("offer-ended")) => Err("the offer has ended".into()),
        (State::Done, _) => Err("people have ended it: take another --name".into()),
        _ => Err("people have stopped it: run this again to go on".into()),
    }
}

/// Works at a handout until there is nothing more to do in its state, or watches while somebody
/// else does. `count` says what progress is told by.
async fn worked(
    worker: &mut Worker,
    mut handout: Handout,
    pool: &Pool,
    catalogue: &Catalogue,
    progress: &Progress,
    count: impl Fn(&Handout) -> i32,
) -> Result<Handout, Box<dyn std::error::Error>> {
    let is_at = |handout: &Handout| (handout.state, handout.is_being_revoked());
    let before = is_at(&handout);
    let mut told = count(&handout);
    let mut tell = |handout: &Handout| {
        let now = count(handout);
        progress.add(u64::try_from(now - told).unwrap_or(0));
        told = now;
    };
    let works = matches!(handout.state, State::Counting | State::Issuing) || before.1;
    while works && is_at(&handout) == before {
        let is_ours = worker.work(Some(&handout), || catalogue.current(), &mut tell).await?;
        let name = &handout.handout;
        handout = handouts::find(pool, name).await?.ok_or("the handout is gone")?;
        if !is_ours && is_at(&handout) == before {
            tell(&handout);
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    Ok(handout)
}

/// Writes the coupons that a handout has issued so far.
pub(super) async fn file(
    config: &Config,
    pool: &Pool,
    name: &str,
    out: Option<&Path>,
    format: Format,
    now: Timestamp,
) -> Outcome {
    let handout = handouts::find(pool, name).await?.ok_or(NO_SUCH_HANDOUT)?;
    let stored = offer::find(pool, &handout.offer).await?.ok_or("its offer is gone")?;
    let out = coupon::create(out)?;
    let today = config.time_zone().to_datetime(now).date();
    let (database, of) = ((pool, &config.database), (&handout, &stored.definition));
    let file = File::begin(database, of, format, None, today).await?;
    coupon::write(out, async |to| Ok(file.write(&to).await)).await
}

/// Takes back what a handout has issued.
pub(super) async fn revoke(
    config: &Config,
    pool: &Pool,
    name: &str,
    as_json: bool,
    now: Timestamp,
) -> Outcome {
    let handout = handouts::find(pool, name).await?.ok_or(NO_SUCH_HANDOUT)?;
    let is_issuing = "its coupons are being issued: stop it first, with \
                      POST /v1/handouts/{handout}/stop";
    let revoking = revoke::revoke(pool, &handout, None, now).await?.ok_or(is_issuing)?;
    let catalogue = Catalogue::start_for_audit(pool.clone()).await?;
    let mut worker = Worker::new(config, pool.clone(), Arc::new(Metrics::new()));
    let total = u64::try_from(revoking.issued).ok();
    let progress = Progress::new("taking coupons back", total);
    let count = |it: &Handout| it.revocation.as_ref().map_or(0, |it| it.coupons);
    let handout = worked(&mut worker, revoking, pool, &catalogue, &progress, count).await?;
    if as_json {
        print(&serde_json::to_string(&handout)?);
        return Ok(());
    }
    let revocation = handout.revocation.ok_or("it was not asked for")?;
    let Revocation { revoked, redeemed, expired, failed, .. } = revocation;
    print(&format_args!(
        "{revoked} coupons are taken back; {redeemed} were redeemed before, {expired} had expired"
    ));
    match failed {
        0 => Ok(()),
        failed => Err(format!("{failed} could not be taken back: the log says which").into()),
    }
}

/// The question that filters ask: `points_min=500`, `consent=email-offers`.
fn segment(filters: &[String]) -> Result<Segment, String> {
    let mut fields = Map::new();
    for filter in filters {
        let (name, value) = filter
            .split_once('=')
            .ok_or_else(|| format!("--where {filter}: must be name=value"))?;
        // Numbers, true and false as they are; all else is a text.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        let name = name.replace('-', "_");
        if fields.insert(name, value).is_some() {
            return Err(format!("--where {filter}: is asked twice"));
        }
    }
    let segment: Segment = serde_json::from_value(Value::Object(fields))
        .map_err(|error| format!("--where: {error}"))?;
    segment.check().map_err(|(field, asked)| format!("--where {field}: {asked}"))?;
    Ok(segment)
}

fn say(asked: &Asked<'_>, handout: &Handout) -> Outcome {
    if asked.json {
        print(&serde_json::to_string(handout)?);
        return Ok(());
    }
    let Handout { accounts, held_out, done, issued, left_out, .. } = handout;
    if asked.only_count {
        let issued = match issued {
            0 => "Nothing is issued".to_owned(),
            issued => format!("{issued} have their coupon already"),
        };
        print(&format_args!("{accounts} accounts; {held_out} more are held out. {issued}"));
        return Ok(());
    }
    print(&format_args!(
        "{done} of {accounts} accounts are done: {issued} have their coupon, {left_out} were left \
         out; {held_out} more are held out"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_and_what_is_none_is_named() {
        let read = |filters: &[&str]| {
            segment(&filters.iter().map(|filter| (*filter).to_owned()).collect::<Vec<_>>())
        };
        let all = ["enrolled=true", "consent=email-offers", "points-min=5", "tier=Gold"];
        let expected = Segment {
            enrolled: Some(true),
            consent: Some("email-offers".into()),
            points_min: Some(5),
            tier: Some("Gold".into()),
            ..Segment::default()
        };
        assert_eq!(read(&all), Ok(expected));
        for (filters, said) in [
            (&["enrolled"][..], "must be name=value"),
            (&["points=5"], "unknown field `points`"),
            (&["points_min=many"], "invalid type"),
            (&["visited_since=yesterday"], "--where: "),
            (&["tier=Gold", "tier=Silver"], "asked twice"),
            (&["consent=E-mail"], "--where consent"),
        ] {
            let error = read(filters).expect_err("none of these is a question");
            assert!(error.contains(said), "{error}");
        }
    }
}
