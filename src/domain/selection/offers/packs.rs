//! Coupons for a larger pack of what an account buys anyway.
//!
//! Such a coupon names articles of one type, all of known size. It is for a larger pack where the
//! account has bought of that type only what is clearly smaller than the smallest of them, though
//! not many times so, and where nobody pays more for as much. Which coupons it may be is worked
//! out once, so that an account is asked only about types that it buys. Must never guess a size or
//! a price, and never look at what is sensitive.

use super::super::super::pack::{Pack, Unit};
use super::super::super::product::Product;
use super::super::super::profile::{Level, Profile};
use super::targets::{Traits, distinct, number};
use super::{Columns, Live, OfferRoom, Own};

/// A pack is clearly larger from five quarters of the other on.
const LARGER: (u32, u32) = (5, 4);
/// One that holds more than so many times as much is for somebody else.
const TIMES_MAX: u16 = 4;
/// So much must be bought of the type, in baskets, older ones weighing less.
const LATELY: f32 = 1.0;

/// What an account buys of the type of a coupon for a larger pack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Larger {
    /// What it bought of the size that it buys most.
    pub own: Own,
    /// That size.
    pub usual: Pack,
    /// The smallest that the coupon is for.
    pub offered: Pack,
    /// Baskets that held anything of the type.
    pub baskets: u16,
}

/// What an amount costs.
#[derive(Clone, Copy, Debug)]
struct Price {
    minor: u32,
    amount: u16,
}

impl Price {
    /// None where the catalogue has no price.
    fn of(product: &Product, pack: Pack) -> Option<Self> {
        let minor = product.price_minor;
        (minor > 0).then_some(Self { minor, amount: pack.amount })
    }

    /// Whether as much costs more than at the other.
    fn is_above(self, other: Self) -> bool {
        let for_all = |one: Self, other: Self| u64::from(one.minor) * u64::from(other.amount);
        for_all(self, other) > for_all(other, self)
    }
}

/// What a coupon is for.
#[derive(Clone, Copy, Debug)]
struct Offered {
    type_no: u32,
    /// The smallest.
    pack: Pack,
    /// Where as much costs most; none where one of the prices is not known.
    dearest: Option<Price>,
}

impl Offered {
    /// None where the articles are not of one type, or not all of a size in one unit.
    fn of<'a>(mut articles: impl Iterator<Item = &'a Product>) -> Option<Self> {
        let one = |product: &Product| {
            // How much one of so many packs holds is not known.
            let pack = product.pack.filter(|it| it.unit != Unit::Pack)?;
            let dearest = Price::of(product, pack);
            Some(Self { type_no: product.taxa.type_no, pack, dearest })
        };
        let first = one(articles.next()?).filter(|it| it.type_no > 0)?;
        articles.try_fold(first, |all, product| {
            let it = one(product)?;
            let is_alike = (it.type_no, it.pack.unit) == (all.type_no, all.pack.unit);
            let dearest = match (all.dearest, it.dearest) {
                (Some(one), Some(other)) if other.is_above(one) => Some(other),
                (Some(one), Some(_)) => Some(one),
                _ => None,
            };
            is_alike.then_some(Self { pack: all.pack.min(it.pack), dearest, ..all })
        })
    }
}

/// All articles of known size, by type and size. What none of them is smaller than is for nobody.
struct Smaller(Vec<(u32, Pack, Option<Price>)>);

impl Smaller {
    fn of(catalogue: &[Product]) -> Self {
        let known = catalogue.iter().filter(|it| is_shown(it) && it.taxa.type_no > 0);
        let sized =
            known.filter_map(|it| it.pack.map(|pack| (it.taxa.type_no, pack, Price::of(it, pack))));
        let mut all: Vec<_> = sized.collect();
        all.sort_unstable_by_key(|(type_no, pack, _)| (*type_no, *pack));
        Self(all)
    }

