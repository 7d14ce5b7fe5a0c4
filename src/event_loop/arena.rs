//! A slab whose keys go stale: [`Arena`] and its [`Id`].
//!
//! A slab gives a freed slot to the next comer, so a bare key that outlived its entry would name
//! a stranger. An [`Id`] therefore carries the *generation* of the entry it was made for, and
//! there is one rule of staleness in the whole program: `get` answers `None`, the thing is gone,
//! the caller returns.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;

use slab::Slab;

/// How many slots an arena grows by. Doubling would leave up to half of it unused, and the
/// entries move at each growth only as virtual memory (`mremap(2)`), not byte by byte.
const GROWTH: usize = 256;

/// The name of one entry of an `Arena<Tag, _>`: its slot, and which of the slot's successive
/// entries it was. `Tag` only keeps the ids of different arenas apart.
pub struct Id<Tag> {
    /// The slot, counted from one: so an `Option` of an id takes no more room than an id.
    place: NonZeroU32,
    generation: u32,
    tag: PhantomData<fn() -> Tag>,
}

impl<Tag> Id<Tag> {
    /// Puts an id together again from [`Id::key`] and [`Id::generation`].
    pub fn from_parts(key: u32, generation: u32) -> Self {
        Self {
            place: NonZeroU32::MIN.saturating_add(key),
            generation,
            tag: PhantomData,
        }
    }

    /// The slot, counted from zero.
    pub fn key(self) -> u32 {
        self.place.get() - 1
    }

    /// Which entry of its arena this was, counted from zero and wrapping.
    pub fn generation(self) -> u32 {
        self.generation
    }
}

const _: () = assert!(size_of::<Option<Id<()>>>() == 8);

/// Entries of one type, each under an [`Id`] that no later entry answers to.
pub struct Arena<Tag, T> {
    slots: Slab<Slot<T>>,
    /// The generation of the next entry. One counter serves all slots: that makes an id unique
    /// in its arena until 2^32 entries have come and gone.
    next_generation: u32,
    tag: PhantomData<fn() -> Tag>,
}

struct Slot<T> {
    generation: u32,
    value: T,
}

impl<Tag, T> Arena<Tag, T> {
    /// An arena without entries; it allocates nothing.
    pub const fn new() -> Self {
        Self {
            slots: Slab::new(),
            next_generation: 0,
            tag: PhantomData,
        }
    }

    /// Moves `value` in and names it.
    pub fn insert(&mut self, value: T) -> Id<Tag> {
        match self.try_insert_with(|_| Ok::<T, Infallible>(value)) {
            Ok(id) => id,
        }
    }

    /// Moves in what `make` gives for the id it is told.
    ///
    /// # Errors
    /// What `make` says; nothing is moved in then.
    pub fn try_insert_with<E>(
        &mut self,
        make: impl FnOnce(Id<Tag>) -> Result<T, E>,
    ) -> Result<Id<Tag>, E> {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(GROWTH);
        }
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let vacancy = self.slots.vacant_entry();
        let key = u32::try_from(vacancy.key());
        let key = key.expect("descriptors run out long before 2^32 entries exist");
        let id = Id::from_parts(key, generation);
        vacancy.insert(Slot {
            generation,
            value: make(id)?,
        });
        Ok(id)
    }

    /// The entry, or `None` when the id is stale.
    pub fn get(&self, id: Id<Tag>) -> Option<&T> {
        let slot = self.slots.get(id.key() as usize)?;
        (slot.generation == id.generation).then_some(&slot.value)
    }

    /// The entry, or `None` when the id is stale.
    pub fn get_mut(&mut self, id: Id<Tag>) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.key() as usize)?;
        (slot.generation == id.generation).then_some(&mut slot.value)
    }

    /// The full id behind a slot and the low bits of a generation, which are all that a token has
    /// room for; `None` when the slot is empty or holds an entry of another generation.
    pub fn resolve(&self, key: u32, generation_low: u32, mask: u32) -> Option<Id<Tag>> {
        let slot = self.slots.get(key as usize)?;
        (slot.generation & mask == generation_low).then(|| Id::from_parts(key, slot.generation))
    }

    /// Takes the entry out and makes its id stale; `None` when it was stale already.
    pub fn remove(&mut self, id: Id<Tag>) -> Option<T> {
        self.get(id)?;
        Some(self.slots.remove(id.key() as usize).value)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every entry with its id, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (Id<Tag>, &T)> {
        self.slots
            .iter()
            .map(|(key, slot)| (Id::from_parts(key as u32, slot.generation), &slot.value))
    }

    /// Every entry with its id, by slot.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id<Tag>, &mut T)> {
        self.slots
            .iter_mut()
            .map(|(key, slot)| (Id::from_parts(key as u32, slot.generation), &mut slot.value))
    }

    /// Whether this entry, in the last slot, keeps the memory of many free ones from being given
    /// back.
    pub fn is_outlier(&self, id: Id<Tag>) -> bool {
        let capacity = self.slots.capacity();
        capacity > GROWTH && id.key() as usize + 1 == capacity && self.len() <= capacity / 4
    }

    /// Gives back the memory of slots that are free, but for those before one that is not.
    pub fn shrink_to_fit(&mut self) {
        self.slots.shrink_to_fit();
    }
}

