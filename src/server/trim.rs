//! When a crowd has come or left, and leaves memory that nobody needs: [`Crowd`].

/// How many entries are a crowd. Fewer leave too little behind to be worth a search for it.
const CROWD_MIN: usize = 16;

/// By how many entries a crowd grows until it is looked after again.
const GROWTH: usize = 256;

/// Keeps in mind how many entries there were.
#[derive(Default)]
pub(super) struct MemoryTrim {
    /// At most, since most had left.
    most: usize,
    /// When memory was last given back because there were more.
    looked_after: usize,
    /// Whether there was a crowd since the last time that nobody was there.
    came: bool,
    /// Whether one has left that kept the memory of many who had left before.
    outlier_left: bool,
}

impl MemoryTrim {
    /// Whether the crowd has grown so much that the tables have moved, and left their old places.
    pub(super) fn has_grown(&mut self, entries: usize) -> bool {
        let grown = entries >= self.looked_after + GROWTH;
        if grown {
            self.looked_after = entries;
        }
        grown
    }

    /// One has left for whom the memory of many had to be kept, as his place lies behind theirs.
    pub(super) fn outlier_left(&mut self) {
        self.outlier_left = true;
    }

    /// Whether most of the crowd has left, now that there are so many `entries`. Each time it
    /// takes three of four that were still there, so that giving memory back, which costs as much
    /// as there is memory, is rare however they come and go. The last few may have held much by
    /// themselves, so it is so once more when nobody is left.
    pub(super) fn has_left(&mut self, entries: usize) -> bool {
        self.most = self.most.max(entries);
        self.came |= entries >= CROWD_MIN;
        let left = self.most >= CROWD_MIN && entries <= self.most / 4;
        let all_left = entries == 0 && std::mem::take(&mut self.came);
        let left = std::mem::take(&mut self.outlier_left) || all_left || left;
        if left {
            self.most = entries;
            self.looked_after = entries;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_shrinks_leaves_a_few_times_and_not_with_everyone() {
        let mut crowd = MemoryTrim::default();
        assert!((1..=10_000).all(|entries| !crowd.has_left(entries)));
        let times: Vec<_> = (0..10_000).rev().filter(|&n| crowd.has_left(n)).collect();
        assert_eq!(times, [2500, 625, 156, 39, 9, 0]);
    }

    #[test]
    fn a_crowd_that_grows_is_looked_after_now_and_then() {
        let mut crowd = MemoryTrim::default();
        let times: Vec<_> = (0..1000).filter(|&n| crowd.has_grown(n)).collect();
        assert_eq!(times, [256, 512, 768]);
        assert!(
            !(0..1000).any(|n| crowd.has_grown(n)),
            "it was as large before"
        );
    }

    #[test]
    fn one_who_kept_the_memory_of_many_is_looked_after_once() {
        let mut crowd = MemoryTrim::default();
        crowd.outlier_left();
        assert!(crowd.has_left(3));
        assert!(!crowd.has_left(2));
    }

    #[test]
    fn a_few_are_no_crowd() {
        let mut crowd = MemoryTrim::default();
        for _ in 0..100 {
            assert!((0..CROWD_MIN).all(|entries| !crowd.has_left(entries)));
        }
    }
}
