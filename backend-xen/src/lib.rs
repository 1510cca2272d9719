//! The real backend of evtchn: ioctl, read and write on /dev/xen/evtchn
