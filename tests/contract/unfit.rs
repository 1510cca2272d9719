//! Cases for some pairs of Xen and Linux alone.

/// A case that a pair leaves out.
#[derive(Clone, Copy)]
pub(crate) struct Unfit {
    case: &'static str,
    /// Where it is left out.
    pub(crate) on: fn(&evtchn_sim::Platform) -> bool,
    pub(crate) reason: &'static str,
}

impl Unfit {
    const ALL: [Unfit; 1] = [Unfit {
        case: "a_static_bind_is_unsupported_before_linux_6_6",
        on: |pair| pair.bind_static.value,
        reason: "this Linux has static binds; the cases of the raw device make them",
    }];

    pub(crate) fn of(case: &str) -> Option<Unfit> {
        Unfit::ALL.into_iter().find(|unfit| unfit.case == case)
    }
}
