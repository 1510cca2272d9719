//! A list of ports, as text and as JSON.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use anyhow::{Context as _, Result};
use evtchn::{DomId, Port, PortStatus, Status};
use serde_json::{Value, json};

use super::dump::{Bits, Queue};
use super::looks::Verdict;
use super::object::object;
use crate::options::Place;
use crate::output::Format;
use crate::output::screen::Screen;
use crate::plain::{self, Plain};

/// Each port of a list.
pub(crate) type Table = BTreeMap<(DomId, Port), Entry>;

/// What is known of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its status; none if Xen keeps it for itself.
    pub(crate) status: Option<PortStatus>,
    /// What only a dump has.
    pub(super) bits: Option<Bits>,
    /// What two dumps show.
    pub(super) verdict: Option<Verdict>,
}

impl From<Option<PortStatus>> for Entry {
    /// What a hypercall says.
    fn from(status: Option<PortStatus>) -> Entry {
        Entry {
            status,
            bits: None,
            verdict: None,
        }
    }
}

/// A port in a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) domid: DomId,
    pub(super) port: Port,
    pub(super) entry: &'a Entry,
    /// The change since the previous list.
    change: Option<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Removed,
    Changed,
}

impl Change {
    const fn mark(self) -> &'static str {
        match self {
            Change::Added => "+",
            Change::Removed => "-",
            Change::Changed => "~",
        }
    }
}

/// Every port of a list, and those that were removed since the previous one.
fn rows<'a>(table: &'a Table, previous: Option<&'a Table>) -> Vec<Row<'a>> {
    let row = |(&(domid, port), entry): (&(DomId, Port), &'a Entry), change| Row {
        domid,
        port,
        entry,
        change,
    };
    let mut rows: Vec<Row<'a>> = table
        .iter()
        .map(|entry| {
            let change = previous.and_then(|previous| match previous.get(entry.0) {
                None => Some(Change::Added),
                Some(before) => {
                    let now = entry.1;
                    let is_same = before.status == now.status && before.verdict == now.verdict;
                    (!is_same).then_some(Change::Changed)
                }
            });
            row(entry, change)
        })
        .collect();
    let gone = previous.into_iter().flatten();
    let gone = gone.filter(|(place, _)| !table.contains_key(place));
    rows.extend(gone.map(|entry| row(entry, Some(Change::Removed))));
    rows.sort_by_key(|row| (row.domid, row.port));
    rows
}

/// Prints lists.
pub(super) struct Printer {
    out: BufWriter<Stdout>,
    format: Format,
    place: Place,
    /// Whether there may be more than one list.
    is_watch: bool,
    /// Whether stuck ports are red.
    has_color: bool,
    printed: u64,
}

impl Printer {
    pub(super) fn new(format: Format, place: Place, is_watch: bool) -> Printer {
        Printer {
            out: BufWriter::new(io::stdout()),
            format,
            place,
            is_watch,
            has_color: plain::has_color(&io::stdout()),
            printed: 0,
        }
    }

    /// Prints a list, with the changes since the previous one, and `notes` below it, which JSON has not.
    /// Returns false if the reader is gone.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub(super) fn print(
        &mut self,
        table: &Table,
        previous: Option<&Table>,
        notes: &[String],
    ) -> Result<bool> {
        let rows = rows(table, previous);
        let written = match self.format {
            Format::Text | Format::Table | Format::Silent => self.text(&rows, notes),
            Format::Json => self.json(&rows),
        };
        self.printed += 1;
        match written.and_then(|()| self.out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).context("cannot write the output"),
        }
    }

    fn text(&mut self, rows: &[Row<'_>], notes: &[String]) -> io::Result<()> {
        let columns = Screen::columns();
        let is_screen = self.is_watch && columns.is_some();
        let out = &mut self.out;
        if is_screen {
            // Clears the screen, and moves the cursor to its upper left corner.
            out.write_all(b"\x1b[H\x1b[2J")?;
        } else if self.printed > 0 {
            writeln!(out)?;
        }
        // The title, the header, the notes, the line of those left out, and the cursor.
        let room = is_screen.then(|| Screen::size().1.saturating_sub(notes.len() + 4));
        let (rows, left_out) = shown(rows, room.unwrap_or(usize::MAX));
        let cut = |line: &str| -> String {
            let line: String = line.chars().take(columns.unwrap_or(usize::MAX)).collect();
            line.trim_end().to_owned()
        };
        writeln!(out, "{}", cut(&self.place.to_string()))?;
        let has_bits = rows.iter().any(|row| row.entry.bits.is_some());
        writeln!(out, "{}", cut(&header(self.is_watch, has_bits)))?;
        for row in rows {
            let is_red = self.has_color && row.entry.verdict == Some(Verdict::Stuck);
            let (begin, end) = match is_red {
                true => ("\x1b[31m", "\x1b[0m"),
                false => ("", ""),
            };
            let mark = match self.is_watch {
                true => format!("{} ", row.change.map_or(" ", Change::mark)),
                false => String::new(),
            };
            let line = cut(&format!("{mark}{}", line(row)));
            writeln!(out, "{begin}{line}{end}")?;
        }
        if left_out > 0 {
            writeln!(out, "  ... and {left_out} more")?;
        }
        notes.iter().try_for_each(|note| {
            let note = Plain(note).to_string();
            let note = if is_screen { cut(&note) } else { note };
            writeln!(out, "{note}")
        })
    }

    fn json(&mut self, rows: &[Row<'_>]) -> io::Result<()> {
        let is_first = self.printed == 0;
        for row in rows.iter().filter(|row| is_first || row.change.is_some()) {
            let mut object = object(row);
            object.insert("backend".to_owned(), self.place.name().into());
            if self.is_watch {
                object.insert("list".to_owned(), json!(self.printed));
                let mark = row.change.map(Change::mark);
                object.insert("change".to_owned(), json!(mark));
            }
            writeln!(self.out, "{}", plain::json(&Value::from(object)))?;
        }
        Ok(())
    }
}

fn header(is_watch: bool, has_bits: bool) -> String {
    let margin = if is_watch { "  " } else { "" };
    let more = match has_bits {
        true => "  PENDING  MASKED  QUEUE",
        false => "",
    };
    format!("{margin}DOMID    PORT  STATE        BOUND TO    VCPU{more}")
}

/// The rows that there is room for, in order, and how many are left out: first those that changed or have
/// a verdict.
fn shown<'a, 'b>(rows: &'a [Row<'b>], room: usize) -> (Vec<&'a Row<'b>>, usize) {
    let mut places: Vec<usize> = (0..rows.len()).collect();
    let is_plain = |row: &Row<'_>| row.change.is_none() && row.entry.verdict.is_none();
    places.sort_by_key(|place| is_plain(&rows[*place]));
    places.truncate(room);
    places.sort_unstable();
    let left_out = rows.len() - places.len();
    let shown = places.into_iter().map(|place| &rows[place]);
    (shown.collect(), left_out)
}

