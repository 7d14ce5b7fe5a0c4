//! Storage for entries that refer to each other: [`Arena`], and [`Id`], the name of an entry.
//!
//! A client and its process know each other by id, not by reference: either may be freed first. An
//! arena is a slab, so the slot of a freed entry is used again, and a bare slot number that
//! outlived its entry would then name another. Therefore each entry has a *generation*, a number
//! that no other entry of the arena has, and its id carries both:
//!
//! ```text
//!   insert A      slot 0: A, generation 7      the id of A is 0.7
//!   remove A      slot 0: free                 get(0.7) is None
//!   insert B      slot 0: B, generation 8      get(0.7) is None, get(0.8) is B
//! ```
//!
//! So the whole program has one rule for stale ids: `get` returns `None`, the entry is gone, the
//! caller returns.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;

use slab::Slab;

use super::token::GENERATION_MASK;

/// The number of slots that an arena grows by. Doubling would leave up to half of them unused.
/// Growth in small steps is cheap because the allocator moves a large arena with `mremap(2)`,
/// without copying it.
const GROWTH: usize = 256;

/// Names one entry of an `Arena<Tag, _>`: its slot and its generation. `Tag` only makes ids of
/// different arenas different types.
pub struct Id<Tag> {
    /// The slot, counted from one, so that an `Option` of an id is no larger than an id.
    place: NonZeroU32,
    generation: u32,
    tag: PhantomData<fn() -> Tag>,
}

impl<Tag> Id<Tag> {
    /// The id with this [`Id::key`] and [`Id::generation`].
    pub(crate) fn from_parts(key: u32, generation: u32) -> Self {
        Self {
            place: NonZeroU32::MIN.saturating_add(key),
            generation,
            tag: PhantomData,
        }
    }

    /// The slot, counted from zero.
    pub(crate) fn key(self) -> u32 {
        self.place.get() - 1
    }

    /// The number of entries that the arena had made before this one, modulo 2^32.
    pub(crate) fn generation(self) -> u32 {
        self.generation
    }
}

const _: () = assert!(size_of::<Option<Id<()>>>() == 8);

/// Entries of one type, each under an [`Id`] of its own.
pub(crate) struct Arena<Tag, T> {
    slots: Slab<Slot<T>>,
    /// The generation of the next entry. One counter serves all slots, so an id is unique until
    /// 2^32 later entries have been made.
    next_generation: u32,
    tag: PhantomData<fn() -> Tag>,
}

struct Slot<T> {
    generation: u32,
    value: T,
}

impl<Tag, T> Arena<Tag, T> {
    /// An arena without entries. It allocates nothing.
    pub(crate) const fn new() -> Self {
        Self {
            slots: Slab::new(),
            next_generation: 0,
            tag: PhantomData,
        }
    }

    /// Adds the entry that `make` returns. `make` receives the entry's id.
    ///
    /// # Errors
    ///
    /// The error of `make`; nothing is added then.
    pub(crate) fn try_insert_with<E>(
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

    /// The entry; `None` if it is gone.
    pub(crate) fn get(&self, id: Id<Tag>) -> Option<&T> {
        let slot = self.slots.get(id.key() as usize)?;
        (slot.generation == id.generation).then_some(&slot.value)
    }

    /// The entry; `None` if it is gone.
    pub(crate) fn get_mut(&mut self, id: Id<Tag>) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.key() as usize)?;
        (slot.generation == id.generation).then_some(&mut slot.value)
    }

    /// The full id for one from a [token](super::token), which has only the low bits of its
    /// generation; `None` if that entry is gone.
    pub(crate) fn resolve(&self, from_token: Id<Tag>) -> Option<Id<Tag>> {
        let key = from_token.key();
        let slot = self.slots.get(key as usize)?;
        (slot.generation & GENERATION_MASK == from_token.generation)
            .then(|| Id::from_parts(key, slot.generation))
    }

    /// Removes the entry and returns it; `None` if it was gone before.
    pub(crate) fn remove(&mut self, id: Id<Tag>) -> Option<T> {
        self.get(id)?;
        Some(self.slots.remove(id.key() as usize).value)
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All entries with their ids, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<Tag>, &T)> {
        self.slots
            .iter()
            .map(|(key, slot)| (Id::from_parts(key as u32, slot.generation), &slot.value))
    }

    /// All entries with their ids, in the order of their slots.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Id<Tag>, &mut T)> {
        self.slots
            .iter_mut()
            .map(|(key, slot)| (Id::from_parts(key as u32, slot.generation), &mut slot.value))
    }

    /// Whether this entry is an outlier: it is in the last slot, most slots before it are free, and
    /// [`Arena::shrink_to_fit`] cannot free their memory as long as the entry is there.
    pub(crate) fn is_outlier(&self, id: Id<Tag>) -> bool {
        let capacity = self.slots.capacity();
        capacity > GROWTH && id.key() as usize + 1 == capacity && self.len() <= capacity / 4
    }

    /// Frees the memory of the slots after the last entry. Entries never move to another slot.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.slots.shrink_to_fit();
    }
}

// Written by hand: a derive would require the same traits of `Tag`.
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
    use std::convert::Infallible;

    use super::*;

    enum Any {}

    fn insert<T>(arena: &mut Arena<Any, T>, value: T) -> Id<Any> {
        let inserted = arena.try_insert_with(|_| Ok::<T, Infallible>(value));
        inserted.expect("nothing fails")
    }

    #[test]
    fn an_id_is_stale_once_its_entry_is_removed_even_if_the_slot_is_reused() {
        let mut arena: Arena<Any, &str> = Arena::new();
        let first = insert(&mut arena, "first");
        assert_eq!(arena.remove(first), Some("first"));
        let second = insert(&mut arena, "second");
        assert_eq!(first.key(), second.key(), "the slot is reused");
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.get_mut(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&"second"));
    }

    #[test]
    fn the_low_bits_of_a_generation_resolve_to_the_full_id() {
        let mut arena: Arena<Any, u32> = Arena::new();
        // Generations on both sides of the first that a token cannot hold whole.
        arena.next_generation = GENERATION_MASK - 500;
        for n in 0..1000 {
            let id = insert(&mut arena, n);
            let from_token = |generation| Id::from_parts(id.key(), generation & GENERATION_MASK);
            let (own, next) = (id.generation(), id.generation() + 1);
            assert_eq!(arena.resolve(from_token(own)), Some(id));
            assert_eq!(arena.resolve(from_token(next)), None);
            arena.remove(id);
            assert_eq!(arena.resolve(from_token(own)), None);
        }
    }

    #[test]
    fn the_memory_of_free_slots_is_freed_once_the_outlier_is_gone() {
        let mut arena: Arena<Any, [u8; 64]> = Arena::new();
        let ids: Vec<_> = (0..10_000).map(|_| insert(&mut arena, [0; 64])).collect();
        assert!(arena.slots.capacity() <= 10_000 + GROWTH, "growth is exact");
        let (last, others) = ids.split_last().unwrap();
        for &id in others {
            arena.remove(id);
        }
        arena.shrink_to_fit();
        assert_eq!(arena.get(*last), Some(&[0; 64]), "its slot has not moved");
        assert!(arena.is_outlier(*last), "it keeps the others' memory");
        arena.remove(*last);
        arena.shrink_to_fit();
        assert_eq!(arena.slots.capacity(), 0);
        let single = insert(&mut arena, [0; 64]);
        assert!(!arena.is_outlier(single));
    }
}
