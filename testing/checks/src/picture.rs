//! Reads any bytes as the file of a trace, and draws it as `evtchn timeline` does.

use std::io::{self, Write};

use evtchn_trace::{Format, Lines, draw};
use serde::de::IgnoredAny;

use crate::memory::within;
use crate::replay::whole;

/// The formats of a picture.
const FORMATS: [Format; 3] = [Format::Svg, Format::Html, Format::Json];

/// Draws bytes as a trace, in each format. The trace may be refused. A picture must be well formed, and
/// the memory must be in proportion to the trace.
///
/// # Errors
/// If one of these does not hold.
pub(crate) fn play_timeline(bytes: &[u8]) -> Result<(), String> {
    let draw = |format, file: &[u8], out: &mut dyn Write| {
        draw(format, &mut Lines::new(file)?.salvaging(), out)
    };
    play_drawing(bytes, draw)
}

fn play_drawing<E>(
    bytes: &[u8],
    draw: impl Fn(Format, &[u8], &mut dyn Write) -> Result<(), E>,
) -> Result<(), String> {
    let file = whole(bytes);
    for format in FORMATS {
        let mut drawn = Ok(());
        within(file.len(), || {
            drawn = draw(format, &file, &mut io::sink());
            Ok(())
        })?;
        let mut picture = Vec::new();
        if drawn.is_err() || draw(format, &file, &mut picture).is_err() {
            continue;
        }
        let picture = String::from_utf8(picture).map_err(|error| error.to_string())?;
        let looked = match format {
            Format::Svg => is_svg(&picture),
            Format::Html => is_page(&picture),
            Format::Json | _ => is_json(&picture),
        };
        looked.map_err(|what| format!("the picture as {format:?}: {what}"))?;
    }
    Ok(())
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
            move |_: Format, _: &[u8], out: &mut dyn Write| write!(out, "{picture}")
        };
        let broken = play_drawing(header, draw("<svg >"));
        assert!(broken.is_err_and(|what| what.contains("as Svg")));
        let refused = |_: Format, _: &[u8], _: &mut dyn Write| Err("refused".to_owned());
        assert_eq!(play_drawing(header, refused), Ok(()));
    }
}
