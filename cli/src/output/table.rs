//! The table of channels: its counts, and its lines.

use std::collections::BTreeMap;
use std::time::Duration;

use evtchn::Port;

/// Channels, by port.
#[derive(Debug)]
pub(crate) struct Table {
    /// Where the channels are.
    place: String,
    rows: BTreeMap<Port, Row>,
    wakes: u64,
    is_registered: bool,
}

#[derive(Debug)]
struct Row {
    remote: String,
    wakes: u64,
    last: Option<Duration>,
    /// Wakes of the last second, in tenths; the index of a tenth is its number modulo ten.
    tenths: [u32; 10],
    /// The tenth that was counted last.
    tenth: u64,
}

impl Row {
    /// The number of the tenth of a second at this time.
    fn tenth(now: Duration) -> u64 {
        now.as_secs() * 10 + u64::from(now.subsec_millis() / 100)
    }

    /// Forgets what is more than a second old.
    fn forget(&mut self, now: Duration) {
        let tenth = Row::tenth(now);
        for old in (self.tenth + 1..=tenth).rev().take(10) {
            self.tenths[Row::index(old)] = 0;
        }
        self.tenth = self.tenth.max(tenth);
    }

    fn index(tenth: u64) -> usize {
        usize::try_from(tenth % 10).unwrap_or_default()
    }

    fn woke(&mut self, now: Duration) {
        self.forget(now);
        self.tenths[Row::index(self.tenth)] += 1;
        self.wakes += 1;
        self.last = Some(now);
    }

    fn per_second(&mut self, now: Duration) -> u32 {
        self.forget(now);
        self.tenths.iter().sum()
    }

    fn line(&mut self, columns: &Columns, port: Port, now: Duration) -> String {
        let last = match self.last {
            Some(last) => format!("{} ago", seconds(now.saturating_sub(last))),
            None => "never".into(),
        };
        let per_second = self.per_second(now).to_string();
        let Row { remote, wakes, .. } = self;
        columns.line([
            &port.to_string(),
            remote,
            &wakes.to_string(),
            &per_second,
            &last,
        ])
    }
}

/// The columns that fit a terminal. One that does not fit whole is left out, because part of a number
/// is another number.
#[derive(Debug)]
struct Columns(Vec<usize>);

impl Columns {
    const TITLES: [&'static str; 5] = ["port", "remote", "wakes", "per second", "last wake"];
    /// Their widths on a wide terminal, and on a narrow one.
    const WIDE: [usize; 5] = [10, 20, 12, 10, 16];
    const NARROW: [usize; 5] = [6, 13, 10, 10, 13];
    /// The column that is aligned to the left, after two spaces.
    const REMOTE: usize = 1;

    fn of(width: usize) -> Columns {
        let line = |widths: [usize; 5]| widths.iter().sum::<usize>() + widths.len();
        let widths = match line(Columns::WIDE) <= width {
            true => Columns::WIDE,
            false => Columns::NARROW,
        };
        let mut end = 0;
        let fits = widths
            .into_iter()
            .enumerate()
            .take_while(|(place, column)| {
                end += column + Columns::gap(*place);
                end <= width
            });
        Columns(fits.map(|(_, column)| column).collect())
    }

    const fn gap(place: usize) -> usize {
        match place {
            0 => 0,
            Columns::REMOTE => 2,
            _ => 1,
        }
    }

    fn line(&self, cells: [&str; 5]) -> String {
        let mut line = String::new();
        for (place, (width, cell)) in self.0.iter().zip(cells).enumerate() {
            line += &" ".repeat(Columns::gap(place));
            line += &match place {
                Columns::REMOTE => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            };
        }
        line.truncate(line.trim_end().len());
        line
    }
}

impl Table {
    /// A table for channels of this place.
    pub(crate) const fn new(place: String) -> Table {
        Table {
            place,
            rows: BTreeMap::new(),
            wakes: 0,
            is_registered: false,
        }
    }

    /// A channel was bound.
    pub(crate) fn bound(&mut self, port: Port, remote: &str) {
        let row = Row {
            remote: remote.to_owned(),
            wakes: 0,
            last: None,
            tenths: [0; 10],
            tenth: 0,
        };
        self.rows.insert(port, row);
    }

    /// A channel woke its waiter.
    pub(crate) fn woke(&mut self, port: Port, now: Duration) {
        self.wakes += 1;
        if let Some(row) = self.rows.get_mut(&port) {
            row.woke(now);
        }
    }

    /// The device was registered or deregistered.
    pub(crate) const fn registered(&mut self, is_registered: bool) {
        self.is_registered = is_registered;
    }

    /// The fewest lines of the last table: two of header, and three for channels.
    pub(crate) const LEAST: usize = 5;

    /// At most `height` lines, each at most `width` wide.
    pub(crate) fn lines(&mut self, now: Duration, width: usize, height: usize) -> Vec<String> {
        let registered = if self.is_registered {
            "registered"
        } else {
            "idle"
        };
        let title = format!("{}, {registered}. Ctrl-C ends it.", self.title(now));
        let header = vec![title, self.place.clone()];
        self.with_channels(header, now, width, height)
    }

    /// The same once nothing more comes; the summary after it names the backend.
    pub(crate) fn last_lines(&mut self, now: Duration, width: usize, height: usize) -> Vec<String> {
        let header = vec![self.title(now)];
        self.with_channels(header, now, width, height)
    }

