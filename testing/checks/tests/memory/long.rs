//! Traces so long that they may not be kept in memory.

use std::io::{self, BufReader, Read};

use evtchn_checks::within;
use evtchn_trace::{Format, Lines, draw};
use libtest_mimic::{Failed, Trial};

/// How often two lines are repeated, which change eight ports: kept as they are, these changes would take
/// more memory than a trace of no bytes may.
const TURNS: usize = 100_000;

pub(crate) fn trials() -> Vec<Trial> {
    let formats = [
        ("svg", Format::Svg),
        ("html", Format::Html),
        ("json", Format::Json),
    ];
    let trials = formats.map(|(name, format)| {
        let name = format!("long::a_trace_of_any_length_takes_the_same_memory_as_{name}");
        Trial::test(name, move || drawn(format))
    });
    trials.into()
}

fn drawn(format: Format) -> Result<(), Failed> {
    let mut begin = "{\"trace\":\"evtchn\",\"version\":3,\"source\":\"script\",\"trigger\":\"level\",\"slots\":8}\n\
                     {\"op\":\"many bind 0 8 unbound\"}\n"
        .to_owned();
    for port in 1..=8 {
        begin += &format!("{{\"seam\":\"bind_static\",\"port\":{port}}}\n");
    }
    let turns = Repeated {
        text: b"{\"op\":\"many wait 0 8\"}\n{\"seam\":\"reset\"}\n",
        at: 0,
        left: TURNS,
    };
    let draws = || {
        let trace = BufReader::new(begin.as_bytes().chain(turns));
        let lines = Lines::new(trace).map_err(|error| error.to_string())?;
        let drawn = draw(format, &mut lines.salvaging(), &mut io::sink());
        drawn.map_err(|error| error.to_string())
    };
    Ok(within(0, draws)?)
}

/// A text so many times, which is nowhere as a whole.
struct Repeated {
    text: &'static [u8],
    at: usize,
    left: usize,
}

impl Read for Repeated {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let read = (&self.text[self.at..]).read(into)?;
        self.at += read;
        if self.at == self.text.len() {
            (self.at, self.left) = (0, self.left - 1);
        }
        Ok(read)
    }
}
