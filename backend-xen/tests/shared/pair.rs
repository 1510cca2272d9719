//! Which pair of Xen and Linux this is.

use std::env;

use evtchn_sim::Platform;

/// The pair that `cargo xtask xen` booted, by its name in the simulator.
pub(crate) fn pair() -> Platform {
    let Some(name) = env::var_os("EVTCHN_PLATFORM") else {
        return Platform::LINUX_6_1_ON_XEN_4_17;
    };
    let known = name.to_str().and_then(Platform::named);
    *known.ok_or(name).unwrap()
}
