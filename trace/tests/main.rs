//! Traces that are recorded on the simulator, written, read and replayed.

mod calls;
mod format;
mod limits;
mod programs;
mod replay;
mod support {
    pub(crate) mod changed;
    pub(crate) mod memory;
    pub(crate) mod recorded;
    pub(crate) mod rig;
    pub(crate) mod seal;
}
