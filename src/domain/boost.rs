//! Points that coupons add to what a basket earned by the rules of the programme.
//!
//! Owns how they are counted and cut into shares of lines, so that a return takes back its part
//! of them and a void all of them. They come on top of what the rules gave, caps included, since
//! they were promised; several multipliers do not multiply each other. Knows nothing of rules.

/// The points of one coupon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boost {
    /// The coupon's place among those that the till took.
    pub redemption: usize,
    /// Its offer.
    pub offer_no: i32,
    /// What it gives.
    pub gives: Gives,
    /// Places of the lines of sale that it is for, ascending; not empty.
    pub lines: Vec<usize>,
}

/// What a coupon gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// So many points.
    Points(u32),
    /// So many per cent of what the rules gave for its lines, 100 being just that.
    Times(u16),
}

/// What one coupon gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boosted {
    /// The coupon's place among those that the till took.
    pub redemption: usize,
    /// Its offer.
    pub offer_no: i32,
    /// Points.
    pub points: i64,
}

/// Adds the points of coupons to those that the rules gave for each line. `net_minor` has what
/// each line cost; `tell` hears of each share that is not zero: the coupon's place among
/// `boosts`, the line, and the points.
pub fn apply(
    boosts: &[Boost],
    net_minor: impl Fn(usize) -> i64,
    line_points: &mut [i64],
    mut tell: impl FnMut(usize, usize, i64),
) -> Vec<Boosted> {
    let by_rules = line_points.to_vec();
    let of_boost = |(number, boost): (usize, &Boost)| {
        let Boost { redemption, offer_no, gives, lines } = boost;
        let earned = |at: usize| i128::from(by_rules[at].max(0));
        let cost = |at: usize| i128::from(net_minor(at).max(0));
        // What the shares are in proportion to: where that is nothing, all lines are alike.
        let is_free = lines.iter().all(|at| cost(*at) == 0);
        let weight = |at: usize| match gives {
            Gives::Points(_) if is_free => 1,
            Gives::Points(_) => cost(at),
            Gives::Times(_) => earned(at),
        };
        let whole: i128 = lines.iter().map(|at| weight(*at)).sum();
        let points = match gives {
            Gives::Points(points) => i128::from(*points),
            Gives::Times(percent) => whole * (i128::from(*percent) - 100) / 100,
        };
        let (mut weighed, mut given) = (0, 0);
        for at in lines {
            weighed += weight(*at);
            let up_to_here = if whole == 0 { 0 } else { points * weighed / whole };
            let share = narrow(up_to_here - given);
            given = up_to_here;
            line_points[*at] += share;
            if share != 0 {
                tell(number, *at, share);
            }
        }
        Boosted { redemption: *redemption, offer_no: *offer_no, points: narrow(given) }
    };
    boosts.iter().enumerate().map(of_boost).collect()
}

fn narrow(points: i128) -> i64 {
    i64::try_from(points).expect("points of a basket and rewards are bounded far below this")
}
