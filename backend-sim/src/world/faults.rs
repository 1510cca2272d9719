//! How faults change the calls of a device.

use std::sync::Arc;

use super::{FileId, Happened, Happening, World};
use crate::device::Opener;
use crate::errno::Errno;
use crate::error::Call;
use crate::fault::{Beside, Fault, Verdict};

impl World {
    /// Installs a fault for the devices of one opener, or for all.
    pub(crate) fn install(&mut self, opener: Option<&Arc<Opener>>, fault: Fault) {
        self.faults.install(opener, fault);
    }

    /// The effect of the faults on a call of a device: the most ports that it may move, or its
    /// failure. What they do beside the call is done by then.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        opener: &Arc<Opener>,
        call: Call,
        file: Option<FileId>,
    ) -> Result<usize, Errno> {
        if self.faults.is_empty() {
            return Ok(usize::MAX);
        }
        let judged = self.faults.judge(Some(opener), call, &mut self.choice);
        self.happen(&judged.beside, file);
        match judged.verdict {
            None | Some(Verdict::Spurious) => Ok(usize::MAX),
            Some(Verdict::Short(ports)) => {
                self.report(Happened::Shorten(call, ports));
                Ok(ports)
            }
            Some(Verdict::Fail(errno)) => {
                self.happened(Happening::Fault, errno.raw().unsigned_abs());
                self.report(Happened::Fail(call, errno));
                Err(errno)
            }
        }
    }

    /// Does what the faults do before a call.
    pub(crate) fn happen(&mut self, beside: &[Beside], file: Option<FileId>) {
        for beside in beside {
            match (beside, file) {
                // This can fail only for a closed file, which has no ring.
                (Beside::Overflow, Some(file)) => drop(self.overflow(file)),
                (Beside::Overflow, None) => {}
                (Beside::Meanwhile(act), _) => act.happen(self),
            }
        }
    }
}
