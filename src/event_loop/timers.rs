//! Timers: [`Timers`] holds at most one for each owner, and returns the due ones, the earliest
//! first.
//!
//! An owner, such as a client, knows from its own state when it next needs the clock. Its timer may
//! fire *early*: the owner then does what is due, if anything, and arms the timer again. So
//! postponing a timer costs at most one early firing. Each message that a client sends postpones
//! its next ping, and the timer is not touched; only an earlier time moves it.
//!
//! The timers are a binary heap. No timer is earlier than its parent, so the first is the earliest:
//!
//! ```text
//!   index     0       1       2       3       4
//!   timer     5 s     9 s     7 s     12 s    9 s         the parent of i is (i - 1) / 2
//! ```
//!
//! A table has the index of each owner's timer, so that it can be moved and removed. This takes 20
//! bytes for each owner. A `BTreeSet` takes 35: most timers are added at its end, which leaves its
//! nodes half empty.

use std::cmp::Ordering;
use std::marker::PhantomData;

use super::instant::Instant;

/// Something that can have a timer. It is packed into a `u64` to keep the heap small: nearly every
/// client has a timer.
pub(crate) trait TimerOwner: Copy + Into<u64> + From<u64> {
    /// The number of kinds of owners.
    const KINDS: usize;

    /// The owner's kind, less than [`TimerOwner::KINDS`], and its number among the owners of this
    /// kind that have a timer. Numbers should be small: a table is as long as the largest.
    fn number(self) -> (usize, usize);
}

/// A timer for each owner that needs one.
pub(crate) struct Timers<O: TimerOwner> {
    heap: Vec<Timer>,
    /// By kind and number of the owner: the index of its timer in the heap plus one, or [`NONE`].
    ///
    /// An entry cannot hold its index itself: moving one timer in the heap moves others, so every
    /// operation would have to borrow all clients and processes.
    places: Vec<Vec<u32>>,
    owner: PhantomData<fn() -> O>,
}

/// The place of an owner without a timer.
const NONE: u32 = 0;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at: Instant,
    owner: u64,
}

impl<O: TimerOwner> Timers<O> {
    /// No timers.
    pub(crate) fn new() -> Self {
        Self {
            heap: Vec::new(),
            places: vec![Vec::new(); O::KINDS],
            owner: PhantomData,
        }
    }

    /// Ensures that the timer of `owner` fires at `at` or earlier. `armed` is where the owner keeps
    /// the time of its timer; the owner sets it to `None` when the timer has fired. A timer that is
    /// early enough stays as it is.
    #[inline]
    pub(crate) fn arm(&mut self, owner: O, at: Option<Instant>, armed: &mut Option<Instant>) {
        if let Some(at) = at
            && armed.is_none_or(|armed| armed > at)
        {
            *armed = Some(at);
            self.set(owner, at);
        }
    }

    fn set(&mut self, owner: O, at: Instant) {
        let timer = Timer {
            at,
            owner: owner.into(),
        };
        let place = self.place(owner);
        // An owner is disarmed before it is freed, so its number has no timer of an earlier owner.
        debug_assert!(place.is_none_or(|place| self.heap[place].owner == timer.owner));
        match place {
            Some(place) if self.heap[place] <= timer => {}
            Some(place) => self.rise(place, timer),
            None => {
                self.heap.push(timer);
                self.rise(self.heap.len() - 1, timer);
            }
        }
    }

    /// Removes the timer of an owner that is about to be freed.
    pub(crate) fn disarm(&mut self, owner: O, armed: &mut Option<Instant>) {
        if armed.take().is_some()
            && let Some(place) = self.place(owner)
        {
            self.remove(place);
        }
    }

