//! todo
use super::lanes::Timeline;
use std::io;
pub(super) fn draw(_t: &Timeline, _out: &mut dyn io::Write) -> io::Result<()> {
    Ok(())
}