    /// Whether somebody who buys one of them could be offered these.
    fn has_one_for(&self, offered: &Offered) -> bool {
        let from = self.0.partition_point(|(type_no, ..)| *type_no < offered.type_no);
        let mut of_type = self.0[from..].iter().take_while(|(it, ..)| *it == offered.type_no);
        of_type.any(|(_, pack, price)| {
            pack.unit == offered.pack.unit
                && is_larger(offered.pack, *pack)
                && offered.pack.amount.div_ceil(pack.amount) <= TIMES_MAX
                && !is_dearer(offered.dearest, *price)
        })
    }
}

/// What is known of sizes, for all accounts.
#[derive(Clone, Debug, Default)]
pub(super) struct Packs {
    /// By target: what it is for, and its type as it is numbered in marks. None where it is not
    /// for a larger pack of anything.
    offered: Vec<Option<(Offered, u16)>>,
    /// Those targets.
    pub(super) targets: Vec<u32>,
    /// By article; empty where no target asks for it.
    sizes: Vec<Option<(Pack, Option<Price>)>>,
    /// One more than the largest number of a type.
    types: usize,
}

impl Packs {
    /// Of so many targets, of which those that are listed name articles. Marks the articles whose
    /// sizes are asked for.
    pub(super) fn new(
        targets: usize,
        listed: &[(u32, &Vec<u32>)],
        catalogue: &[Product],
        traits: &mut [Traits],
    ) -> Self {
        let smaller = Smaller::of(catalogue);
        let mut offered = vec![None; targets];
        for (at, articles) in listed {
            let articles = articles.iter().map(|no| &catalogue[*no as usize]);
            offered[*at as usize] = Offered::of(articles).filter(|it| smaller.has_one_for(it));
        }
        let types = distinct(offered.iter().flatten().map(|it| it.type_no));
        if types.is_empty() {
            return Self::default();
        }
        let numbered = |it: Offered| (it, number(&types, &it.type_no));
        let offered: Vec<_> = offered.into_iter().map(|it| it.map(numbered)).collect();
        let with_numbers = (0..).zip(&offered);
        let targets = with_numbers.filter(|(_, it)| it.is_some()).map(|(at, _)| at).collect();
        let size = |(its, product): (&mut Traits, &Product)| {
            let pack = product.pack.filter(|_| is_shown(product))?;
            its.sized_type = number(&types, &product.taxa.type_no);
            (its.sized_type > 0).then(|| (pack, Price::of(product, pack)))
        };
        let sizes = traits.iter_mut().zip(catalogue).map(size).collect();
        Self { offered, targets, sizes, types: types.len() + 1 }
    }
}

/// Working memory of [`Live::larger`], for one account; used again for the next one.
#[derive(Clone, Debug, Default)]
pub struct PackRoom {
    is_lined_up: bool,
    /// By type: the last article of it that was bought, as its place among those found, from 1.
    last: Vec<u32>,
    /// By place: the one of the same type before it.
    before: Vec<u32>,
    bought: Vec<Bought>,
}

/// What was bought of one size.
#[derive(Clone, Copy, Debug)]
struct Bought {
    pack: Pack,
    own: Own,
    cheapest: Option<Price>,
}

impl PackRoom {
    /// Another account is looked at.
    pub fn forget(&mut self) {
        self.is_lined_up = false;
    }

    /// Finds the articles of each type, once for an account.
    fn line_up(&mut self, types: usize, room: &OfferRoom) {
        if std::mem::replace(&mut self.is_lined_up, true) {
            return;
        }
        self.last.clear();
        self.last.resize(types, 0);
        self.before.clear();
        let found = &room.found;
        self.before.extend((1..).zip(found).map(|(place, (_, mark))| {
            std::mem::replace(&mut self.last[usize::from(mark.sized_type)], place)
        }));
    }

