//! The state of the machine, as seen from outside.

use std::fmt::{self, Write};

use evtchn_core::{DomId, Port, PortStatus, RemotePort, Status, Virq};

use super::World;
use super::files::{FileId, kernel};
use crate::errno::Errno;
use crate::hypervisor::State;

impl From<State> for Status {
    fn from(state: State) -> Status {
        match state {
            State::Free | State::Reserved => Status::Closed,
            State::Unbound { remote } => Status::Unbound { remote },
            State::Interdomain { remote, port } => match Port::new(port) {
                Some(port) => {
                    let domid = remote;
                    let remote = RemotePort { domid, port };
                    Status::Interdomain { remote }
                }
                None => unreachable!("Xen gives no port that a Port cannot name"),
            },
            State::Virq { virq, .. } => {
                let virq = Virq::new(virq);
                Status::Virq { virq }
            }
            State::Ipi { .. } => Status::Ipi,
            State::Pirq { pirq } => Status::Pirq { pirq },
        }
    }
}

impl World {
    /// The state of a port of `dom`, asked by `caller`.
    ///
    /// # Errors
    /// `ESRCH` for an unknown domain, `EINVAL` for a port that was never valid there, `EPERM`
    /// where `caller` may not ask,
    /// from Xen 4.15 to 4.18 `EACCES` for a port that Xen keeps for itself.
    pub fn status(&self, caller: DomId, dom: DomId, port: u32) -> Result<PortStatus, Errno> {
        let channel = self.xen.status(caller, dom, port)?;
        Ok(PortStatus {
            state: channel.state.into(),
            vcpu: channel.vcpu,
        })
    }

    /// A hash over every call, its answer, and the order of all events: two runs with the same
    /// digest were the same.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// How many files are open in all domains.
    #[must_use]
    pub fn open_files(&self) -> usize {
        let kernels = self.kernels.iter().flatten();
        kernels.map(|kernel| kernel.driver.open_files()).sum()
    }

    /// The ports that a file has not read yet, the oldest first. After an overflow too, although no
    /// read returns them then.
    ///
    /// # Errors
    /// `EBADF` for a closed file.
    pub fn unread(&self, file: FileId) -> Result<Vec<u32>, Errno> {
        kernel(&self.kernels, file)?.driver.unread(file.index)
    }

    /// Whether a file has bound a port.
    ///
    /// # Errors
    /// `EBADF` for a closed file.
    pub fn has_bound(&self, file: FileId, port: u32) -> Result<bool, Errno> {
        Ok(kernel(&self.kernels, file)?
            .driver
            .has_bound(file.index, port))
    }

    /// Every port that is not free and every open file, a line each.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut out = String::new();
        for domid in self.xen.domids() {
            // Writing to a String cannot fail.
            let _ = self.dump_domain(domid, &mut out);
        }
        out
    }

    fn dump_domain(&self, domid: DomId, out: &mut String) -> fmt::Result {
        let kernel = self.kernels.get(usize::from(domid.as_raw()));
        let driver = kernel.and_then(Option::as_ref).map(|kernel| &kernel.driver);
        for (port, channel) in self.xen.ports(domid) {
            write!(out, "d{domid}:{port} {}", Status::from(channel.state))?;
            for (set, name) in [
                (channel.pending, " pending"),
                (channel.masked, " masked"),
                (channel.linked, " held"),
                (channel.is_xens(), " xen"),
            ] {
                out.push_str(if set { name } else { "" });
            }
            match driver {
                Some(driver) => writeln!(out, "{}", driver.describe(port))?,
                None => out.push('\n'),
            }
        }
        match driver {
            Some(driver) => driver.describe_files(out),
            None => Ok(()),
        }
    }
}
