//! What a demo store sells: `shelves.txt`, a line for each type with its variants and package
//! sizes. Owns no brands, no article numbers and no rules.

/// One type of article.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) department: &'static str,
    pub(super) category: &'static str,
    pub(super) kind: &'static str,
    /// Shelf price of the first size, in minor units.
    pub(super) price_minor: i64,
    /// Days after which a household that uses it needs it again.
    pub(super) every_days: u32,
    /// What it comes as.
    pub(super) variants: Vec<&'static str>,
    /// Package sizes, each with its price in per cent of the first.
    pub(super) sizes: Vec<(&'static str, i64)>,
}

/// The size of what is sold by weight.
pub(super) const POUND: &str = "lb";
/// The size of what is sold at the pump.
pub(super) const GALLON: &str = "gal";

/// All of them, in the order of the file.
///
/// # Panics
/// Never: a test reads the file, which is part of the program.
pub(super) fn shelves() -> Vec<Shelf> {
    let lines = include_str!("shelves.txt").lines().skip(1);
    lines.map(|line| shelf(line).expect("a test has read the file")).collect()
}

fn shelf(line: &'static str) -> Option<Shelf> {
    let cells: Vec<&'static str> = line.split('|').collect();
    let [department, category, kind, price_minor, every_days, variants, sizes] = cells[..] else {
        return None;
    };
    let size = |text: &'static str| {
        let (name, percent) = text.split_once('=')?;
        Some((name, percent.parse().ok()?))
    };
    Some(Shelf {
        department,
        category,
        kind,
        price_minor: price_minor.parse().ok()?,
        every_days: every_days.parse().ok()?,
        variants: variants.split(';').collect(),
        sizes: sizes.split(';').map(size).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_file_is_a_shelf() {
        for line in include_str!("shelves.txt").lines().skip(1) {
            let shelf = shelf(line).unwrap_or_else(|| panic!("{line}"));
            assert!(!shelf.variants.is_empty() && !shelf.sizes.is_empty(), "{line}");
        }
    }
}