    /// Whether something of a type was bought in this unit, and all of it in clearly smaller packs.
    /// Asked first, since it decides most, and to count what was bought costs more.
    fn are_all_smaller(
        &self,
        live: &Live,
        than: Pack,
        type_at: u16,
        profile: &Profile,
        room: &OfferRoom,
    ) -> bool {
        let (mut next, mut is_any) = (self.last[usize::from(type_at)], false);
        while let Some(place) = next.checked_sub(1) {
            next = self.before[place as usize];
            let item = profile.held(Level::Product, room.found[place as usize].0 as usize);
            let known = live.targets.packs.sizes[item.id() as usize];
            match known.filter(|(pack, _)| pack.unit == than.unit) {
                Some((pack, _)) if !is_larger(than, pack) => return false,
                Some(_) => is_any = true,
                None => {}
            }
        }
        is_any
    }
}

impl Live {
    /// Finds the targets that may be for a larger pack: of a type that the account that was looked
    /// at last buys, and none of whose articles it has.
    pub(super) fn find_perhaps_larger(&self, room: &mut OfferRoom) {
        let OfferRoom { common, perhaps_larger, .. } = room;
        let all = &self.targets.packs.targets;
        perhaps_larger.resize(all.len(), 0);
        let mut count = 0;
        for target in all {
            perhaps_larger[count] = *target;
            count += usize::from(is_wanted(common, *target as usize));
        }
        perhaps_larger.truncate(count);
    }

    /// Where a coupon is for a larger pack of what the account buys that was looked at last: what
    /// that is.
    pub fn larger(
        &self,
        coupon: u32,
        profile: &Profile,
        room: &OfferRoom,
        packs: &mut PackRoom,
    ) -> Option<Larger> {
        let target = self.target_of(coupon);
        let (offered, type_at) = (*self.targets.packs.offered.get(target)?)?;
        if !is_wanted(&room.common, target) {
            return None;
        }
        packs.line_up(self.targets.packs.types, room);
        if !packs.are_all_smaller(self, offered.pack, type_at, profile, room) {
            return None;
        }
        let PackRoom { last, before, bought, .. } = packs;
        bought.clear();
        let mut next = last[usize::from(type_at)];
        while let Some(place) = next.checked_sub(1) {
            next = before[place as usize];
            let item = profile.held(Level::Product, room.found[place as usize].0 as usize);
            let known = self.targets.packs.sizes[item.id() as usize];
            let Some((pack, price)) = known.filter(|(pack, _)| pack.unit == offered.pack.unit)
            else {
                continue;
            };
            let at = bought.iter().position(|it| it.pack == pack).unwrap_or_else(|| {
                bought.push(Bought { pack, own: Own::default(), cheapest: None });
                bought.len() - 1
            });
            let same = &mut bought[at];
            same.own.add(&item.affinity());
            same.cheapest = match (same.cheapest, price) {
                (Some(one), Some(other)) if one.is_above(other) => Some(other),
                (one, other) => one.or(other),
            };
        }
        let most = |one: &&Bought, other: &&Bought| {
            one.own.slow.total_cmp(&other.own.slow).then(other.pack.cmp(&one.pack))
        };
        let usual = bought.iter().max_by(most)?;
        let times = offered.pack.amount.div_ceil(usual.pack.amount);
        let is_dearer = is_dearer(offered.dearest, usual.cheapest);
        let Bought { pack, own, .. } = *usual;
        let baskets = profile.affinity(Level::Type, offered.type_no).map_or(0, |it| it.count);
        let larger = Larger { own, usual: pack, offered: offered.pack, baskets };
        (times <= TIMES_MAX && !is_dearer).then_some(larger)
    }
}

/// Without a branch: it is asked of many, and most are not.
fn is_wanted(common: &Columns, target: usize) -> bool {
    (common.most_of_a_type[target] >= LATELY) & (common.own[target].count == 0.0)
}

fn is_larger(one: Pack, other: Pack) -> bool {
    let (times, parts) = LARGER;
    u32::from(one.amount) * parts >= u32::from(other.amount) * times
}

/// Whether as much costs more, as far as both prices are known.
fn is_dearer(one: Option<Price>, other: Option<Price>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one.is_above(other))
}

/// Whether what is bought of it may have a part in what is offered.
fn is_shown(product: &Product) -> bool {
    product.product_no > 0 && !product.sensitive && !product.age_restricted
}
