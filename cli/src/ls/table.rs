//! A list of ports, as text and as JSON.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Stdout, Write};

use anyhow::{Context as _, Result};
use evtchn::{DomId, Port, PortStatus, RemotePort, Status};
use serde_json::{Map, Value, json};

use crate::output::Format;
use crate::plain;

/// What each port is; nothing is known of those that Xen keeps for itself.
pub(super) type Table = BTreeMap<(DomId, Port), Option<PortStatus>>;

/// A port in a list.
#[derive(Debug, Clone, Copy)]
struct Row {
    domid: DomId,
    port: Port,
    status: Option<PortStatus>,
    /// Against the list before.
    change: Option<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Came,
    Went,
    Changed,
}

impl Change {
    const fn mark(self) -> &'static str {
        match self {
            Change::Came => "+",
            Change::Went => "-",
            Change::Changed => "~",
        }
    }
}

/// Every port of a list, and those that went since the one before.
fn rows<'a>(table: &'a Table, before: Option<&'a Table>) -> Vec<Row> {
    let row = |(&(domid, port), &status): (&(DomId, Port), &Option<PortStatus>), change| Row {
        domid,
        port,
        status,
        change,
    };
    let mut rows: Vec<Row> = table
        .iter()
        .map(|entry| {
            let change = before.and_then(|before| match before.get(entry.0) {
                None => Some(Change::Came),
                Some(status) => (status != entry.1).then_some(Change::Changed),
            });
            row(entry, change)
        })
        .collect();
    let gone = before.into_iter().flatten();
    let gone = gone.filter(|(place, _)| !table.contains_key(place));
    rows.extend(gone.map(|entry| row(entry, Some(Change::Went))));
    rows.sort_by_key(|row| (row.domid, row.port));
    rows
}

/// Where lists go.
pub(super) struct Printer {
    out: BufWriter<Stdout>,
    format: Format,
    /// Whether there is more than one.
    watches: bool,
    printed: u64,
}

impl Printer {
    pub(super) fn new(format: Format, watches: bool) -> Printer {
        Printer {
            out: BufWriter::new(io::stdout()),
            format,
            watches,
            printed: 0,
        }
    }

    /// Prints a list, against the one before. Says whether somebody still reads.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn print(&mut self, table: &Table, before: Option<&Table>) -> Result<bool> {
        let rows = rows(table, before);
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
        let Printer { out, watches, .. } = self;
        if *watches && io::stdout().is_terminal() {
            // To the upper left corner of an empty screen.
            out.write_all(b"\x1b[H\x1b[2J")?;
        } else if self.printed > 0 {
            writeln!(out)?;
        }
        let margin = if *watches { "  " } else { "" };
        writeln!(out, "{margin}DOMID    PORT  STATE        BOUND TO    VCPU")?;
        for row in rows {
            if *watches {
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
            if self.watches {
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

/// The state of a port of which Xen says nothing more.
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
    put("domid", json!(row.domid.as_raw()));
    put("port", json!(row.port.as_raw()));
    let Some(PortStatus { state, vcpu }) = row.status else {
        put("state", json!(HIDDEN));
        return object;
    };
    put("state", json!(name(state)));
    match state {
        Status::Unbound { remote } => {
            put("remote_domid", json!(remote.as_raw()));
        }
        Status::Interdomain { remote } => {
            let RemotePort { domid, port } = remote;
            put("remote_domid", json!(domid.as_raw()));
            put("remote_port", json!(port.as_raw()));
        }
        Status::Pirq { pirq } => {
            put("pirq", json!(pirq));
        }
        Status::Virq { virq } => {
            put("virq", json!(virq.as_raw()));
            put("virq_name", json!(virq.name()));
        }
        Status::Closed | Status::Ipi | _ => {}
    }
    put("vcpu", json!(vcpu));
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_went_and_changed_is_marked_and_nothing_else() {
        let table = |ports: &[(u32, u32)]| -> Table {
            let entry = |&(port, vcpu): &(u32, u32)| {
                let state = Status::Ipi;
                let place = (DomId::DOM0, Port::new(port).unwrap());
                (place, Some(PortStatus { state, vcpu }))
            };
            ports.iter().map(entry).collect()
        };
        let (before, after) = (
            table(&[(1, 0), (2, 0), (3, 0)]),
            table(&[(1, 0), (3, 1), (4, 0)]),
        );
        let marks = |before: Option<&Table>| -> Vec<(u32, Option<&str>)> {
            let rows = rows(&after, before);
            let mark = |row: &Row| (row.port.as_raw(), row.change.map(Change::mark));
            rows.iter().map(mark).collect()
        };
        assert_eq!(marks(None), [(1, None), (3, None), (4, None)]);
        let all = [(1, None), (2, Some("-")), (3, Some("~")), (4, Some("+"))];
        assert_eq!(marks(Some(&before)), all);
    }
}
