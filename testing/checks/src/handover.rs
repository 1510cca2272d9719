//! The table of a hand-over, from any bytes and back.

use evtchn_core::{DomId, HandOver, Port};

/// Reads the bytes as the text of a table, which must not panic. A table from a text of version 1 must
/// be written as the same text, and any table must be the same after it was written and read. Then
/// makes a table from the bytes themselves, for which the same must hold.
///
/// # Errors
/// What does not hold.
pub(crate) fn play_hand_over(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    let read = text.parse::<HandOver>();
    if let Ok(table) = read {
        let written = table.to_string();
        if written != text && text.starts_with("v1:") {
            return Err(format!("{text:?} is read as {written:?}"));
        }
        survives(&table)?;
    }
    let words = bytes.as_chunks().0.iter().copied().map(u32::from_le_bytes);
    let ports = words.filter_map(Port::new).collect();
    let restriction = bytes.first_chunk().copied().map(u16::from_le_bytes);
    if let Ok(table) = HandOver::new(ports, restriction.map(DomId::new)) {
        survives(&table)?;
    }
    Ok(())
}

/// Checks that the table is the same after it was written and read, and that an older program reads all
/// of it but the peers.
fn survives(table: &HandOver) -> Result<(), String> {
    let read = table.to_string().parse();
    if read.as_ref() != Ok(table) {
        return Err(format!("{table:?} is read as {read:?}"));
    }
    let old = table.to_v1().parse::<HandOver>();
    let v1 = HandOver::new(table.ports().to_vec(), table.restriction());
    if !table.to_v1().starts_with("v1:") || old != v1 {
        return Err(format!("{table:?} is {old:?} for an older program"));
    }
    Ok(())
}
