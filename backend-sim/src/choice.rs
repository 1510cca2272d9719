//! Every free decision of a run is asked of one [`Choice`]: same choice, same run.

/// Where the decisions come from.
#[derive(Debug, Clone)]
pub struct Choice {
    source: Source,
    asked: u64,
}

#[derive(Debug, Clone)]
enum Source {
    Seeded(u64),
    Scripted { script: Vec<u32>, next: usize },
}

impl Choice {
    /// Decisions drawn from a seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Choice {
        Choice {
            source: Source::Seeded(seed),
            asked: 0,
        }
    }

    /// Decisions read from a list, each taken modulo the number of ways there are.
    /// After the end of the list the first way is taken every time.
    pub fn scripted(script: impl IntoIterator<Item = u32>) -> Choice {
        Choice {
            source: Source::Scripted {
                script: script.into_iter().collect(),
                next: 0,
            },
            asked: 0,
        }
    }

    /// Which of `ways` ways to take: a number below it. Nothing is asked where there are fewer
    /// than two.
    pub fn of(&mut self, ways: usize) -> usize {
        if ways < 2 {
            return 0;
        }
        self.asked += 1;
        let drawn = match &mut self.source {
            Source::Seeded(state) => splitmix64(state),
            Source::Scripted { script, next } => {
                let drawn = script.get(*next).copied().unwrap_or(0);
                *next = next.saturating_add(1);
                u64::from(drawn)
            }
        };
        // Both conversions keep the value: the remainder is below a usize.
        usize::try_from(drawn % u64::try_from(ways).unwrap_or(u64::MAX)).unwrap_or(0)
    }

    /// Yes or no.
    pub fn flip(&mut self) -> bool {
        self.of(2) == 1
    }

    /// How many decisions were asked for, those with one way not counted.
    #[must_use]
    pub const fn asked(&self) -> u64 {
        self.asked
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_the_published_sequence() {
        let mut state = 1_234_567;
        let drawn: Vec<u64> = (0..3).map(|_| splitmix64(&mut state)).collect();
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(drawn, expected);
    }

    #[test]
    fn same_seed_same_decisions_and_every_way_is_taken() {
        let draw = |seed| {
            let mut choice = Choice::seeded(seed);
            (0..200).map(|_| choice.of(7)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        assert!((0..7).all(|way| draw(3).contains(&way)));
    }

    #[test]
    fn a_script_is_taken_modulo_the_ways_and_ends_in_first_ways() {
        let mut choice = Choice::scripted([1, 7, 9]);
        assert_eq!([choice.of(2), choice.of(5), choice.of(3)], [1, 2, 0]);
        assert_eq!([choice.of(9), choice.of(9)], [0, 0]);
        assert_eq!(choice.asked(), 5);
    }

    #[test]
    fn one_way_is_not_asked() {
        let mut choice = Choice::scripted([1]);
        assert_eq!([choice.of(0), choice.of(1)], [0, 0]);
        assert!(choice.flip());
        assert_eq!(choice.asked(), 1);
    }
}
