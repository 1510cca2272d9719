//! The page: the same picture to zoom and pan, in one file that needs no network.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::lanes::{Kind, Lane, Look, Timeline};
use super::log::Store;
use super::summary::thousands;
use super::svg::{self, Escaped};
use crate::plain;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: [&str; 3] = [
    include_str!("html/data.js"),
    include_str!("html/draw.js"),
    include_str!("html/page.js"),
];
/// The controls around the picture. The script draws the picture.
const CONTROLS: &str = include_str!("html/controls.html");

/// Writes the page.
///
/// # Errors
/// Those of `out`.
pub(super) fn draw(timeline: &Timeline, out: &mut dyn Write) -> io::Result<()> {
    let summary = timeline.summary.to_string();
    let summary = Escaped(&summary);
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>Event channels: {summary}</title>\n\
         <style>\n{}{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Event channels, lane by lane</h1>\n<p class=\"summary\">{summary}</p>\n{CONTROLS}",
        svg::STYLE
    )?;
    writeln!(out, "<noscript>")?;
    svg::draw(timeline, out)?;
    writeln!(out, "</noscript>")?;
    table(timeline, out)?;
    writeln!(
        out,
        "</main>\n<svg width=\"0\" height=\"0\" aria-hidden=\"true\" class=\"shapes\"><defs>\n{}\
         </defs></svg>",
        svg::SHAPES
    )?;
    write!(out, "<script type=\"application/json\" id=\"data\">")?;
    data(timeline, out)?;
    write!(out, "</script>\n<script>\n'use strict';\n")?;
    SCRIPT.iter().try_for_each(|part| write!(out, "{part}"))?;
    writeln!(out, "</script>\n</body>\n</html>")
}

/// The columns of the table.
const COLUMNS: [(&str, &[Kind]); 6] = [
    ("wakes", &[Kind::Wake, Kind::Alarm]),
    ("latches", &[Kind::Latch]),
    ("sent by the other end", &[Kind::Sent]),
    ("notifies", &[Kind::Notify]),
    ("overflows", &[Kind::Overflow]),
    ("faults", &[Kind::Fault]),
];

/// The picture in numbers, for screen readers too.
fn table(timeline: &Timeline, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "<h2 id=\"numbers\">In numbers</h2>\n<div class=\"scrolls\" tabindex=\"0\" role=\"region\" \
         aria-labelledby=\"numbers\">\n<table>\n<thead><tr><th scope=\"col\">lane</th>\
         <th scope=\"col\">other end</th>"
    )?;
    for (name, _) in COLUMNS {
        write!(out, "<th scope=\"col\" class=\"number\">{name}</th>")?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for lane in &timeline.lanes {
        let (name, about) = (Escaped(&lane.name), Escaped(&lane.about));
        write!(out, "<tr><th scope=\"row\">{name}</th><td>{about}</td>")?;
        for (_, kinds) in COLUMNS {
            let count = kinds.iter().map(|kind| lane.marks.count(*kind)).sum();
            write!(out, "<td class=\"number\">{}</td>", thousands(count))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody>\n</table>\n</div>")
}

/// The lanes as compact JSON: increasing numbers are written as differences.
fn data(timeline: &Timeline, out: &mut dyn Write) -> io::Result<()> {
    let kinds = Kind::ALL.map(|kind| json!([kind.class(), kind.name(), kind.row()]));
    let looks = Look::ALL.map(|look| json!([look.class(), look.legend()]));
    let (kinds, looks) = (json!(kinds), json!(looks));
    write!(out, "{{\"kinds\":{kinds},\"looks\":{looks},\"texts\":[")?;
    for (place, text) in timeline.texts.all().iter().enumerate() {
        comma(place, out)?;
        write!(out, "{}", script(&json!(text)))?;
    }
    write!(out, "],\"lines\":[")?;
    let mut before = "";
    timeline.lines.differences(&timeline.store, |[line]| {
        write!(out, "{before}{line}")?;
        before = ",";
        Ok(())
    })?;
    write!(out, "],\"lanes\":[")?;
    for (place, one) in timeline.lanes.iter().enumerate() {
        comma(place, out)?;
        lane(one, &timeline.store, out)?;
    }
    let states = timeline.states.all().iter();
    let states: Vec<_> = states.map(|it| [it.name(), it.look().class()]).collect();
    write!(out, "],\"states\":{}}}", json!(states))
}

/// JSON in which no text can end the script element.
fn script(value: &Value) -> String {
    plain::json(value).replace('<', "\\u003c")
}

fn lane(lane: &Lane, store: &Store, out: &mut dyn Write) -> io::Result<()> {
    let (name, about) = (script(&json!(lane.name)), script(&json!(lane.about)));
    write!(out, "\n{{\"name\":{name},\"about\":{about},\"spans\":[")?;
    lane.spans.differences(store, triples(out))?;
    write!(out, "],\"marks\":[")?;
    lane.marks.differences(store, triples(out))?;
    write!(out, "]}}")
}

/// Writes three numbers at a time, with commas.
fn triples(out: &mut dyn Write) -> impl FnMut([u32; 3]) -> io::Result<()> {
    let mut before = "";
    move |[first, second, third]| {
        write!(out, "{before}{first},{second},{third}")?;
        before = ",";
        Ok(())
    }
}

fn comma(place: usize, out: &mut dyn Write) -> io::Result<()> {
    if place > 0 {
        write!(out, ",")?;
    }
    Ok(())
}
