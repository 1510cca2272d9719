//! A line as JSON, and the record that it is.
//!
//! What is made of a line takes memory in proportion to its text. A JSON value takes up to thirty
//! times the text of a number, so the long lists of numbers are never values, and there is a limit
//! to everything else.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::header::{FORMAT, Header, VERSION};
use crate::line::{
    Answer, AtSeam, Call, Got, Guest, Input, Line, Op, Schedule, Seam, Sim, Verdict, What,
};
use crate::names;
use crate::read::LINE_LIMIT;
use crate::refused::Why;

/// How many values a line may have beside its [`LISTS`], and how many bytes in these that are escaped
/// where they are quoted, as in an error.
const VALUES: usize = 4096;
const ESCAPED: usize = 1 << 19;

/// The fields that can have an entry for each port of a domain.
const LISTS: [&str; 4] = ["got", "ports", "channels", "wakes"];

/// A line as an object of JSON.
#[derive(Default)]
pub(crate) struct Object<'a> {
    /// Where a list belongs, there is an empty one.
    fields: Map<String, Value>,
    lists: Vec<(&'static str, &'a RawValue)>,
    /// What the values so far have.
    values: usize,
    escaped: usize,
}

impl<'a> Object<'a> {
    /// Reads a line with its end.
    ///
    /// # Errors
    /// It is too long, incomplete, or no object.
    pub(crate) fn read(text: &'a [u8]) -> Result<Object<'a>, Why> {
        if text.len() > LINE_LIMIT {
            return Err(Why::TooLong { limit: LINE_LIMIT });
        }
        // A line without its end is one that was being written.
        let text = text.strip_suffix(b"\n").ok_or(Why::Truncated)?;
        let mut reader = serde_json::Deserializer::from_slice(text);
        let read = serde::Deserializer::deserialize_map(&mut reader, Fields);
        match read.and_then(|object| reader.end().map(|()| object)) {
            Ok(object) => object,
            Err(_) if is_of_another_type(text) => {
                Err(Why::NoJson("it is a value of another type".to_owned()))
            }
            Err(error) => Err(Why::NoJson(short(error))),
        }
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Adds a field. None where the line has too much.
    fn put(&mut self, field: String, value: &'a RawValue) -> Result<Option<()>, serde_json::Error> {
        self.lists.retain(|(list, _)| *list != field);
        let list = LISTS.into_iter().find(|list| *list == field);
        if let Some(list) = list.filter(|_| value.get().starts_with('[')) {
            self.lists.push((list, value));
            self.fields.insert(field, Value::Array(Vec::new()));
            return Ok(Some(()));
        }
        let Some(value) = self.value(value)? else {
            return Ok(None);
        };
        self.fields.insert(field, value);
        Ok(Some(()))
    }

    /// A value that is kept. None where the line has too much.
    fn value(&mut self, value: &RawValue) -> Result<Option<Value>, serde_json::Error> {
        let text = value.get();
        self.values += values(text);
        let is_escaped = |byte: &u8| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\');
        self.escaped += text.bytes().filter(is_escaped).count();
        if self.values > VALUES || self.escaped > ESCAPED {
            return Ok(None);
        }
        serde_json::from_str(text).map(Some)
    }

    /// Keeps a list that means nothing here.
    fn keep(&mut self, list: &str, value: &RawValue) -> Result<(), Why> {
        let value = self.value(value).map_err(field)?.ok_or(TOO_MUCH)?;
        self.fields.insert(list.to_owned(), value);
        Ok(())
    }
}

const TOO_MUCH: Why = Why::TooMuch {
    values: VALUES,
    escaped: ESCAPED,
};

/// Reads the fields of an object.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Result<Object<'de>, Why>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Object::default();
        while let Some(field) = map.next_key::<String>()? {
            let put = object.put(field, map.next_value()?);
            if put.map_err(A::Error::custom)?.is_none() {
                // What is no JSON is refused as such.
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Err(TOO_MUCH));
            }
        }
        Ok(Ok(object))
    }
}

fn is_of_another_type(text: &[u8]) -> bool {
    !text.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// How many values there are in a JSON text, keys of objects among them.
fn values(text: &str) -> usize {
    let (mut is_string, mut is_escaped) = (false, false);
    let mut count = 1;
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_string,
            b'"' => is_string = !is_string,
            b',' | b':' | b'[' | b'{' if !is_string => count += 1,
            _ => {}
        }
    }
    count
}

/// What is wrong, in so many words that a line of megabytes is not quoted as a whole.
fn short(message: impl fmt::Display) -> String {
    const MOST: usize = 1 << 14;
    /// A text that takes no more than that.
    struct Short(String);
    impl fmt::Write for Short {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            let room = MOST - self.0.len();
            self.0.push_str(&part[..part.floor_char_boundary(room)]);
            if part.len() > room {
                Err(fmt::Error)
            } else {
                Ok(())
            }
        }
    }
    let mut text = Short(String::new());
    if write!(text, "{message}").is_err() {
        text.0.push_str("...");
    }
    text.0
}

