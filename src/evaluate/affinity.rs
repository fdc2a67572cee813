//! What goes with what, learned from which households bought which items at all (EASE, Steck
//! 2019), and thinned to the strongest connections of each item. Pure arithmetic on sets.

/// Items that are connected: those most households bought. The cost grows with the cube.
const ITEMS_MAX: usize = 1_200;
/// What is made of the connections.
#[derive(Clone, Copy, Debug)]
pub struct Thinning {
    /// How strongly to hold connections down that few households support, in households.
    pub damping: f32,
    /// Connections that are kept towards each item.
    pub kept: usize,
}

/// For each of `items` ids: to which ids it points, and how strongly. `households` are the sets
/// of what each bought.
pub fn learn(
    households: &[Vec<u32>],
    items: usize,
    Thinning { damping, kept }: Thinning,
) -> Vec<Vec<(u32, f32)>> {
    let mut buyers = vec![0_u32; items];
    for id in households.iter().flatten() {
        buyers[*id as usize] += 1;
    }
    let mut ids: Vec<u32> = (0_u32..).take(items).filter(|id| buyers[*id as usize] > 1).collect();
    ids.sort_by_key(|id| (std::cmp::Reverse(buyers[*id as usize]), *id));
    ids.truncate(ITEMS_MAX);
    let mut place = vec![usize::MAX; items];
    for (at, id) in ids.iter().enumerate() {
        place[*id as usize] = at;
    }

    let count = ids.len();
    let mut gram = vec![0.0_f32; count * count];
    let mut here = Vec::new();
    for set in households {
        here.clear();
        here.extend(set.iter().map(|id| place[*id as usize]).filter(|at| *at < count));
        for row in &here {
            let row = &mut gram[row * count..(row + 1) * count];
            for at in &here {
                row[*at] += 1.0;
            }
        }
    }
    for at in 0..count {
        gram[at * count + at] += damping;
    }
    invert(&mut gram, count);

    let mut related = vec![Vec::new(); items];
    let mut column: Vec<(f32, usize)> = Vec::new();
    for to in 0..count {
        let own = gram[to * count + to];
        column.clear();
        let strength = |from: usize| -gram[from * count + to] / own;
        column.extend((0..count).filter(|from| *from != to).map(|from| (strength(from), from)));
        column.sort_unstable_by(|a, b| b.0.abs().total_cmp(&a.0.abs()).then(a.1.cmp(&b.1)));
        for (strength, from) in column.iter().take(kept) {
            related[ids[*from] as usize].push((ids[to], *strength));
        }
    }
    related
}

/// Inverts a symmetric, positive definite matrix in place, row by row (Gauss and Jordan). Such
/// a matrix needs no exchange of rows.
fn invert(matrix: &mut [f32], count: usize) {
    let mut pivot_row = vec![0.0_f32; count];
    for pivot in 0..count {
        let inverse = 1.0 / matrix[pivot * count + pivot];
        matrix[pivot * count + pivot] = 1.0;
        for value in &mut matrix[pivot * count..(pivot + 1) * count] {
            *value *= inverse;
        }
        pivot_row.copy_from_slice(&matrix[pivot * count..(pivot + 1) * count]);
        for (at, row) in matrix.chunks_exact_mut(count).enumerate() {
            if at == pivot {
                continue;
            }
            let factor = std::mem::take(&mut row[pivot]);
            for (value, above) in row.iter_mut().zip(&pivot_row) {
                *value -= factor * above;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let matrix = [4.0, 1.0, 0.5, 1.0, 3.0, 0.25, 0.5, 0.25, 2.0];
        let mut inverse = matrix;
        invert(&mut inverse, 3);
        for row in 0..3 {
            for column in 0..3 {
                let cell: f32 =
                    (0..3).map(|at| matrix[row * 3 + at] * inverse[at * 3 + column]).sum();
                let expected = if row == column { 1.0 } else { 0.0 };
                assert!((cell - expected).abs() < 1e-5, "{cell} at {row}, {column}");
            }
        }
    }

    #[test]
    fn what_the_same_households_buy_points_to_each_other() {
        let households = [vec![1, 2], vec![1, 2], vec![1, 2, 3], vec![3, 4], vec![3, 4], vec![4]];
        let related = learn(&households, 5, Thinning { damping: 1.0, kept: 40 });
        let strength = |from: usize, to: u32| {
            related[from].iter().find(|(id, _)| *id == to).map_or(0.0, |(_, strength)| *strength)
        };
        assert!(strength(1, 2) > 0.3, "{related:?}");
        assert!(strength(1, 2) > strength(3, 2), "{related:?}");
        assert!(strength(1, 4) < 0.1, "{related:?}");
        assert!(related[0].is_empty());
    }
}
