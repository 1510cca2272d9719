//! Programs in `tests/compile_fail` misuse channels, ports and rounds, and must not compile.
#![forbid(unsafe_code)]
