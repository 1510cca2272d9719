//! Other system calls, through the C library. A descriptor is whatever number C has for it, and the kernel checks it.
#![expect(
    unsafe_code,
    reason = "system calls, with a descriptor that may not be open"
)]

use std::ffi::{CStr, c_int, c_void};

use crate::errno::{Errno, result};

/// Closes a descriptor. For -1 it does nothing.
pub(crate) fn close(fd: c_int) -> Result<(), Errno> {
    if fd == -1 {
        return Ok(());
    }
    // SAFETY: the caller owns the descriptor.
    result(unsafe { libc::close(fd) }).map(drop)
}

/// Whether a file is in non-blocking mode.
pub(crate) fn is_nonblocking(fd: c_int) -> Result<bool, Errno> {
    Ok(flags(fd)? & libc::O_NONBLOCK != 0)
}

/// `O_NONBLOCK` on or off.
pub(crate) fn set_nonblocking(fd: c_int, is_on: bool) -> Result<(), Errno> {
    let flags = match is_on {
        true => flags(fd)? | libc::O_NONBLOCK,
        false => flags(fd)? & !libc::O_NONBLOCK,
    };
    // SAFETY: its third argument is an integer.
    result(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }).map(drop)
}

fn flags(fd: c_int) -> Result<c_int, Errno> {
    // SAFETY: it takes no third argument.
    result(unsafe { libc::fcntl(fd, libc::F_GETFL) })
}

/// Whether poll(2) reports a descriptor to a reader.
#[cfg(feature = "player")]
pub(crate) fn is_readable(fd: c_int) -> Result<bool, Errno> {
    let mut polled = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: it is one entry.
    result(unsafe { libc::poll(&raw mut polled, 1, 0) })?;
    Ok(polled.revents != 0)
}

/// Whether a variable of the environment has this value.
pub(crate) fn has_variable(name: &CStr, value: &CStr) -> bool {
    // SAFETY: the name ends with a zero.
    let found = unsafe { libc::getenv(name.as_ptr()) };
    if found.is_null() {
        return false;
    }
    // SAFETY: it ends with a zero. C forbids a program to change the environment while another thread looks at it.
    let found = unsafe { CStr::from_ptr(found) };
    found == value
}

/// The beginning of what the kernel shows of a descriptor in /proc/self/fdinfo, and its length.
pub(crate) fn shown(fd: c_int) -> Result<([u8; 512], usize), Errno> {
    let mut path = *b"/proc/self/fdinfo/\0\0\0\0\0\0\0\0\0\0\0";
    let (_, number) = path.split_at_mut(18);
    let mut rest = u32::try_from(fd).map_err(|_| Errno::EBADF)?;
    let digits = rest.checked_ilog10().unwrap_or(0) as usize;
    for place in number.iter_mut().take(digits + 1).rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    // SAFETY: the path ends with a zero, since a number has ten digits at most; without O_CREAT there is no third argument.
    let info =
        result(unsafe { libc::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC) })?;
    let mut text = [0; 512];
    // SAFETY: there is room for that many bytes.
    let length = unsafe { libc::read(info, text.as_mut_ptr().cast(), text.len()) };
    let length = usize::try_from(length).map_err(|_| Errno::last());
    close(info)?;
    Ok((text, length?))
}

/// Makes an epoll instance.
pub(crate) fn epoll(closes_on_exec: bool) -> Result<c_int, Errno> {
    let flags = if closes_on_exec {
        libc::EPOLL_CLOEXEC
    } else {
        0
    };
    // SAFETY: it takes an integer.
    result(unsafe { libc::epoll_create1(flags) })
}

/// Adds a descriptor to an epoll instance (`EPOLL_CTL_ADD`), or changes when it is reported (`EPOLL_CTL_MOD`).
pub(crate) fn watch(
    epoll: c_int,
    change: c_int,
    fd: c_int,
    events: c_int,
    data: c_int,
) -> Result<(), Errno> {
    let mut event = libc::epoll_event {
        events: events.cast_unsigned(),
        u64: u64::from(data.cast_unsigned()),
    };
    // SAFETY: the kernel reads the event.
    result(unsafe { libc::epoll_ctl(epoll, change, fd, &raw mut event) }).map(drop)
}

/// Makes a memory file of a size that it keeps.
pub(crate) fn memory_file(name: &CStr, size: usize, closes_on_exec: bool) -> Result<c_int, Errno> {
    let close_on_exec = if closes_on_exec { libc::MFD_CLOEXEC } else { 0 };
    // SAFETY: the name ends with a zero.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_ALLOW_SEALING | close_on_exec) };
    let fd = result(fd)?;
    let size = libc::off_t::try_from(size).map_err(|_| Errno::EINVAL)?;
    // SAFETY: it takes integers.
    let resized = result(unsafe { libc::ftruncate(fd, size) });
    let sealed = resized.and_then(|_| {
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
        // SAFETY: its third argument is an integer.
        result(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) })
    });
    if let Err(errno) = sealed {
        close(fd)?;
        return Err(errno);
    }
    Ok(fd)
}

/// Whether a descriptor is a memory file of this size, which it keeps.
pub(crate) fn is_memory_file(fd: c_int, size: usize) -> bool {
    // SAFETY: it takes no third argument.
    let seals = result(unsafe { libc::fcntl(fd, libc::F_GET_SEALS) });
    let is_sealed = seals.is_ok_and(|seals| seals & libc::F_SEAL_SHRINK != 0);
    is_sealed && stat(fd).is_ok_and(|stat| usize::try_from(stat.st_size) == Ok(size))
}

/// Maps a memory file of this size.
pub(crate) fn map(fd: c_int, size: usize) -> Result<*mut c_void, Errno> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a null address lets the kernel choose one that nothing uses.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), size, access, kind, fd, 0) };
    match place {
        libc::MAP_FAILED => Err(Errno::last()),
        place => Ok(place),
    }
}

/// What fstat(2) says.
pub(crate) fn stat(fd: c_int) -> Result<libc::stat, Errno> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: there is room for the struct.
    result(unsafe { libc::fstat(fd, stat.as_mut_ptr()) })?;
    // SAFETY: fstat has filled it in.
    Ok(unsafe { stat.assume_init() })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_the_kernel_shows_of_a_descriptor_of_any_number_of_digits_is_read() {
        let pipe = std::io::pipe().unwrap().0;
        for number in [pipe.as_raw_fd(), 101] {
            // SAFETY: nothing else uses that number, and the pipe may be duplicated onto itself.
            assert_eq!(unsafe { libc::dup2(pipe.as_raw_fd(), number) }, number);
            let (text, length) = shown(number).unwrap();
            assert!(text[..length].starts_with(b"pos:"), "{number}");
        }
        for number in [-1, 123_456_789, c_int::MAX, c_int::MIN] {
            assert!(shown(number).is_err(), "{number}");
        }
    }

    #[test]
    fn a_memory_file_is_told_from_other_files_and_from_one_of_another_size() {
        let file = memory_file(c"test", 4096, true).unwrap();
        assert!(is_memory_file(file, 4096));
        assert!(!is_memory_file(file, 8192));
        close(file).unwrap();
        assert!(!is_memory_file(file, 4096));
        let pipe = std::io::pipe().unwrap().0;
        assert!(!is_memory_file(pipe.as_raw_fd(), 4096));
    }
}
