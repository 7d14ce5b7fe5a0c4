//! When the loop has to wake up: [`Deadlines`], an ordered set of wake-up calls.
//!
//! An entry knows from its own state when it next needs the clock. It has at most one call here,
//! and the call may be early: when it comes, the entry is asked again. So traffic, which only
//! ever moves a deadline *later*, never touches this set; only an earlier deadline does.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use crate::instant::Instant;

/// A wake-up call for each owner that has a deadline, the earliest first.
///
/// There is a call for nearly every client, so it is kept small: the owner is packed into a `u64`.
pub struct Deadlines<Owner> {
    calls: BTreeSet<(Instant, u64)>,
    owner: PhantomData<fn() -> Owner>,
}

impl<Owner: Copy + Into<u64> + From<u64>> Deadlines<Owner> {
    /// Without calls; it allocates nothing.
    pub const fn new() -> Self {
        Self {
            calls: BTreeSet::new(),
            owner: PhantomData,
        }
    }

    /// Sees to it that `owner` is called by its `deadline` at the latest. `armed` is where the
    /// owner keeps the time of the call it already has; a call that is early enough stays.
    pub fn arm(&mut self, owner: Owner, deadline: Option<Instant>, armed: &mut Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if let Some(at) = *armed {
            if at <= deadline {
                return;
            }
            self.calls.remove(&(at, owner.into()));
        }
        self.calls.insert((deadline, owner.into()));
        *armed = Some(deadline);
    }

    /// Forgets the call of an owner that is going away.
    pub fn disarm(&mut self, owner: Owner, armed: &mut Option<Instant>) {
        if let Some(at) = armed.take() {
            self.calls.remove(&(at, owner.into()));
        }
    }

    /// Takes out a call that is due by `now`. Its owner has no call any more: it is asked for its
    /// next deadline and armed again.
    pub fn pop_due(&mut self, now: Instant) -> Option<Owner> {
        let &(at, _) = self.calls.first()?;
        if at > now {
            return None;
        }
        self.calls.pop_first().map(|(_, owner)| Owner::from(owner))
    }

    /// How many calls there are, due or not.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether nobody has a call.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// When the earliest call is due.
    pub fn next(&self) -> Option<Instant> {
        self.calls.first().map(|&(at, _)| at)
    }
}

impl<Owner: Copy + Into<u64> + From<u64>> Default for Deadlines<Owner> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn calls_come_in_order_and_not_before_they_are_due() {
        let start = Instant::EPOCH;
        let at = |secs| start + Duration::from_secs(secs);
        let mut deadlines: Deadlines<u64> = Deadlines::new();
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
        let start = Instant::EPOCH;
        let at = |secs| start + Duration::from_secs(secs);
        let mut deadlines: Deadlines<u64> = Deadlines::new();
        let mut armed = None;
        deadlines.arm(1, Some(at(10)), &mut armed);
        deadlines.arm(1, Some(at(30)), &mut armed);
        assert_eq!(armed, Some(at(10)));
        deadlines.arm(1, Some(at(5)), &mut armed);
        assert_eq!(armed, Some(at(5)));
        assert_eq!(deadlines.calls.len(), 1, "one call per owner");
        deadlines.disarm(1, &mut armed);
        assert_eq!((armed, deadlines.next()), (None, None));
    }
}
