//! Reads any bytes as the file of a trace, and draws it as `evtchn timeline` does.

use std::io::{self, Write};

use serde::de::IgnoredAny;

use crate::memory::within;
use crate::player::caught;
use crate::replay::whole;
use crate::target::shortest;
use crate::trace::named;

/// The formats of a picture, by the ends of their file names.
const FORMATS: [&str; 3] = ["svg", "html", "json"];

/// The fuzz target `timeline`: [`play_timeline`]. The shortest trace that fails is written to a file.
///
/// # Panics
/// If something fails or panics. The message has the command that draws the trace again.
#[expect(clippy::panic, reason = "a test ends by panicking")]
pub fn check_timeline<E>(
    bytes: &[u8],
    draw: impl Fn(&str, &[u8], &mut dyn Write) -> Result<(), E>,
) {
    let Err(what) = play_timeline(bytes, &draw) else {
        return;
    };
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.map(<[u8]>::to_vec).collect();
    let fails = |lines: &[Vec<u8>]| play_timeline(&lines.concat(), &draw).is_err();
    let file = whole(&shortest(1, lines, fails).concat());
    let path = named(&std::env::temp_dir(), &file);
    let shown = path.display();
    match std::fs::write(&path, file) {
        Ok(()) => panic!(
            "{what}\nto draw it again: cargo run -p evtchn-cli -- timeline {shown} -o {shown}.svg"
        ),
        Err(error) => panic!("{what}\n{shown} could not be written: {error}"),
    }
}

/// Draws bytes as a trace with `draw`, in each format. The trace may be refused. A picture must be well
/// formed, and the memory must be in proportion to the trace.
///
/// # Errors
/// If one of these does not hold, or something panics.
pub fn play_timeline<E>(
    bytes: &[u8],
    draw: &impl Fn(&str, &[u8], &mut dyn Write) -> Result<(), E>,
) -> Result<(), String> {
    let file = whole(bytes);
    FORMATS.into_iter().try_for_each(|format| {
        caught(|| {
            let mut drawn = Ok(());
            within(file.len(), || {
                drawn = draw(format, &file, &mut io::sink());
                Ok(())
            })?;
            let mut picture = Vec::new();
            if drawn.is_err() || draw(format, &file, &mut picture).is_err() {
                return Ok(());
            }
            let picture = String::from_utf8(picture).map_err(|error| error.to_string())?;
            let looked = match format {
                "svg" => is_svg(&picture),
                "html" => is_page(&picture),
                _ => is_json(&picture),
            };
            looked.map_err(|what| format!("the picture as {format}: {what}"))
        })
    })
}

fn is_json(text: &str) -> Result<(), String> {
    let read = serde_json::from_str::<IgnoredAny>(text);
    read.map(drop).map_err(|error| error.to_string())
}

/// Checks that a picture is one element, and that each element in it ends before the one around it.
fn is_svg(text: &str) -> Result<(), String> {
    if let Some(letter) = text.chars().find(|it| it.is_control() && *it != '\n') {
        return Err(format!("{letter:?} is in it"));
    }
    let mut open = Vec::new();
    for part in text.split('<').skip(1) {
        let (tag, _text) = part.split_once('>').ok_or("a tag has no end")?;
        let name = tag.split([' ', '\n', '/']).find(|it| !it.is_empty());
        let name = name.ok_or("a tag has no name")?;
        if tag.starts_with('/') {
            let last = open.pop();
            if last != Some(name) {
                return Err(format!("{name} ends within {last:?}"));
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    match text.starts_with("<svg ") && open.is_empty() {
        true => Ok(()),
        false => Err(format!("{open:?} have no end")),
    }
}

/// Checks that a page has a picture, and data that its script can read.
fn is_page(text: &str) -> Result<(), String> {
    let between = |begin: &str, end: &str| {
        let (_, rest) = text.split_once(begin)?;
        Some(rest.split_once(end)?.0)
    };
    let svg = between("<noscript>\n", "</noscript>").ok_or("it has no picture")?;
    is_svg(svg)?;
    let data = "<script type=\"application/json\" id=\"data\">";
    is_json(between(data, "</script>").ok_or("it has no data")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_whose_elements_do_not_end_in_order_is_not_well_formed() {
        assert_eq!(is_svg("<svg x=\"1\"><g><use/></g>\n</svg>\n"), Ok(()));
        for text in [
            "<svg ><g></svg>",
            "<svg ><g>",
            "<svg ></svg",
            "<svg >\u{7f}</svg>",
            "<g></g>",
        ] {
            assert!(is_svg(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_trace_whose_picture_is_not_well_formed_fails() {
        let header = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
"#;
        let draw = |picture: &'static str| {
            move |_: &str, _: &[u8], out: &mut dyn Write| write!(out, "{picture}")
        };
        let broken = play_timeline(header, &draw("<svg >"));
        assert!(broken.is_err_and(|what| what.contains("as svg")));
        let refused = |_: &str, _: &[u8], _: &mut dyn Write| Err("refused".to_owned());
        assert_eq!(play_timeline(header, &refused), Ok(()));
    }
}
