//! The table of a hand-over, from any bytes and back.

use evtchn_core::{DomId, HandOver, Port};

/// Reads bytes as a text, which must not panic and must give what is written so and nothing
/// else; and makes a table of them, which must survive its text.
///
/// # Panics
/// Where one of these does not hold.
pub fn check_hand_over(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(table) = text.parse::<HandOver>() {
        assert_eq!(table.to_string(), text);
    }
    let words = bytes.as_chunks().0.iter().copied().map(u32::from_le_bytes);
    let ports = words.filter_map(Port::new).collect();
    let restriction = bytes.first_chunk().copied().map(u16::from_le_bytes);
    if let Ok(table) = HandOver::new(ports, restriction.map(DomId::new)) {
        assert_eq!(table.to_string().parse(), Ok(table));
    }
}
