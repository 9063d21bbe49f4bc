//! Few with much, many with little.

use std::num::NonZeroUsize;

use rand::RngExt;

use super::Random;

/// Draws 0, 1, 2, … with weights 1, 1/2, 1/3, …
#[derive(Debug)]
pub(super) struct Zipf {
    /// Sum of the weights up to and with each.
    cumulative: Vec<f64>,
}

impl Zipf {
    pub(super) fn new(count: NonZeroUsize) -> Self {
        let mut sum = 0.0;
        let mut rank = 0.0;
        let cumulative = (0..count.get()).map(|_| {
            rank += 1.0;
            sum += 1.0 / rank;
            sum
        });
        Self { cumulative: cumulative.collect() }
    }

    pub(super) fn draw(&self, random: &mut Random) -> usize {
        let Some(total) = self.cumulative.last() else { return 0 };
        let point = random.random::<f64>() * total;
        self.cumulative.partition_point(|sum| *sum <= point).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn each_rank_gets_its_share() {
        let zipf = Zipf::new(NonZeroUsize::new(3).expect("not zero"));
        let mut random = Random::seed_from_u64(1);
        let mut drawn = [0_u32; 3];
        for _ in 0..11_000 {
            drawn[zipf.draw(&mut random)] += 1;
        }
        // 1 : 1/2 : 1/3 of 11 000.
        for (count, expected) in drawn.iter().zip([6_000_u32, 3_000, 2_000]) {
            assert!(count.abs_diff(expected) < 200, "{drawn:?}");
        }
    }
}
