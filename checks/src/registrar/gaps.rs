//! What the context does not hold yet. The scripts keep away from it; each line lets them in.

/// A restriction asked for while the device is being opened does not reach that device.
pub(super) const RESTRICTS_WHILE_OPENING: bool = false;

/// After a wait whose hook panicked, a wait on the same channel does not write its port back.
/// A cancel before it helps; one that fails leaves work that the loop is not woken for.
pub(super) const WAITS_AGAIN_AFTER_A_PANIC: bool = false;

/// A bind whose hook panics leaves a port bound that nobody can unbind.
pub(super) const PANICS_IN_A_BIND: bool = false;

/// A channel that is dropped while a hook panics leaves its callback behind.
pub(super) const PANICS_IN_A_DROP: bool = false;

/// A hook that panics at the end of a round keeps the loop from being woken for the rest.
pub(super) const SLEEPS_AFTER_A_PANIC: bool = false;

/// An edge-triggered loop that does not let go at the end of a round that did not read
/// everything reports nothing more, and whoever waits next is not woken.
pub(super) const KEEPS_AN_EDGE_TO_ITSELF: bool = false;