    /// Removes the earliest timer if it is due by `now`, and returns its owner. The caller lets the
    /// owner act and arms its timer again.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<O> {
        let first = *self.heap.first()?;
        if first.at > now {
            return None;
        }
        self.remove(0);
        Some(O::from(first.owner))
    }

    /// The number of timers, due or not.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// When the earliest timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|timer| timer.at)
    }

    /// Frees the memory of owners that have no timer any more.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.heap.shrink_to_fit();
        for places in &mut self.places {
            let used = places.iter().rposition(|&place| place != NONE);
            places.truncate(used.map_or(0, |last| last + 1));
            places.shrink_to_fit();
        }
    }

    /// The index of the owner's timer in the heap.
    fn place(&self, owner: O) -> Option<usize> {
        let (kind, number) = owner.number();
        let &place = self.places[kind].get(number)?;
        (place != NONE).then(|| place as usize - 1)
    }

    fn note_place(&mut self, owner: u64, place: u32) {
        let (kind, number) = O::from(owner).number();
        let places = &mut self.places[kind];
        if places.len() <= number {
            places.resize(number + 1, NONE);
        }
        places[number] = place;
    }

    fn put(&mut self, place: usize, timer: Timer) {
        self.heap[place] = timer;
        let place = u32::try_from(place + 1);
        let place = place.expect("descriptors run out long before 2^32 owners exist");
        self.note_place(timer.owner, place);
    }

    /// Puts `timer` at `place`, or nearer to the front: parents that are later move down.
    fn rise(&mut self, mut place: usize, timer: Timer) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent] <= timer {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, timer);
    }

    /// Puts `timer` at `place`, or farther from the front: children that are earlier move up.
    fn sink(&mut self, mut place: usize, timer: Timer) {
        loop {
            let children = 2 * place + 1..self.heap.len().min(2 * place + 3);
            match children.min_by_key(|&child| self.heap[child]) {
                Some(child) if self.heap[child] < timer => {
                    self.put(place, self.heap[child]);
                    place = child;
                }
                _ => break,
            }
        }
        self.put(place, timer);
    }

    /// Removes the timer at `place`. The last timer of the heap replaces it and moves to where it
    /// belongs.
    fn remove(&mut self, place: usize) {
        let removed = self.heap.swap_remove(place);
        self.note_place(removed.owner, NONE);
        if let Some(&moved) = self.heap.get(place) {
            match moved.cmp(&removed) {
                Ordering::Less => self.rise(place, moved),
                _ => self.sink(place, moved),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::Random;

    impl TimerOwner for u64 {
        const KINDS: usize = 2;

        fn number(self) -> (usize, usize) {
            ((self % 2) as usize, (self / 2) as usize)
        }
    }

    fn at(secs: u64) -> Instant {
        Instant::EPOCH + Duration::from_secs(secs)
    }

    #[test]
    fn timers_fire_in_order_and_not_before_they_are_due() {
        let mut timers: Timers<u64> = Timers::new();
        let (mut a, mut b) = (None, None);
        timers.arm(7, Some(at(20)), &mut a);
        timers.arm(8, Some(at(10)), &mut b);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(20)), Some(8));
        assert_eq!(timers.pop_due(at(20)), Some(7));
        assert_eq!(timers.pop_due(at(20)), None);
    }

    #[test]
    fn a_later_time_leaves_the_timer_and_an_earlier_one_moves_it() {
        let mut timers: Timers<u64> = Timers::new();
        let mut armed = None;
        timers.arm(1, Some(at(10)), &mut armed);
        timers.arm(1, Some(at(30)), &mut armed);
        assert_eq!(armed, Some(at(10)));
        timers.arm(1, Some(at(5)), &mut armed);
        assert_eq!(armed, Some(at(5)));
        assert_eq!(timers.len(), 1, "one timer per owner");
        timers.disarm(1, &mut armed);
        assert_eq!((armed, timers.next()), (None, None));
    }

    #[test]
    fn the_earliest_timer_is_first_whatever_was_armed_moved_and_removed() {
        let mut random = Random::new(7);
        let mut timers: Timers<u64> = Timers::new();
        let mut armed: [Option<Instant>; 60] = [None; 60];
        for _ in 0..20_000 {
            let owner = random.below(armed.len());
            let at = at(random.below(50) as u64);
            match random.below(4) {
                0 => timers.disarm(owner as u64, &mut armed[owner]),
                1 => {
                    let set = armed.iter().zip(0..);
                    let first = set.filter_map(|(&at, owner)| Some((at?, owner))).min();
                    let due = first.filter(|&(first, _)| first <= at);
                    assert_eq!(timers.pop_due(at), due.map(|(_, owner)| owner));
                    if let Some((_, owner)) = due {
                        armed[owner as usize] = None;
                    }
                }
                _ => timers.arm(owner as u64, Some(at), &mut armed[owner]),
            }
            if random.one_in(100) {
                timers.shrink_to_fit();
            }
            assert_eq!(timers.next(), armed.iter().flatten().min().copied());
            assert_eq!(timers.len(), armed.iter().flatten().count());
        }
    }
}
