//! A small seeded generator (xorshift64*), so that a randomised test can be repeated.

/// Pseudo-random numbers. The seed is printed, so that a failing test shows it.
pub struct Random(u64);

impl Random {
    /// A generator with this seed, which must not be 0.
    pub fn from_seed(seed: u64) -> Random {
        assert_ne!(seed, 0, "xorshift stays at 0");
        println!("seed: {seed}");
        Random(seed)
    }

    /// A generator with the seed in `WSPIPE_SEED`, by default from the clock.
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

    /// One of many practically independent generators from the same seed, so that the numbers one
    /// part of a test draws do not depend on the progress of other parts.
    pub fn stream_of(seed: u64, stream: u64) -> Random {
        // The finaliser of SplitMix64, which maps similar numbers to very different ones.
        let mut state = seed.wrapping_add(stream.wrapping_mul(0x9E37_79B9_7F4A_7C15));
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

    /// True with a probability of 1 in `n`.
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
