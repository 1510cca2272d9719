//! The table of a hand-over, from any bytes and back.

use evtchn_core::{DomId, HandOver, Port};

/// Reads bytes as a text, which must not panic and must give what is written so and nothing
/// else; and makes a table of them, which must survive its text.
///
/// # Errors
/// Where one of these does not hold.
pub(crate) fn play_hand_over(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    let read = text.parse::<HandOver>();
    if let Some(written) = read.ok().map(|table| table.to_string())
        && written != text
    {
        return Err(format!("{text:?} is read as {written:?}"));
    }
    let words = bytes.as_chunks().0.iter().copied().map(u32::from_le_bytes);
    let ports = words.filter_map(Port::new).collect();
    let restriction = bytes.first_chunk().copied().map(u16::from_le_bytes);
    if let Ok(table) = HandOver::new(ports, restriction.map(DomId::new)) {
        let read = table.to_string().parse();
        if read.as_ref() != Ok(&table) {
            return Err(format!("{table:?} is read as {read:?}"));
        }
    }
    Ok(())
}