    fn title(&self, now: Duration) -> String {
        let (channels, wakes) = (self.rows.len(), self.wakes);
        format!(
            "evtchn watch  {channels} channels, {wakes} wakes in {}",
            seconds(now)
        )
    }

    fn with_channels(
        &mut self,
        mut lines: Vec<String>,
        now: Duration,
        width: usize,
        height: usize,
    ) -> Vec<String> {
        let columns = Columns::of(width);
        lines.push(columns.line(Columns::TITLES));
        let mut ports: Vec<Port> = self.rows.keys().copied().collect();
        let room = height.saturating_sub(lines.len());
        let hidden = match ports.len() {
            fit if fit <= room => 0,
            // The last line counts the hidden ones.
            _ => ports.len() + 1 - room.max(1),
        };
        if hidden > 0 {
            ports.sort_by_key(|port| self.rows.get(port).map(|row| u64::MAX - row.wakes));
            ports.truncate(room.saturating_sub(1));
        }
        for port in ports {
            let row = self.rows.get_mut(&port);
            lines.extend(row.map(|row| row.line(&columns, port, now)));
        }
        if hidden > 0 {
            let more = format!("and {hidden} with fewer wakes");
            lines.push(columns.line(["...", &more, "", "", ""]));
        }
        lines.truncate(height);
        for line in &mut lines {
            *line = line.chars().take(width).collect();
        }
        lines
    }
}

fn seconds(time: Duration) -> String {
    format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(raw: u32) -> Port {
        Port::new(raw).unwrap()
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn table(ports: u32) -> Table {
        let mut table = Table::new("simulator, seed 0".to_owned());
        for raw in 1..=ports {
            table.bound(port(raw), &format!("{raw}:1"));
        }
        table
    }

    #[test]
    fn lines_are_as_expected() {
        let mut table = table(2);
        table.registered(true);
        for ms in [500, 1900, 2000, 2100] {
            table.woke(port(2), at(ms));
        }
        let expected = [
            "evtchn watch  2 channels, 4 wakes in 2.5 s, registered. Ctrl-C ends it.",
            "simulator, seed 0",
            "      port  remote                      wakes per second        last wake",
            "         1  1:1                             0          0            never",
            "         2  2:1                             4          3        0.4 s ago",
        ];
        assert_eq!(table.lines(at(2500), 80, 24), expected);
    }

    #[test]
    fn a_column_that_does_not_fit_whole_is_left_out() {
        let mut table = table(1);
        table.woke(port(1), at(1000));
        let row = |table: &mut Table, width| table.lines(at(1100), width, 24).swap_remove(3);
        let mut is = |width, expected: &str| assert_eq!(row(&mut table, width), expected);
        is(
            73,
            "         1  1:1                             1          1        0.1 s ago",
        );
        is(
            60,
            "     1  1:1                    1          1     0.1 s ago",
        );
        is(50, "     1  1:1                    1          1");
        is(40, "     1  1:1                    1");
        is(20, "     1");
    }

    #[test]
    fn the_last_table_has_channels_in_any_window_and_does_not_ask_for_ctrl_c() {
        let mut table = table(40);
        table.woke(port(7), at(0));
        let lines = table.last_lines(at(0), 40, Table::LEAST);
        let expected = [
            "evtchn watch  40 channels, 1 wakes in 0.",
            "  port  remote             wakes",
            "     7  7:1                    1",
            "     1  1:1                    0",
            "   ...  and 38 with fewer wakes",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let mut table = table(1);
        let mut rate = |wakes: u32, ms: u64| {
            for _ in 0..wakes {
                table.woke(port(1), at(ms));
            }
            let row = table.rows.get_mut(&port(1)).unwrap();
            row.per_second(at(ms))
        };
        assert_eq!(rate(5, 0), 5);
        assert_eq!(rate(5, 950), 10);
        assert_eq!(rate(0, 1000), 5);
        assert_eq!(rate(1, 1899), 6);
        assert_eq!(rate(0, 1900), 1);
        assert_eq!(rate(2, 100_000), 2);
    }

    #[test]
    fn it_fits_every_terminal() {
        for (ports, width, height) in [
            (4096, 80, 24),
            (21, 80, 24),
            (22, 80, 24),
            (9, 3, 1),
            (9, 9, 0),
        ] {
            let mut table = table(ports);
            table.woke(port(ports), at(1));
            let lines = table.lines(at(u64::MAX / 2), width, height);
            assert!(lines.len() <= height, "{lines:?}");
            assert!(lines.iter().all(|line| line.len() <= width), "{lines:?}");
        }
    }

    #[test]
    fn if_not_all_fit_the_busiest_are_shown_and_the_others_counted() {
        let mut table = table(22);
        table.woke(port(22), at(0));
        let lines = table.lines(at(0), 80, 24);
        assert_eq!(lines.len(), 24);
        assert!(lines[3].trim_start().starts_with("22 "), "{}", lines[3]);
        assert!(
            lines[23].ends_with("and 2 with fewer wakes"),
            "{}",
            lines[23]
        );
        // Three lines of header, 20 of 22 channels, and the last line.
        assert_eq!(lines[3..23].len(), 20);
    }
}
