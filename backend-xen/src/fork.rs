//! Which process this is, without a system call per question: a page of memory that the kernel
//! hands to a forked child empty (madvise(2), `MADV_WIPEONFORK`, Linux 4.14).
//!
//! `vfork` shares the memory and is no fork for this; its child may only exec, or exit.
#![expect(
    unsafe_code,
    reason = "only a mapping of our own can be emptied on fork"
)]

use std::process;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Where the mark of this process is, which is 0 where it has none yet: right after a fork, and in
/// `UNMARKED`.
static MARK: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::from_ref(&UNMARKED).cast_mut());

/// Stands for the page until there is one, and for ever where the kernel cannot make it.
static UNMARKED: AtomicU64 = AtomicU64::new(0);

/// Makes the page once.
static PAGE: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();

/// The last number that was given out. A child goes on counting where its parent was, so its
/// number is none of those that it can have copied.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The number of the calling process, which no process that it was forked from has.
#[inline]
pub(crate) fn process() -> u64 {
    // SAFETY: it points to `UNMARKED` or to the page, and neither is ever unmapped.
    let mark = unsafe { &*MARK.load(Ordering::Acquire) };
    match mark.load(Ordering::Relaxed) {
        0 => first_number(),
        number => number,
    }
}

/// The number of a process that has none yet.
#[cold]
fn first_number() -> u64 {
    match *PAGE.get_or_init(|| page().ok()) {
        Some(mark) => {
            MARK.store(ptr::from_ref(mark).cast_mut(), Ordering::Release);
            numbered(mark, &LAST)
        }
        // As right, and a system call each time.
        None => process::id().into(),
    }
}

fn numbered(mark: &AtomicU64, last: &AtomicU64) -> u64 {
    match mark.load(Ordering::Relaxed) {
        0 => {
            let number = last.fetch_add(1, Ordering::Relaxed) + 1;
            match mark.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => number,
                Err(faster) => faster,
            }
        }
        number => number,
    }
}

/// A page that is empty, and empty again in every forked child.
fn page() -> Result<&'static AtomicU64, Errno> {
    // The kernel maps whole pages.
    const SIZE: usize = size_of::<AtomicU64>();
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a null address lets the kernel choose one that nothing uses.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), SIZE, access, MapFlags::PRIVATE) }?;
    // SAFETY: it is the mapping made above, which nothing refers to yet.
    if let Err(errno) = unsafe { madvise(page, SIZE, Advice::LinuxWipeOnFork) } {
        // SAFETY: nothing refers to the mapping.
        unsafe { munmap(page, SIZE) }?;
        return Err(errno);
    }
    // SAFETY: the mapping is aligned to a page, filled with zeros, large enough, and never
    // unmapped; that a fork empties it is a store of 0 that an atomic allows for.
    Ok(unsafe { AtomicU64::from_ptr(page.cast()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_number() {
        assert_eq!(process(), process());
        assert_ne!(process(), 0);
    }

    #[test]
    fn a_wiped_page_gets_a_number_that_was_never_given() {
        let (mark, last) = (AtomicU64::new(0), AtomicU64::new(7));
        assert_eq!(numbered(&mark, &last), 8);
        assert_eq!(numbered(&mark, &last), 8);
        mark.store(0, Ordering::Relaxed);
        assert_eq!(numbered(&mark, &last), 9);
    }

    #[test]
    fn the_kernel_makes_such_a_page() {
        assert_eq!(page().unwrap().load(Ordering::Relaxed), 0);
    }
}
