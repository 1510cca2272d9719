//! The exported names, their version nodes, and the parents of the nodes, as `readelf` prints them.

use std::fs;
use std::process::Command;

use crate::installed::{library, run, source};

/// What Debian's libxenevtchn.so.1 exports (4.17.7), and in which node.
const NAMES: [(&str, &str); 12] = [
    ("xenevtchn_bind_interdomain", "VERS_1.0"),
    ("xenevtchn_bind_unbound_port", "VERS_1.0"),
    ("xenevtchn_bind_virq", "VERS_1.0"),
    ("xenevtchn_close", "VERS_1.0"),
    ("xenevtchn_fd", "VERS_1.0"),
    ("xenevtchn_fdopen", "VERS_1.2"),
    ("xenevtchn_notify", "VERS_1.0"),
    ("xenevtchn_open", "VERS_1.0"),
    ("xenevtchn_pending", "VERS_1.0"),
    ("xenevtchn_restrict", "VERS_1.1"),
    ("xenevtchn_unbind", "VERS_1.0"),
    ("xenevtchn_unmask", "VERS_1.0"),
];

/// The nodes of Debian's, each with its parent.
const NODES: [(&str, &str); 4] = [
    ("libxenevtchn.so.1", ""),
    ("VERS_1.0", ""),
    ("VERS_1.1", "VERS_1.0"),
    ("VERS_1.2", "VERS_1.1"),
];

fn readelf(option: &str, name: &str) -> String {
    run(Command::new("readelf")
        .args([option, "--wide"])
        .arg(library(name)))
}

/// What a library exports, sorted, with the nodes; without the nodes themselves.
fn exported(name: &str) -> Vec<(String, String)> {
    let text = readelf("--dyn-syms", name);
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut names: Vec<(String, String)> = lines
        .filter(|words| words.len() == 8 && words[4] != "LOCAL")
        .filter(|words| !["UND", "ABS", "Ndx"].contains(&words[6]))
        .map(|words| {
            let (name, node) = words[7].split_once("@@").unwrap_or((words[7], ""));
            (name.to_owned(), node.to_owned())
        })
        .collect();
    names.sort();
    names
}

/// The version nodes of a library, with their parents.
fn nodes(name: &str) -> Vec<(String, String)> {
    let text = readelf("--version-info", name);
    let definitions = text.split("Version definition").nth(1).unwrap();
    let definitions = definitions.split("Version needs").next().unwrap();
    let mut nodes = Vec::new();
    for line in definitions.lines() {
        if let Some((_, name)) = line.split_once("Name: ") {
            nodes.push((name.trim().to_owned(), String::new()));
        } else if let Some((_, parent)) = line.split_once("Parent 1: ") {
            nodes.last_mut().unwrap().1 = parent.trim().to_owned();
        }
    }
    nodes
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(one, two)| (&**one, &**two)).collect()
}

#[test]
fn names_nodes_and_parents_are_those_of_debians_library_and_no_more() {
    assert_eq!(borrowed(&exported("xenevtchn")), NAMES);
    assert_eq!(borrowed(&nodes("xenevtchn")), NODES);
}

#[test]
fn the_library_of_the_simulator_has_the_same_ones_and_a_node_of_its_own() {
    let mut names = exported("xenevtchn-sim");
    names.retain(|(_, node)| node != "EVTCHN_SIM_0.1");
    assert_eq!(borrowed(&names), NAMES);

    let all = nodes("xenevtchn-sim");
    let nodes = borrowed(&all);
    assert_eq!(nodes[0], ("libxenevtchn-sim.so.1", ""));
    assert_eq!(nodes[1..4], NODES[1..]);
    assert_eq!(nodes[4..], [("EVTCHN_SIM_0.1", "")]);
}

#[test]
fn each_function_of_a_header_is_exported_and_no_other() {
    let headers = ["include/xenevtchn.h", "include/evtchn-sim.h"];
    let text = headers.map(|path| fs::read_to_string(source(path)).unwrap());
    let text = text.concat();
    let mut declared: Vec<&str> = text
        .lines()
        .filter(|line| line.ends_with(';') && !line.starts_with(' '))
        .filter_map(|line| line.split_once('(')?.0.split([' ', '*']).next_back())
        .filter(|name| name.starts_with("xenevtchn_") || name.starts_with("evtchn_sim_"))
        .collect();
    declared.sort_unstable();
    let exported = exported("xenevtchn-sim");
    let names: Vec<&str> = exported.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, declared);
}
