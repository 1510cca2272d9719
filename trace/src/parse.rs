//! Parses a line: reads its JSON, and makes a record from it.
//!
//! The memory for a line must be in proportion to its text. A JSON value takes up to thirty times the
//! memory of the text of a number. So the long lists of numbers are never read as JSON values, and
//! everything else is limited.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::header::{FORMAT, Header, VERSION};
use crate::line::{
    Answer, BackendAnswer, BackendCall, BackendRecord, Call, Guest, Input, Line, Op, Record,
    Schedule, Sim, Verdict,
};
use crate::names;
use crate::read::LINE_LIMIT;
use crate::refused::BadTraceKind;
use crate::text::beginning;

/// How many values a line may have outside of its [`LISTS`].
const VALUES: usize = 4096;
/// How many bytes of these values may be ones that an error message escapes.
const ESCAPED: usize = 1 << 19;

/// The fields that can have an entry for each port of a domain.
const LISTS: [&str; 4] = ["got", "ports", "channels", "wakes"];

/// A line as a JSON object.
#[derive(Default)]
pub(crate) struct Object<'a> {
    /// All fields. In the place of each list is an empty one.
    fields: Map<String, Value>,
    lists: Vec<(&'static str, &'a RawValue)>,
    /// The number of values so far.
    values: usize,
    /// The number of their escaped bytes so far.
    escaped: usize,
}

