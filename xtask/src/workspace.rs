//! The folders and files of the workspace.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The root folder of the workspace.
pub(crate) fn root() -> &'static Path {
    const OWN: &str = env!("CARGO_MANIFEST_DIR");
    Path::new(OWN).parent().unwrap_or(Path::new(OWN))
}

/// The text of a file of the workspace.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {}", path.display()))
}

/// Cargo's target directory.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
