//! The simulator of evtchn: hypervisor and Linux driver in one process, deterministic