impl<'a> Object<'a> {
    /// Reads a line with its end.
    ///
    /// # Errors
    /// The line is too long, incomplete, or not an object.
    pub(crate) fn read(text: &'a [u8]) -> Result<Object<'a>, BadTraceKind> {
        if text.len() > LINE_LIMIT {
            return Err(BadTraceKind::TooLong { limit: LINE_LIMIT });
        }
        // A line without its end was still being written.
        let text = text.strip_suffix(b"\n").ok_or(BadTraceKind::Truncated)?;
        let mut reader = serde_json::Deserializer::from_slice(text);
        let read = serde::Deserializer::deserialize_map(&mut reader, Fields);
        match read.and_then(|object| reader.end().map(|()| object)) {
            Ok(object) => object,
            Err(_) if is_of_another_type(text) => Err(BadTraceKind::NoJson(
                "it is a value of another type".to_owned(),
            )),
            Err(error) => Err(BadTraceKind::NoJson(short(error))),
        }
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Adds a field. Returns `None` if the line has too much.
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

    /// Reads a value. Returns `None` if the line has too much.
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

    /// Keeps a list that a line of this kind does not have.
    fn keep(&mut self, list: &str, value: &RawValue) -> Result<(), BadTraceKind> {
        let value = self.value(value).map_err(field)?.ok_or(TOO_MUCH)?;
        self.fields.insert(list.to_owned(), value);
        Ok(())
    }
}

const TOO_MUCH: BadTraceKind = BadTraceKind::TooMuch {
    values: VALUES,
    escaped: ESCAPED,
};

/// Reads the fields of an object.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Result<Object<'de>, BadTraceKind>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Object::default();
        while let Some(field) = map.next_key::<String>()? {
            let put = object.put(field, map.next_value()?);
            if put.map_err(A::Error::custom)?.is_none() {
                // The rest is read, because other errors come first.
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

/// How many values a JSON text has. The keys of objects are values too.
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

/// An error message, cut so that it does not quote a line of megabytes.
fn short(message: impl fmt::Display) -> String {
    const MOST: usize = 1 << 14;
    /// A text of at most so many bytes.
    struct Short(String);
    impl fmt::Write for Short {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            let room = MOST - self.0.len();
            self.0.push_str(beginning(part, room));
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

fn field(error: impl fmt::Display) -> BadTraceKind {
    BadTraceKind::Field(short(error))
}

/// Parses the first line.
///
/// # Errors
/// It is not the first line of a trace of this version.
pub(crate) fn header(text: &[u8]) -> Result<Header, BadTraceKind> {
    let mut object = Object::read(text).map_err(|kind| {
        let says_more = matches!(
            kind,
            BadTraceKind::Truncated | BadTraceKind::TooLong { .. } | BadTraceKind::TooMuch { .. }
        );
        if says_more {
            kind
        } else {
            BadTraceKind::NotATrace
        }
    })?;
    let of = |field: &str| object.fields.get(field);
    if of("trace").and_then(Value::as_str) != Some(FORMAT) {
        return Err(BadTraceKind::NotATrace);
    }
    match of("version").and_then(Value::as_u64) {
        Some(0) | None => return Err(BadTraceKind::NotATrace),
        Some(older) if older < u64::from(VERSION) => return Err(BadTraceKind::Older(older)),
        Some(newer) if newer > u64::from(VERSION) => return Err(BadTraceKind::Newer(newer)),
        Some(_) => {}
    }
    for (list, value) in std::mem::take(&mut object.lists) {
        object.keep(list, value)?;
    }
    serde_json::from_value(Value::Object(object.fields)).map_err(field)
}

/// Parses a line of one kind.
type Reader = fn(&Map<String, Value>) -> Result<Record, serde_json::Error>;

const KINDS: [(&str, Reader); 9] = [
    ("call", |it| Call::deserialize(it).map(Record::Call)),
    ("answer", |it| Answer::deserialize(it).map(Record::Answer)),
    ("seam", |it| {
        BackendRecord::deserialize(it).map(Record::Backend)
    }),
    ("guest", |it| Guest::deserialize(it).map(Record::Guest)),
    ("sim", |it| Sim::deserialize(it).map(Record::Sim)),
    ("op", |it| Op::deserialize(it).map(Record::Op)),
    ("input", |it| Input::deserialize(it).map(Record::Input)),
    ("schedule", |it| {
        Schedule::deserialize(it).map(Record::Schedule)
    }),
    ("verdict", |it| {
        Verdict::deserialize(it).map(Record::Verdict)
    }),
];

/// Parses a line between the first and the last one.
///
/// # Errors
/// Its kind is unknown, or a field of it is wrong.
pub(crate) fn line(mut object: Object<'_>) -> Result<Line, BadTraceKind> {
    let mut kinds = KINDS.iter().filter(|(kind, _)| object.has(kind));
    let Some((kind, reader)) = kinds.next() else {
        let fields: Vec<&str> = object.fields.keys().map(String::as_str).collect();
        let text = short(format_args!("a line with the fields {fields:?}"));
        return Err(BadTraceKind::UnknownKind(text));
    };
    let mut record = reader(&object.fields).map_err(|error| {
        let text = short(error);
        match text.starts_with("unknown variant") {
            true => BadTraceKind::UnknownKind(format!("{kind}: {text}")),
            false => BadTraceKind::Field(text),
        }
    })?;
    let thread = match object.fields.remove("thread") {
        None => 0,
        Some(thread) => {
            u32::deserialize(thread).map_err(|error| field(format_args!("thread: {error}")))?
        }
    };
    // Only the unknown fields are left.
    if let Ok(Value::Object(known)) = serde_json::to_value(&record) {
        object.fields.retain(|field, _| !known.contains_key(field));
    }
    for (list, value) in std::mem::take(&mut object.lists) {
        if !fill(&mut record, list, value).map_err(field)? {
            object.keep(list, value)?;
        }
    }
    Ok(Line {
        thread,
        record,
        rest: object.fields,
    })
}

/// Puts a list in its place. Returns false if a line of this kind has no such list.
fn fill(record: &mut Record, list: &str, value: &RawValue) -> Result<bool, serde_json::Error> {
    let text = value.get();
    let ports = || names::numbers::deserialize(&mut serde_json::Deserializer::from_str(text));
    match (record, list) {
        (
            Record::Backend(BackendRecord {
                answer: Some(BackendAnswer::Ports(words)),
                ..
            }),
            "got",
        ) => *words = serde_json::from_str(text)?,
        (
            Record::Backend(BackendRecord {
                call: BackendCall::Unmask { ports: list },
                ..
            })
            | Record::Call(Call::FromParts { ports: list, .. }),
            "ports",
        ) => *list = ports()?,
        (
            Record::Call(Call::HandOver { channels } | Call::NotifyMany { channels })
            | Record::Answer(Answer::Adopted { channels }),
            "channels",
        ) => *channels = serde_json::from_str(text)?,
        (Record::Answer(Answer::Wakes { wakes }), "wakes") => *wakes = serde_json::from_str(text)?,
        _ => return Ok(false),
    }
    Ok(true)
}
