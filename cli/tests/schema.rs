//! Every JSON object of the command is as docs/command.schema.json says, and nothing there is unused.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::support::evtchn;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/command.schema.json")).unwrap()
}

/// Checks a value against the part of JSON Schema that the file uses. Another keyword is a failure, so
/// that nothing in the file is left unchecked.
fn check(schema: &Value, rule: &Value, value: &Value, at: &str) -> Result<(), String> {
    let fail = |why: &str| Err(format!("{at}: {value} {why}"));
    let rule = rule.as_object().unwrap();
    for (keyword, wanted) in rule {
        match keyword.as_str() {
            "description" | "additionalProperties" | "required" => {}
            "$ref" => {
                let name = wanted.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                check(schema, &schema["$defs"][name], value, at)?;
            }
            "const" if wanted != value => return fail("is another constant"),
            "enum" if !wanted.as_array().unwrap().contains(value) => return fail("is not listed"),
            "const" | "enum" => {}
            "type" if !is_of_type(wanted, value) => return fail("has another type"),
            "type" => {}
            "minimum" if value.as_u64() < wanted.as_u64() && !value.is_null() => {
                return fail("is too small");
            }
            "maximum" if value.as_u64() > wanted.as_u64() => return fail("is too large"),
            "minimum" | "maximum" => {}
            "pattern" => {
                assert_eq!(wanted, "^([0-9]+|self):([0-9]+|[?])$");
                if !value.as_str().is_some_and(is_remote) {
                    return fail("is no remote port");
                }
            }
            "items" => {
                for item in value.as_array().unwrap() {
                    check(schema, wanted, item, at)?;
                }
            }
            "properties" => check_properties(schema, rule, value, at)?,
            other => panic!("the test does not know {other}"),
        }
    }
    Ok(())
}

fn check_properties(
    schema: &Value,
    rule: &Map<String, Value>,
    value: &Value,
    at: &str,
) -> Result<(), String> {
    let object = value
        .as_object()
        .ok_or_else(|| format!("{at}: {value} is no object"))?;
    for name in rule["required"].as_array().unwrap() {
        if !object.contains_key(name.as_str().unwrap()) {
            return Err(format!("{at}: {value} has no {name}"));
        }
    }
    assert_eq!(rule["additionalProperties"], false);
    for (name, value) in object {
        let known = rule["properties"].get(name);
        let known = known.ok_or_else(|| format!("{at}: {name} is not in the schema"))?;
        check(schema, known, value, name)?;
    }
    Ok(())
}

fn is_of_type(wanted: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        other => panic!("the test does not know the type {other}"),
    };
    wanted
        .as_array()
        .map_or_else(|| is(wanted), |names| names.iter().any(is))
}

fn is_remote(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let (domid, port) = text.split_once(':').unwrap_or_default();
    (domid == "self" || is_number(domid)) && (port == "?" || is_number(port))
}

/// Commands that print every kind of object.
const COMMANDS: &[&str] = &[
    "watch --backend sim --json --events 50",
    "watch --backend sim --json --only 1: --events 5 --exec true",
    "watch --backend sim --guests 2 --dies-after 20 --check-peers 10ms --json",
    "listen --backend sim 3 --dies-after 2 --check-peers 10ms --json",
    "notify --backend sim 3:17 --json",
    "ping --backend sim --json --count 5",
    "ping --backend sim 3:7 --json --count 5 --timeout 1us",
    "ls --backend sim --json",
    "ls self --backend sim --json",
    "ls --backend sim --json --watch --seed 1 --guests 2 --dies-after 20",
    "doctor --json",
    "doctor --json --root /nonexistent",
];

/// The objects of these commands, and of all dumps.
fn objects() -> Vec<Value> {
    let mut lines = String::new();
    for arguments in COMMANDS {
        lines += str::from_utf8(&evtchn(arguments).output().unwrap().stdout).unwrap();
    }
    for (name, _, _) in crate::dumps::DUMPS {
        let dump = format!("{}/tests/dumps/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let output = evtchn("ls --json --from").arg(dump).output().unwrap();
        lines += str::from_utf8(&output.stdout).unwrap();
    }
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_object_is_as_the_schema_says() {
    let schema = schema();
    let rules = schema["oneOf"].as_array().unwrap();
    let mut met = BTreeSet::new();
    for object in objects() {
        let event = object["event"].as_str().unwrap();
        let rule = format!("#/$defs/{event}");
        assert!(rules.iter().any(|it| it["$ref"] == rule), "{object}");
        check(&schema, &schema["$defs"][event], &object, event).unwrap();
        met.extend(
            object
                .as_object()
                .unwrap()
                .keys()
                .map(|key| format!("{event}.{key}")),
        );
    }
    let listed = rules.iter().flat_map(|rule| {
        let event = rule["$ref"]
            .as_str()
            .unwrap()
            .strip_prefix("#/$defs/")
            .unwrap();
        let properties = schema["$defs"][event]["properties"].as_object().unwrap();
        properties.keys().map(move |key| format!("{event}.{key}"))
    });
    // Only a device has virtual interrupts to watch.
    let on_xen = [
        "bound.virq",
        "bound.virq_name",
        "wake.virq",
        "wake.virq_name",
    ];
    let unmet = listed.filter(|name| !met.contains(name) && !on_xen.contains(&name.as_str()));
    assert_eq!(unmet.collect::<Vec<_>>(), [""; 0], "nothing prints these");
}

#[test]
fn an_object_that_differs_from_the_schema_is_found() {
    let schema = schema();
    let sound = serde_json::json!({"backend": "sim", "event": "heard", "time_ns": 1, "remote": "3:7",
        "events": 2});
    let rule = &schema["$defs"]["heard"];
    check(&schema, rule, &sound, "").unwrap();
    for (key, value) in [
        ("backend", "simulator".into()),
        ("event", "wake".into()),
        ("time_ns", (-1).into()),
        ("remote", "3".into()),
        ("remote", 3.into()),
        ("events", "2".into()),
        ("more", Value::Null),
    ] {
        let mut other = sound.clone();
        other[key] = value;
        check(&schema, rule, &other, "").unwrap_err();
    }
    let mut less = sound;
    less.as_object_mut().unwrap().remove("events");
    check(&schema, rule, &less, "").unwrap_err();
}
