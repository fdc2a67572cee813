//! The result for people: each task beside what is published or was measured before, with what
//! the figures do not say.

use std::fmt;

use super::{BasketFigures, Report, Row};

/// Figures by others on the two-year version of the data: last basket, product level, Recall@10
/// and NDCG with an ideal over the whole basket.
const PUBLISHED: [(&str, f64, f64); 4] = [
    ("TopPersonal, two years", 0.158, 0.149),
    ("UP-CF, two years", 0.166, 0.160),
    ("TIFU-KNN, two years", 0.165, 0.161),
    ("TAIW (RecSys 2023), two years", 0.179, 0.171),
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tables: Vec<Vec<&Row>> = Vec::new();
        for row in self.rows.iter().filter(|row| row.basket.is_some() && row.part == "all") {
            let same = |last: &&mut Vec<&Row>| {
                let first = last[0];
                (first.task, first.level, first.cut) == (row.task, row.level, row.cut)
            };
            match tables.last_mut().filter(same) {
                Some(table) => table.push(row),
                None => tables.push(vec![row]),
            }
        }
        for table in &tables {
            self.table(f, table)?;
        }
        self.coupons(f)?;
        write!(f, "{NOTES}")
    }
}

impl Report {
    fn table(&self, f: &mut fmt::Formatter<'_>, table: &[&Row]) -> fmt::Result {
        let first = table[0];
        let level = first.level.unwrap_or_default();
        match first.cut {
            Some(cut) => write!(f, "\nThe next baskets from {cut}, by {level}")?,
            None => write!(f, "\nThe last basket, by {level} (NDCG with the full ideal)")?,
        }
        writeln!(f, ": {} households, {} lists", first.households, first.queries)?;
        writeln!(
            f,
            "{:<30} {:>9} {:>7} {:>5} {:>18} {:>7} {:>8} {:>9}",
            "", "Recall@10", "NDCG@10", "Hit@5", "over GP-Top ± SE", "repeat", "explore", "CPU, µs"
        )?;
        for row in table {
            let Some(figures) = row.basket else { continue };
            let repeat = self.part_of(row, "repeat").map_or(0.0, |repeat| repeat.recall_at_10);
            let over = match row.method {
                "gp-top" => String::new(),
                _ => format!("{:+.4} ± {:.4}", figures.delta_recall_vs_gp_top, figures.delta_se),
            };
            writeln!(
                f,
                "{:<30} {:>9.4} {:>7.4} {:>5.3} {:>18} {:>7.4} {:>8.4} {:>9.2}",
                row.method,
                figures.recall_at_10,
                figures.ndcg_at_10,
                figures.hit_rate_at_5,
                over,
                repeat,
                figures.explore_recall_at_10,
                row.cpu_us
            )?;
        }
        if first.cut.is_none() {
            for (name, recall, ndcg) in PUBLISHED {
                writeln!(f, "{name:<30} {recall:>9.3} {ndcg:>7.3}   published")?;
            }
        }
        Ok(())
    }

    fn part_of(&self, row: &Row, part: &str) -> Option<BasketFigures> {
        let key = |row: &Row| (row.task, row.level, row.cut, row.method);
        self.rows.iter().find(|other| key(other) == key(row) && other.part == part)?.basket
    }

    fn coupons(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self.rows.iter().filter_map(|row| Some((row, row.coupon?))).collect();
        let Some((first, _)) = rows.first() else { return Ok(()) };
        let task = self.coupons;
        let swipes = task.swipes;
        writeln!(
            f,
            "\nCoupons of campaigns: {} pairs of household and coupon, {} redeemed; {} of them",
            task.pairs, task.redeemed, task.never_bought
        )?;
        writeln!(
            f,
            "for articles that the household never bought, {} redeemed. {} lists of {} households.",
            task.never_bought_redeemed, first.queries, first.households
        )?;
        writeln!(
            f,
            "{:<12} {:>10} {:>8} {:>8} {:>6} {:>12}   {:>8} {:>6} {:>10}",
            "redeemed:",
            "pooled AUC",
            "list AUC",
            "Recall@5",
            "NDCG@5",
            "never bought",
            "bought:",
            "NDCG@5",
            "µs a list"
        )?;
        for (row, figures) in &rows {
            writeln!(
                f,
                "{:<12} {:>10.3} {:>8.3} {:>8.3} {:>6.3} {:>12.3}   {:>8.3} {:>6.3} {:>10.1}",
                row.method,
                figures.pooled_auc,
                figures.list_auc,
                figures.recall_at_5,
                figures.ndcg_at_5,
                figures.never_bought_auc,
                figures.bought_list_auc,
                figures.bought_ndcg_at_5,
                row.cpu_us
            )?;
        }
        let weights = task.weights.map(|weight| format!("{weight:.3}")).join(", ");
        writeln!(f, "Weights for the last campaign: {weights}.")?;
        writeln!(
            f,
            "To choose among 1,000 live coupons for one swipe, and to note why: {:.1} µs of CPU, p99 \
             {:.1} µs.",
            swipes.choose_p50_us, swipes.choose_p99_us
        )?;
        writeln!(
            f,
            "These choices: {} coupons, {} of them for larger packs, {} pushed; checksum {:08x}.",
            swipes.chosen, swipes.larger, swipes.pushed, swipes.checksum
        )?;
        writeln!(
            f,
            "A profile, as it is held in memory: {:.0} bytes on the mean, p99 {}.",
            swipes.profile_mean_bytes, swipes.profile_p99_bytes
        )
    }
}

const NOTES: &str = "
Means over households of their means; differences are paired by household. `repeat` and
`explore` are Recall@10 among items that were bought before, and that never were. The published
figures are of two years of the data, these of one, with fewer households: beside one another
they tell an order of magnitude, not who is better.

What these figures do not say: redemptions are of coupons that somebody had chosen for the
household (16 of a type A campaign, and the data does not say which), so they favour whatever
resembles that choice. And a purchase that was likely would often have been made without a
coupon. How much more is sold because of coupons cannot be measured on this data at all.
";
