//! A list of ports, as text and as JSON.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Stdout, Write};

use anyhow::{Context as _, Result};
use evtchn::{DomId, Port, PortStatus, Status};
use serde_json::{Map, Value, json};

use crate::options::Place;
use crate::output::Format;
use crate::plain;
use crate::source::Source;

/// The status of each port; none for those that Xen keeps for itself.
pub(super) type Table = BTreeMap<(DomId, Port), Option<PortStatus>>;

/// A port in a list.
#[derive(Debug, Clone, Copy)]
struct Row {
    domid: DomId,
    port: Port,
    status: Option<PortStatus>,
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
fn rows<'a>(table: &'a Table, previous: Option<&'a Table>) -> Vec<Row> {
    let row = |(&(domid, port), &status): (&(DomId, Port), &Option<PortStatus>), change| Row {
        domid,
        port,
        status,
        change,
    };
    let mut rows: Vec<Row> = table
        .iter()
        .map(|entry| {
            let change = previous.and_then(|previous| match previous.get(entry.0) {
                None => Some(Change::Added),
                Some(status) => (status != entry.1).then_some(Change::Changed),
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
    printed: u64,
}

impl Printer {
    pub(super) fn new(format: Format, place: Place, is_watch: bool) -> Printer {
        Printer {
            out: BufWriter::new(io::stdout()),
            format,
            place,
            is_watch,
            printed: 0,
        }
    }

    /// Prints a list, with the changes since the previous one. Returns false if the reader is gone.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub(super) fn print(&mut self, table: &Table, previous: Option<&Table>) -> Result<bool> {
        let rows = rows(table, previous);
        let written = match self.format {
            Format::Text | Format::Table | Format::Silent => self.text(&rows),
            Format::Json => self.json(&rows),
        };
        self.printed += 1;
        match written.and_then(|()| self.out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).context("cannot write the output"),
        }
    }

    fn text(&mut self, rows: &[Row]) -> io::Result<()> {
        let Printer {
            out,
            place,
            is_watch,
            ..
        } = self;
        if *is_watch && io::stdout().is_terminal() {
            // Clears the screen, and moves the cursor to its upper left corner.
            out.write_all(b"\x1b[H\x1b[2J")?;
        } else if self.printed > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{place}")?;
        let margin = if *is_watch { "  " } else { "" };
        writeln!(out, "{margin}DOMID    PORT  STATE        BOUND TO    VCPU")?;
        for row in rows {
            if *is_watch {
                write!(out, "{} ", row.change.map_or(" ", Change::mark))?;
            }
            line(out, row)?;
        }
        Ok(())
    }

    fn json(&mut self, rows: &[Row]) -> io::Result<()> {
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

fn line(out: &mut impl Write, row: &Row) -> io::Result<()> {
    let Row { domid, port, .. } = row;
    let Some(PortStatus { state, vcpu }) = row.status else {
        return writeln!(out, "{domid:>5} {port:>7}  {HIDDEN}");
    };
    let bound_to = match state {
        Status::Unbound { remote } => format!("{remote}"),
        Status::Interdomain { remote } => remote.to_string(),
        Status::Pirq { pirq } => pirq.to_string(),
        Status::Virq { virq } => virq.to_string(),
        Status::Closed | Status::Ipi | _ => String::new(),
    };
    let state = name(state);
    writeln!(
        out,
        "{domid:>5} {port:>7}  {state:<11}  {bound_to:<10}  {vcpu:>4}"
    )
}

/// The state of a port that Xen keeps for itself.
const HIDDEN: &str = "xen";

const fn name(state: Status) -> &'static str {
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

fn object(row: &Row) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("domid", domid(row.domid));
    put("port", json!(row.port.as_raw()));
    let Some(PortStatus { state, vcpu }) = row.status else {
        put("state", json!(HIDDEN));
        return object;
    };
    put("state", json!(name(state)));
    match state {
        Status::Pirq { pirq } => {
            put("pirq", json!(pirq));
        }
        Status::Unbound { remote } => Source::Unbound(remote).put(&mut object),
        Status::Interdomain { remote } => Source::Remote(remote).put(&mut object),
        Status::Virq { virq } => Source::Virq(virq).put(&mut object),
        Status::Closed | Status::Ipi | _ => {}
    }
    object.insert("vcpu".to_owned(), json!(vcpu));
    object
}

/// The id of a domain; the domain of this program, whose id it need not know, is `"self"`.
fn domid(domid: DomId) -> Value {
    match domid {
        DomId::SELF => json!("self"),
        domid => json!(domid.as_raw()),
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
                (place, Some(PortStatus { state, vcpu }))
            };
            ports.iter().map(entry).collect()
        };
        let (previous, current) = (
            table(&[(1, 0), (2, 0), (3, 0)]),
            table(&[(1, 0), (3, 1), (4, 0)]),
        );
        let marks = |previous: Option<&Table>| -> Vec<(u32, Option<&str>)> {
            let rows = rows(&current, previous);
            let mark = |row: &Row| (row.port.as_raw(), row.change.map(Change::mark));
            rows.iter().map(mark).collect()
        };
        assert_eq!(marks(None), [(1, None), (3, None), (4, None)]);
        let all = [(1, None), (2, Some("-")), (3, Some("~")), (4, Some("+"))];
        assert_eq!(marks(Some(&previous)), all);
    }
}