fn line(row: &Row<'_>) -> String {
    let Row {
        domid, port, entry, ..
    } = row;
    let Some(PortStatus { state, vcpu }) = entry.status else {
        return format!("{domid:>5} {port:>7}  {HIDDEN}");
    };
    let bound_to = match state {
        Status::Unbound { remote } => format!("{remote}"),
        Status::Interdomain { remote } => remote.to_string(),
        Status::Pirq { pirq } => pirq.to_string(),
        Status::Virq { virq } => virq.to_string(),
        Status::Closed | Status::Ipi | _ => String::new(),
    };
    let state = name(state);
    let line = format!("{domid:>5} {port:>7}  {state:<11}  {bound_to:<10}  {vcpu:>4}");
    match &entry.bits {
        Some(bits) => format!("{line}{}", more(bits, entry.verdict)),
        None => line,
    }
}

/// The columns that only a dump has.
fn more(bits: &Bits, verdict: Option<Verdict>) -> String {
    let yes = |is: bool, word| if is { word } else { "-" };
    let queue = match bits.queue {
        None | Some(Queue::TwoLevel { selected: false }) => "-".to_owned(),
        Some(Queue::TwoLevel { selected: true }) => "selected".to_owned(),
        Some(Queue::Unmapped) => "no memory".to_owned(),
        Some(Queue::Fifo { busy, next }) => match (busy, next) {
            (false, None) => "-".to_owned(),
            (true, None) => "busy".to_owned(),
            (false, Some(next)) => format!("linked {next}"),
            (true, Some(next)) => format!("busy, linked {next}"),
        },
    };
    let (pending, masked) = (yes(bits.pending, "pending"), yes(bits.masked, "masked"));
    let mut line = format!("  {pending:<7}  {masked:<6}  {queue}");
    if let Some(irq) = bits.irq.filter(|irq| *irq > 0) {
        line += &format!("  irq {irq}");
    }
    if bits.consumer > 0 {
        line += "  for Xen";
    }
    if let Some(label) = &bits.label {
        line += &format!("  {}", Plain(label));
    }
    if let Some(verdict) = verdict {
        line += &format!("  {}", verdict.name().to_uppercase());
    }
    line
}

/// The state of a port that Xen keeps for itself.
pub(super) const HIDDEN: &str = "xen";

pub(super) const fn name(state: Status) -> &'static str {
    match state {
        Status::Closed => "closed",
        Status::Unbound { .. } => "unbound",
        Status::Interdomain { .. } => "interdomain",
        Status::Pirq { .. } => "pirq",
        Status::Virq { .. } => "virq",
        Status::Ipi => "ipi",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ports_that_were_added_removed_or_changed_are_marked() {
        let table = |ports: &[(u32, u32)]| -> Table {
            let entry = |&(port, vcpu): &(u32, u32)| {
                let state = Status::Ipi;
                let place = (DomId::DOM0, Port::new(port).unwrap());
                let status = Some(PortStatus { state, vcpu });
                (place, Entry::from(status))
            };
            ports.iter().map(entry).collect()
        };
        let (previous, current) = (
            table(&[(1, 0), (2, 0), (3, 0)]),
            table(&[(1, 0), (3, 1), (4, 0)]),
        );
        let marks = |previous: Option<&Table>| -> Vec<(u32, Option<&str>)> {
            let rows = rows(&current, previous);
            let mark = |row: &Row<'_>| (row.port.as_raw(), row.change.map(Change::mark));
            rows.iter().map(mark).collect()
        };
        assert_eq!(marks(None), [(1, None), (3, None), (4, None)]);
        let all = [(1, None), (2, Some("-")), (3, Some("~")), (4, Some("+"))];
        assert_eq!(marks(Some(&previous)), all);
    }

    #[test]
    fn on_a_small_screen_what_changed_comes_first_and_the_others_are_counted() {
        let entry = Entry::from(None);
        let row = |raw, change| Row {
            domid: DomId::DOM0,
            port: Port::new(raw).unwrap(),
            entry: &entry,
            change,
        };
        let mut rows: Vec<Row<'_>> = (1..=9).map(|raw| row(raw, None)).collect();
        rows[7].change = Some(Change::Changed);
        let (shown, left_out) = shown(&rows, 3);
        let ports: Vec<u32> = shown.iter().map(|row| row.port.as_raw()).collect();
        assert_eq!((ports, left_out), (vec![1, 2, 8], 6));
    }
}
