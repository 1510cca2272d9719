//! A process in which a fork cannot be noticed.

use evtchn_fork::{Process, Unavailable};

/// Makes it one for the rest of its life, by having no room for a page when it is first asked.
pub(crate) fn forget_forks() -> Unavailable {
    let full = libc::rlimit {
        rlim_cur: 0,
        rlim_max: libc::RLIM_INFINITY,
    };
    let roomy = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        ..full
    };
    // SAFETY: it is read, and has no condition.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const full) };
    let answer = Process::current();
    // SAFETY: it is read, and has no condition.
    let undone = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const roomy) };
    assert_eq!((done, undone), (0, 0));
    answer.unwrap_err()
}
