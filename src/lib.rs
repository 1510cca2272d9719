//! Xen event channels for Rust.