fn field(error: impl fmt::Display) -> Why {
    Why::Field(short(error))
}

/// Reads the first line.
///
/// # Errors
/// It is not that of a trace of this version.
pub(crate) fn header(text: &[u8]) -> Result<Header, Why> {
    let mut object = Object::read(text).map_err(|why| {
        let is_said = matches!(
            why,
            Why::Truncated | Why::TooLong { .. } | Why::TooMuch { .. }
        );
        if is_said { why } else { Why::NotATrace }
    })?;
    let of = |field: &str| object.fields.get(field);
    if of("trace").and_then(Value::as_str) != Some(FORMAT) {
        return Err(Why::NotATrace);
    }
    match of("version").and_then(Value::as_u64) {
        Some(0) | None => return Err(Why::NotATrace),
        Some(older) if older < u64::from(VERSION) => return Err(Why::Older(older)),
        Some(newer) if newer > u64::from(VERSION) => return Err(Why::Newer(newer)),
        Some(_) => {}
    }
    for (list, value) in std::mem::take(&mut object.lists) {
        object.keep(list, value)?;
    }
    serde_json::from_value(Value::Object(object.fields)).map_err(field)
}

/// The kinds, and how a line of each is read.
type Reader = fn(&Map<String, Value>) -> Result<What, serde_json::Error>;

const KINDS: [(&str, Reader); 9] = [
    ("call", |it| Call::deserialize(it).map(What::Call)),
    ("answer", |it| Answer::deserialize(it).map(What::Answer)),
    ("seam", |it| AtSeam::deserialize(it).map(What::Seam)),
    ("guest", |it| Guest::deserialize(it).map(What::Guest)),
    ("sim", |it| Sim::deserialize(it).map(What::Sim)),
    ("op", |it| Op::deserialize(it).map(What::Op)),
    ("input", |it| Input::deserialize(it).map(What::Input)),
    ("schedule", |it| {
        Schedule::deserialize(it).map(What::Schedule)
    }),
    ("verdict", |it| Verdict::deserialize(it).map(What::Verdict)),
];

/// Reads any line between the first and the last.
///
/// # Errors
/// It is of no kind that is known, or not as a line of its kind is.
pub(crate) fn line(mut object: Object<'_>) -> Result<Line, Why> {
    let mut kinds = KINDS.iter().filter(|(kind, _)| object.has(kind));
    let Some((kind, reader)) = kinds.next() else {
        let fields: Vec<&str> = object.fields.keys().map(String::as_str).collect();
        let fields = format_args!("a line with the fields {fields:?}");
        return Err(Why::UnknownKind(short(fields)));
    };
    let mut what = reader(&object.fields).map_err(|error| {
        let known = short(error);
        match known.starts_with("unknown variant") {
            true => Why::UnknownKind(format!("{kind}: {known}")),
            false => Why::Field(known),
        }
    })?;
    let thread = match object.fields.remove("thread") {
        None => 0,
        Some(thread) => {
            u32::deserialize(thread).map_err(|error| field(format_args!("thread: {error}")))?
        }
    };
    // What is left once the known fields are taken out.
    if let Ok(Value::Object(known)) = serde_json::to_value(&what) {
        object.fields.retain(|field, _| !known.contains_key(field));
    }
    for (list, value) in std::mem::take(&mut object.lists) {
        if !fill(&mut what, list, value).map_err(field)? {
            object.keep(list, value)?;
        }
    }
    Ok(Line {
        thread,
        what,
        rest: object.fields,
    })
}

/// Puts a list in its place. False where a line of this kind has no such list.
fn fill(what: &mut What, list: &str, value: &RawValue) -> Result<bool, serde_json::Error> {
    let text = value.get();
    let ports = || names::numbers::deserialize(&mut serde_json::Deserializer::from_str(text));
    match (what, list) {
        (
            What::Seam(AtSeam {
                got: Some(Got::Ports(words)),
                ..
            }),
            "got",
        ) => *words = serde_json::from_str(text)?,
        (
            What::Seam(AtSeam {
                call: Seam::Unmask { ports: list },
                ..
            })
            | What::Call(Call::FromParts { ports: list, .. }),
            "ports",
        ) => *list = ports()?,
        (
            What::Call(Call::HandOver { channels }) | What::Answer(Answer::Adopted { channels }),
            "channels",
        ) => *channels = serde_json::from_str(text)?,
        (What::Answer(Answer::Wakes { wakes }), "wakes") => *wakes = serde_json::from_str(text)?,
        _ => return Ok(false),
    }
    Ok(true)
}
