//! The page that the kernel hands to a forked child empty.
#![expect(
    unsafe_code,
    reason = "only a mapping of our own can be emptied on fork"
)]

use std::ptr;
use std::sync::atomic::AtomicU64;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::{Step, Unavailable};

/// Maps a page that is empty, and empty again in every forked child, for as long as the process
/// lives.
pub(crate) fn map() -> Result<&'static AtomicU64, Unavailable> {
    map_with(Advice::LinuxWipeOnFork)
}

fn map_with(advice: Advice) -> Result<&'static AtomicU64, Unavailable> {
    // The kernel maps whole pages.
    const SIZE: usize = size_of::<AtomicU64>();
    let failed = |step| move |errno| Unavailable { step, errno };
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a null address lets the kernel choose one that nothing uses.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), SIZE, access, MapFlags::PRIVATE) }
        .map_err(failed(Step::Map))?;
    // SAFETY: it is the mapping made above, which nothing refers to yet.
    if let Err(errno) = unsafe { madvise(page, SIZE, advice) } {
        // SAFETY: nothing refers to the mapping, which stays where this fails.
        let _unmapped = unsafe { munmap(page, SIZE) };
        return Err(failed(Step::Wipe)(errno));
    }
    // SAFETY: the mapping is aligned to a page, filled with zeros, large enough, and never
    // unmapped. Only this atomic refers to it, and a fork empties it before the child runs.
    Ok(unsafe { AtomicU64::from_ptr(page.cast()) })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn the_kernel_maps_a_page_that_a_fork_wipes() {
        assert_eq!(map().unwrap().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_kernel_that_does_not_empty_pages_is_an_error_with_the_step_and_the_errno() {
        // Private anonymous memory has no file to remove pages from (mm/madvise.c).
        let refused = map_with(Advice::LinuxRemove).unwrap_err();
        assert_eq!((refused.step, refused.errno), (Step::Wipe, Errno::INVAL));
        assert_eq!(
            std::io::Error::from(refused).kind(),
            std::io::ErrorKind::InvalidInput
        );
    }
}
