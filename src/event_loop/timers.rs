//! When the loop has to wake up: [`Deadlines`], wake-up calls in the order of their time.
//!
//! An entry knows from its own state when it next needs the clock. It has at most one call here,
//! and the call may be early: when it comes, the entry is asked again. So traffic, which only
//! ever moves a deadline *later*, never touches the calls; only an earlier deadline does.
//!
//! The calls are a binary heap: a call is due no earlier than its parent, which is at half its
//! place, so the first is the earliest. A table beside it says where each owner's call is, so that
//! it can be moved and taken out. That is twenty bytes for each owner. A `BTreeSet` takes
//! thirty-five, as calls mostly come in order and then leave its nodes half empty.

use std::cmp::Ordering;
use std::marker::PhantomData;

use crate::event_loop::instant::Instant;

/// Who can have a wake-up call.
///
/// There is a call for nearly every client, so it is kept small: the owner is packed into a `u64`.
pub trait TimerOwner: Copy + Into<u64> + From<u64> {
    /// How many kinds of owners there are.
    const KINDS: usize;

    /// Its kind, less than [`TimerOwner::KINDS`], and its number among those that have calls. A number
    /// may be used again when its owner has no call any more. They should be small: there is a
    /// table as long as the greatest.
    fn number(self) -> (usize, usize);
}

/// A wake-up call for each owner that has a deadline, the earliest first.
pub struct Timers<O: TimerOwner> {
    heap: Vec<Call>,
    /// For each kind, by the owner's number: the place in the heap, counted from one, or [`NONE`].
    places: Vec<Vec<u32>>,
    owner: PhantomData<fn() -> O>,
}

/// The place of a call that is not there.
const NONE: u32 = 0;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    at: Instant,
    owner: u64,
}

impl<O: TimerOwner> Timers<O> {
    /// Without calls.
    pub fn new() -> Self {
        Self {
            heap: Vec::new(),
            places: vec![Vec::new(); O::KINDS],
            owner: PhantomData,
        }
    }

    /// Sees to it that `owner` is called by its `deadline` at the latest. `armed` is where the
    /// owner keeps the time of the call it already has; a call that is early enough stays.
    #[inline]
    pub fn arm(&mut self, owner: O, deadline: Option<Instant>, armed: &mut Option<Instant>) {
        if let Some(deadline) = deadline
            && armed.is_none_or(|at| at > deadline)
        {
            *armed = Some(deadline);
            self.call(owner, deadline);
        }
    }

    fn call(&mut self, owner: O, at: Instant) {
        let call = Call {
            at,
            owner: owner.into(),
        };
        let place = self.place(owner);
        // Whoever goes away is disarmed, so that its number may be another's.
        debug_assert!(place.is_none_or(|place| self.heap[place].owner == call.owner));
        match place {
            Some(place) if self.heap[place] <= call => {}
            Some(place) => self.rise(place, call),
            None => {
                self.heap.push(call);
                self.rise(self.heap.len() - 1, call);
            }
        }
    }

    /// Forgets the call of an owner that is going away.
    pub fn disarm(&mut self, owner: O, armed: &mut Option<Instant>) {
        if armed.take().is_some()
            && let Some(place) = self.place(owner)
        {
            self.remove(place);
        }
    }

    /// Takes out a call that is due by `now`. Its owner has no call any more: it is asked for its
    /// next deadline and armed again.
    pub fn pop_due(&mut self, now: Instant) -> Option<O> {
        let first = *self.heap.first()?;
        if first.at > now {
            return None;
        }
        self.remove(0);
        Some(O::from(first.owner))
    }

    /// How many calls there are, due or not.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nobody has a call.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// When the earliest call is due.
    pub fn next(&self) -> Option<Instant> {
        self.heap.first().map(|call| call.at)
    }

    /// Gives back the memory of owners that have no calls any more.
    pub fn shrink_to_fit(&mut self) {
        self.heap.shrink_to_fit();
        for places in &mut self.places {
            let used = places.iter().rposition(|&place| place != NONE);
            places.truncate(used.map_or(0, |last| last + 1));
            places.shrink_to_fit();
        }
    }

    /// Where the call of `owner` is in the heap.
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

    fn put(&mut self, place: usize, call: Call) {
        self.heap[place] = call;
        let place = u32::try_from(place + 1);
        let place = place.expect("descriptors run out long before 2^32 owners exist");
        self.note_place(call.owner, place);
    }

    /// Puts `call` at `place`, or nearer to the front where others are later.
    fn rise(&mut self, mut place: usize, call: Call) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent] <= call {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, call);
    }

    /// Puts `call` at `place`, or farther from the front where others are earlier.
    fn sink(&mut self, mut place: usize, call: Call) {
        loop {
            let children = 2 * place + 1..self.heap.len().min(2 * place + 3);
            match children.min_by_key(|&child| self.heap[child]) {
                Some(child) if self.heap[child] < call => {
                    self.put(place, self.heap[child]);
                    place = child;
                }
                _ => break,
            }
        }
        self.put(place, call);
    }

    /// The last call takes the place of the one that is taken out, and goes from there to where it
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

impl<O: TimerOwner> Default for Timers<O> {
    fn default() -> Self {
        Self::new()
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
    fn calls_come_in_order_and_not_before_they_are_due() {
        let mut deadlines: Timers<u64> = Timers::new();
        let (mut a, mut b) = (None, None);
        deadlines.arm(7, Some(at(20)), &mut a);
        deadlines.arm(8, Some(at(10)), &mut b);
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.pop_due(at(9)), None);
        assert_eq!(deadlines.pop_due(at(20)), Some(8));
        assert_eq!(deadlines.pop_due(at(20)), Some(7));
        assert_eq!(deadlines.pop_due(at(20)), None);
    }

    #[test]
    fn a_later_deadline_leaves_the_call_and_an_earlier_one_moves_it() {
        let mut deadlines: Timers<u64> = Timers::new();
        let mut armed = None;
        deadlines.arm(1, Some(at(10)), &mut armed);
        deadlines.arm(1, Some(at(30)), &mut armed);
        assert_eq!(armed, Some(at(10)));
        deadlines.arm(1, Some(at(5)), &mut armed);
        assert_eq!(armed, Some(at(5)));
        assert_eq!(deadlines.len(), 1, "one call per owner");
        deadlines.disarm(1, &mut armed);
        assert_eq!((armed, deadlines.next()), (None, None));
    }

    #[test]
    fn however_they_are_armed_moved_and_taken_out_the_earliest_comes_first() {
        let mut random = Random::new(7);
        let mut deadlines: Timers<u64> = Timers::new();
        let mut armed: [Option<Instant>; 60] = [None; 60];
        for _ in 0..20_000 {
            let owner = random.below(armed.len());
            let at = at(random.below(50) as u64);
            match random.below(4) {
                0 => deadlines.disarm(owner as u64, &mut armed[owner]),
                1 => {
                    let calls = armed.iter().zip(0..);
                    let first = calls.filter_map(|(&at, owner)| Some((at?, owner))).min();
                    let due = first.filter(|&(first, _)| first <= at);
                    assert_eq!(deadlines.pop_due(at), due.map(|(_, owner)| owner));
                    if let Some((_, owner)) = due {
                        armed[owner as usize] = None;
                    }
                }
                _ => deadlines.arm(owner as u64, Some(at), &mut armed[owner]),
            }
            if random.one_in(100) {
                deadlines.shrink_to_fit();
            }
            assert_eq!(deadlines.next(), armed.iter().flatten().min().copied());
            assert_eq!(deadlines.len(), armed.iter().flatten().count());
        }
    }
}