impl<Tag, T> Default for Arena<Tag, T> {
    fn default() -> Self {
        Self::new()
    }
}

// Written out because a derive would ask the same of `Tag`, which is never a value.
impl<Tag> Clone for Id<Tag> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Tag> Copy for Id<Tag> {}

impl<Tag> PartialEq for Id<Tag> {
    fn eq(&self, other: &Self) -> bool {
        (self.place, self.generation) == (other.place, other.generation)
    }
}

impl<Tag> Eq for Id<Tag> {}

impl<Tag> PartialOrd for Id<Tag> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Tag> Ord for Id<Tag> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.place, self.generation).cmp(&(other.place, other.generation))
    }
}

impl<Tag> Hash for Id<Tag> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.place, self.generation).hash(state);
    }
}

impl<Tag> fmt::Debug for Id<Tag> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.key(), self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Any {}

    #[test]
    fn an_id_is_stale_once_its_entry_is_gone_even_when_the_slot_is_reused() {
        let mut arena: Arena<Any, &str> = Arena::new();
        let first = arena.insert("first");
        assert_eq!(arena.remove(first), Some("first"));
        let second = arena.insert("second");
        assert_eq!(first.key(), second.key(), "the slot is reused");
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.get_mut(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&"second"));
    }

    #[test]
    fn the_low_bits_of_a_generation_resolve_to_the_full_id() {
        let mut arena: Arena<Any, u32> = Arena::new();
        for n in 0..1000 {
            let id = arena.insert(n);
            assert_eq!(arena.resolve(id.key(), n & 0x1FF, 0x1FF), Some(id));
            assert_eq!(arena.resolve(id.key(), (n + 1) & 0x1FF, 0x1FF), None);
            arena.remove(id);
            assert_eq!(arena.resolve(id.key(), n & 0x1FF, 0x1FF), None);
        }
    }

    #[test]
    fn memory_of_a_crowd_is_given_back() {
        let mut arena: Arena<Any, [u8; 64]> = Arena::new();
        let ids: Vec<_> = (0..10_000).map(|_| arena.insert([0; 64])).collect();
        assert!(arena.slots.capacity() <= 10_000 + GROWTH, "growth is exact");
        let (last, others) = ids.split_last().unwrap();
        for &id in others {
            arena.remove(id);
        }
        arena.shrink_to_fit();
        assert_eq!(arena.get(*last), Some(&[0; 64]), "its slot has not moved");
        assert!(arena.is_outlier(*last), "the others' memory is held by it");
        arena.remove(*last);
        arena.shrink_to_fit();
        assert_eq!(arena.slots.capacity(), 0);
        let few = arena.insert([0; 64]);
        assert!(!arena.is_outlier(few));
    }
}
