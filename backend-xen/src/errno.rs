//! One table from errno to the kinds of errors that generic code can branch on.

use evtchn_core::ErrorKind;
use rustix::io::Errno;

/// Errno, its name, its kind. An errno that is not here is [`ErrorKind::Other`].
const TABLE: &[(Errno, &str, ErrorKind)] = &[
    (Errno::NOENT, "ENOENT", ErrorKind::NoDevice),
    (Errno::NXIO, "ENXIO", ErrorKind::NoDevice),
    (Errno::NODEV, "ENODEV", ErrorKind::NoDevice),
    (Errno::ACCESS, "EACCES", ErrorKind::NotPermitted),
    (Errno::PERM, "EPERM", ErrorKind::NotPermitted),
    (Errno::SRCH, "ESRCH", ErrorKind::NoSuchDomain),
    (Errno::INVAL, "EINVAL", ErrorKind::Invalid),
    (Errno::NOTCONN, "ENOTCONN", ErrorKind::NotBound),
    (Errno::EXIST, "EEXIST", ErrorKind::InUse),
    (Errno::ISCONN, "EISCONN", ErrorKind::InUse),
    (Errno::BUSY, "EBUSY", ErrorKind::InUse),
    (Errno::NOSPC, "ENOSPC", ErrorKind::NoSpace),
    (Errno::NOMEM, "ENOMEM", ErrorKind::NoMemory),
    (Errno::FBIG, "EFBIG", ErrorKind::Overflow),
    (Errno::INTR, "EINTR", ErrorKind::Interrupted),
    (Errno::NOSYS, "ENOSYS", ErrorKind::Unsupported),
    (Errno::NOTTY, "ENOTTY", ErrorKind::Unsupported),
    (Errno::BADF, "EBADF", ErrorKind::Gone),
    (Errno::IO, "EIO", ErrorKind::Gone),
];

/// What kind of failure `errno` is.
pub(crate) fn kind(errno: Errno) -> ErrorKind {
    row(errno).map_or(ErrorKind::Other, |&(_, _, kind)| kind)
}

/// The name of `errno`, where the table has it.
pub(crate) fn name(errno: Errno) -> Option<&'static str> {
    row(errno).map(|&(_, name, _)| name)
}

fn row(errno: Errno) -> Option<&'static (Errno, &'static str, ErrorKind)> {
    TABLE.iter().find(|(row, _, _)| *row == errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers and names of asm-generic/errno-base.h and errno.h.
    const EXPECTED: [(i32, &str, ErrorKind); 19] = [
        (1, "EPERM", ErrorKind::NotPermitted),
        (2, "ENOENT", ErrorKind::NoDevice),
        (3, "ESRCH", ErrorKind::NoSuchDomain),
        (4, "EINTR", ErrorKind::Interrupted),
        (5, "EIO", ErrorKind::Gone),
        (6, "ENXIO", ErrorKind::NoDevice),
        (9, "EBADF", ErrorKind::Gone),
        (12, "ENOMEM", ErrorKind::NoMemory),
        (13, "EACCES", ErrorKind::NotPermitted),
        (16, "EBUSY", ErrorKind::InUse),
        (17, "EEXIST", ErrorKind::InUse),
        (19, "ENODEV", ErrorKind::NoDevice),
        (22, "EINVAL", ErrorKind::Invalid),
        (25, "ENOTTY", ErrorKind::Unsupported),
        (27, "EFBIG", ErrorKind::Overflow),
        (28, "ENOSPC", ErrorKind::NoSpace),
        (38, "ENOSYS", ErrorKind::Unsupported),
        (106, "EISCONN", ErrorKind::InUse),
        (107, "ENOTCONN", ErrorKind::NotBound),
    ];

    #[test]
    fn every_row_has_the_number_name_and_kind_of_the_kernel_header() {
        for (number, expected_name, expected_kind) in EXPECTED {
            let errno = Errno::from_raw_os_error(number);
            assert_eq!(name(errno), Some(expected_name), "errno {number}");
            assert_eq!(kind(errno), expected_kind, "errno {number}");
        }
        assert_eq!(TABLE.len(), EXPECTED.len());
    }

    #[test]
    fn every_other_errno_is_other() {
        for number in (1..=133).filter(|n| !EXPECTED.iter().any(|(row, _, _)| row == n)) {
            let errno = Errno::from_raw_os_error(number);
            assert_eq!(kind(errno), ErrorKind::Other, "errno {number}");
            assert_eq!(name(errno), None, "errno {number}");
        }
    }
}
