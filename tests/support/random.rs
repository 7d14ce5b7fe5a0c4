//! A small seeded generator (xorshift64*), so that a randomised test can be run again.

/// Pseudo-random numbers from a seed that is printed, and so shown when the test fails.
pub struct Random(u64);

impl Random {
    /// A generator from `seed`, which must not be 0.
    pub fn from_seed(seed: u64) -> Random {
        assert_ne!(seed, 0, "xorshift stays at 0");
        println!("seed: {seed}");
        Random(seed)
    }

    /// A generator from `WSPIPE_SEED` if that is set, else from the clock.
    pub fn new() -> Random {
        let given = std::env::var("WSPIPE_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let clock = || {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |since| since.as_nanos() as u64 | 1)
        };
        Random::from_seed(given.unwrap_or_else(clock))
    }

    /// One of many generators from the same seed, as good as independent of the others, so that
    /// what one part of a test draws does not depend on how far the other parts have come.
    pub fn strand(seed: u64, strand: u64) -> Random {
        // The finaliser of SplitMix64: numbers that are close together become far apart.
        let mut state = seed.wrapping_add(strand.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Random((state ^ (state >> 31)) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number from 0 to `bound` - 1.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 32) as u8).collect()
    }

    /// Text of about `len` bytes, in characters of one to four bytes.
    pub fn text(&mut self, len: usize) -> String {
        let mut text = String::with_capacity(len + 4);
        while text.len() < len {
            text.push(match self.below(4) {
                0 => '€',
                1 => 'ß',
                2 => '🦀',
                _ => (b'a' + self.below(26) as u8) as char,
            });
        }
        text
    }
}
