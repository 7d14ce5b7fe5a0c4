//! When a crowd has left, and its memory with it: [`Crowd`].

/// How many entries are a crowd. Fewer leave too little behind to be worth a search for it.
const CROWD_MIN: usize = 16;

/// Keeps in mind how many entries there were at most.
#[derive(Default)]
pub(super) struct Crowd {
    most: usize,
}

impl Crowd {
    /// Whether most of the crowd has left, now that there are so many `entries`. Each time it
    /// takes three of four that were still there, so that giving memory back, which costs as much
    /// as there is memory, is rare however they come and go.
    pub(super) fn has_left(&mut self, entries: usize) -> bool {
        self.most = self.most.max(entries);
        let left = self.most >= CROWD_MIN && entries <= self.most / 4;
        if left {
            self.most = entries;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_shrinks_leaves_a_few_times_and_not_with_everyone() {
        let mut crowd = Crowd::default();
        assert!((1..=10_000).all(|entries| !crowd.has_left(entries)));
        let times: Vec<_> = (0..10_000).rev().filter(|&n| crowd.has_left(n)).collect();
        assert_eq!(times, [2500, 625, 156, 39, 9]);
    }

    #[test]
    fn a_few_are_no_crowd() {
        let mut crowd = Crowd::default();
        for _ in 0..100 {
            assert!((0..CROWD_MIN).all(|entries| !crowd.has_left(entries)));
        }
    }
}
