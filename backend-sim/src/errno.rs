//! Errno as Linux numbers it, independent of the system that this runs on.

use std::error::Error as StdError;
use std::fmt;

use evtchn_core::{ErrorKind, LoopError};

use crate::error::Error;

/// An errno of Linux (asm-generic/errno-base.h, asm-generic/errno.h; the same numbers on x86 and
/// Arm).
///
/// ```
/// use evtchn::ErrorKind;
/// use evtchn::sim::Errno;
///
/// assert_eq!((Errno::EFBIG.raw(), Errno::EFBIG.name()), (27, Some("EFBIG")));
/// assert_eq!(Errno::ENOTCONN.kind(), ErrorKind::NotBound);
/// assert_eq!(Errno::new(27), Errno::EFBIG);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($name:ident = $number:literal, $kind:ident, $meaning:literal;)*) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($name), "`: ", $meaning, ".")]
            pub const $name: Errno = Errno($number);)*
        }

        /// Errno, its name, its kind. An errno that is not here is [`ErrorKind::Other`].
        const TABLE: &[(Errno, &str, ErrorKind)] = &[
            $((Errno::$name, stringify!($name), ErrorKind::$kind),)*
        ];
    };
}

errnos! {
    EPERM = 1, NotPermitted, "not permitted";
    ENOENT = 2, NoDevice, "no such file, no such vCPU";
    ESRCH = 3, NoSuchDomain, "no such domain";
    EINTR = 4, Interrupted, "interrupted by a signal";
    EIO = 5, Gone, "input or output error";
    ENXIO = 6, NoDevice, "no such device or address";
    EBADF = 9, Gone, "the file is not open";
    EAGAIN = 11, Other, "nothing to read";
    ENOMEM = 12, NoMemory, "out of memory";
    EACCES = 13, NotPermitted, "permission denied";
    EFAULT = 14, Other, "bad address";
    EBUSY = 16, InUse, "busy";
    EEXIST = 17, InUse, "exists already";
    ENODEV = 19, NoDevice, "no such device";
    EINVAL = 22, Invalid, "invalid argument";
    EMFILE = 24, Other, "too many open files";
    ENOTTY = 25, Unsupported, "unknown request";
    EFBIG = 27, Overflow, "the ring overflowed";
    ENOSPC = 28, NoSpace, "no port left";
    ESPIPE = 29, Other, "there is no position in it";
    EDEADLK = 35, Other, "nothing would ever end this";
    ENOSYS = 38, Unsupported, "not implemented";
    EOPNOTSUPP = 95, Unsupported, "not supported";
    EISCONN = 106, InUse, "bound already";
    ENOTCONN = 107, NotBound, "not bound";
}

impl Errno {
    /// The errno with this number.
    #[must_use]
    pub const fn new(raw: i32) -> Errno {
        Errno(raw)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The name in the C headers, if this crate uses the errno.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|&(_, name, _)| name)
    }

    /// The kind that generic code can branch on.
    #[must_use]
    pub fn kind(self) -> ErrorKind {
        self.row().map_or(ErrorKind::Other, |&(_, _, kind)| kind)
    }

    /// The errno that the simulator answered, where `error` comes from a simulated device or event
    /// loop.
    ///
    /// ```
    /// use evtchn::sim::{Call, Errno, Sim, SimLoop};
    /// use evtchn::{Context, DomId};
    ///
    /// let opener = Sim::new(1).open(DomId::DOM0);
    /// opener.fail_next(Call::Open, Errno::EMFILE);
    /// let ctx = Context::with_registrar(opener, SimLoop::level());
    /// let error = ctx.bind_unbound_port(DomId::SELF).unwrap_err();
    /// assert_eq!(Errno::of(&error), Some(Errno::EMFILE));
    /// ```
    #[must_use]
    pub fn of(error: &(dyn StdError + 'static)) -> Option<Errno> {
        use evtchn_core::Error::{Deregister, Register, Sleep};
        let looped = match error.downcast_ref() {
            Some(Register(error) | Deregister(error) | Sleep(error)) => Some(error),
            _ => error.downcast_ref::<LoopError>(),
        };
        if let Some(error) = looped {
            return Errno::of(error.get_ref());
        }
        match error.downcast_ref::<Error>() {
            Some(own) => Some(own.errno),
            None => Errno::of(error.source()?),
        }
    }

    fn row(self) -> Option<&'static (Errno, &'static str, ErrorKind)> {
        TABLE.iter().find(|(errno, _, _)| *errno == self)
    }
}

impl std::error::Error for Errno {}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_this_kernel() {
        use rustix::io::Errno as Theirs;
        let theirs = [
            Theirs::PERM,
            Theirs::NOENT,
            Theirs::SRCH,
            Theirs::INTR,
            Theirs::IO,
            Theirs::NXIO,
            Theirs::BADF,
            Theirs::AGAIN,
            Theirs::NOMEM,
            Theirs::ACCESS,
            Theirs::FAULT,
            Theirs::BUSY,
            Theirs::EXIST,
            Theirs::NODEV,
            Theirs::INVAL,
            Theirs::MFILE,
            Theirs::NOTTY,
            Theirs::FBIG,
            Theirs::NOSPC,
            Theirs::SPIPE,
            Theirs::DEADLK,
            Theirs::NOSYS,
            Theirs::OPNOTSUPP,
            Theirs::ISCONN,
            Theirs::NOTCONN,
        ];
        let ours: Vec<i32> = TABLE.iter().map(|(errno, _, _)| errno.raw()).collect();
        assert_eq!(ours, theirs.map(Theirs::raw_os_error));
        assert_eq!(Errno::ENOTCONN.raw(), 107);
        assert_eq!(Errno::ENOTCONN.name(), Some("ENOTCONN"));
    }

    #[test]
    fn each_known_errno_has_its_kind_and_any_other_is_other() {
        for (errno, kind) in [
            (Errno::ENXIO, ErrorKind::NoDevice),
            (Errno::EACCES, ErrorKind::NotPermitted),
            (Errno::EBUSY, ErrorKind::InUse),
            (Errno::EFBIG, ErrorKind::Overflow),
            (Errno::ENOTTY, ErrorKind::Unsupported),
            (Errno::EBADF, ErrorKind::Gone),
            (Errno::EAGAIN, ErrorKind::Other),
            (Errno::new(71), ErrorKind::Other),
        ] {
            assert_eq!(errno.kind(), kind, "{errno}");
        }
        assert_eq!(Errno::new(71).to_string(), "errno 71");
        assert_eq!(Errno::ENOSYS.to_string(), "ENOSYS (38)");
    }
}
