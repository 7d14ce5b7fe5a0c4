//! Returning freed memory to the kernel: [`release`].

/// Returns the free pages inside the heap (malloc_trim(3)). glibc by itself returns only those at
/// the end of the heap, where a single block in use keeps all others.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub(super) fn release() {
    // SAFETY: it may be called at any time and does not touch memory in use.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators return free pages by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn release() {}
