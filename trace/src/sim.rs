//! Replays on a simulated machine.

use crate::read::{BadTrace, Trace};
use crate::replay::{self, Replayed};

/// [`replay`](crate::replay()), and every call at the seam is made on the simulator too.
///
/// # Errors
/// As there.
pub fn replay_on_sim(trace: &Trace) -> Result<Replayed, BadTrace> {
    replay::replay_with(trace, None)
}
