//! What needs one process and nothing of it: the device's framing, its header, the poll loop, and a look at a real Xen.

#[path = "../../loops/tests/fd_device.rs"]
mod fd_device;
mod framing;
mod header;
mod poll_loop;
mod smoke;
