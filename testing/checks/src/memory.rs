//! Limits the memory that an input of a fuzz target may take.

#[cfg(feature = "memory")]
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAllocTrait as _};

/// How many bytes an input of this length may take at once: 16 MiB and four times its own length.
///
/// ```
/// assert_eq!(evtchn_checks::room(1000), 16 * 1024 * 1024 + 4000);
/// ```
#[must_use]
pub const fn room(length: usize) -> usize {
    (16 << 20) + 4 * length
}

/// Does the work for an input of this length, and checks the memory that it takes.
///
/// Bytes are counted only in a process whose global allocator is `peakmem_alloc::INSTRUMENTED_SYSTEM`.
/// No other thread may allocate meanwhile.
///
/// # Errors
/// The error of the work, or that it took more bytes at once than it has [`room`] for.
pub fn within(length: usize, work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let (worked, most) = counted(work);
    worked?;
    let room = room(length);
    if most > room {
        return Err(format!(
            "an input of {length} bytes took {most} bytes of memory, but may take only {room}"
        ));
    }
    Ok(())
}

/// How many bytes the work took at once.
#[cfg(feature = "memory")]
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    INSTRUMENTED_SYSTEM.reset_peak_memory();
    let worked = work();
    (worked, INSTRUMENTED_SYSTEM.get_peak_memory())
}

#[cfg(not(feature = "memory"))]
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    (work(), 0)
}

/// Whether bytes are counted in this process.
#[must_use]
pub fn is_counted() -> bool {
    counted(|| drop(std::hint::black_box(vec![0_u8; 1 << 12]))).1 >= 1 << 12
}
