//! The public calls of the library, read from its sources, and which of them are in no pair.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use syn::{Attribute, File, ImplItem, Item, TraitItem, Type, UseTree, Visibility};

use super::pairs;

/// A line for each call or type without a pair: its name, and the reason.
const UNPAIRED: &str = include_str!("unpaired.txt");

/// The crates that the library re-exports, and where they are.
const CRATES: [(&str, &str); 4] = [
    ("evtchn_core", "core/src"),
    ("evtchn_loops", "loops/src"),
    ("evtchn_sim", "backend-sim/src"),
    ("evtchn_xen", "backend-xen/src"),
];

/// The methods of each type and trait of a crate, by name.
type Methods = BTreeMap<String, BTreeSet<String>>;

/// The key of free functions.
const FREE: &str = "";

fn parse(file: &Path) -> File {
    let text = fs::read_to_string(file).unwrap();
    syn::parse_file(&text).unwrap()
}

/// Every source file of a folder and of those inside.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    let is = |it: &Attribute| match &it.meta {
        syn::Meta::List(list) => list.path.is_ident("doc") && list.tokens.to_string() == "hidden",
        syn::Meta::Path(_) | syn::Meta::NameValue(_) => false,
    };
    attributes.iter().any(is)
}

const fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// The name of the type that an `impl` is for.
fn name_of(of: &Type) -> Option<String> {
    let Type::Path(path) = of else {
        return None;
    };
    Some(path.path.segments.last()?.ident.to_string())
}

fn methods(folder: &Path) -> Methods {
    let mut methods = Methods::from([(FREE.to_owned(), BTreeSet::new())]);
    let mut note = |name: String, call: String| methods.entry(name).or_default().insert(call);
    for item in sources(folder).iter().flat_map(|it| parse(it).items) {
        if let Item::Impl(block) = &item
            && block.trait_.is_none()
            && let Some(name) = name_of(&block.self_ty)
        {
            for item in &block.items {
                if let ImplItem::Fn(method) = item
                    && is_public(&method.vis)
                    && !is_hidden(&method.attrs)
                {
                    note(name.clone(), method.sig.ident.to_string());
                }
            }
        }
        if let Item::Fn(function) = &item
            && is_public(&function.vis)
        {
            note(FREE.to_owned(), function.sig.ident.to_string());
        }
        if let Item::Trait(of) = &item
            && is_public(&of.vis)
        {
            for item in &of.items {
                if let TraitItem::Fn(method) = item {
                    note(of.ident.to_string(), method.sig.ident.to_string());
                }
            }
        }
    }
    methods
}

/// What a `use` names: the crate first.
fn paths(tree: &UseTree, before: &[String], found: &mut Vec<Vec<String>>) {
    let with = |name: String| [before, &[name]].concat();
    match tree {
        UseTree::Path(path) => paths(&path.tree, &with(path.ident.to_string()), found),
        UseTree::Name(name) => found.push(with(name.ident.to_string())),
        UseTree::Rename(name) => found.push(with(name.ident.to_string())),
        UseTree::Group(group) => {
            for tree in &group.items {
                paths(tree, before, found);
            }
        }
        UseTree::Glob(_) => {}
    }
}

/// What the items of a module re-export: where a program finds it, the crate, and the name there.
fn exported(items: &[Item], place: &str, found: &mut Vec<(String, String, String)>) {
    for item in items {
        if let Item::Mod(module) = item
            && is_public(&module.vis)
            && let Some((_, items)) = &module.content
        {
            exported(items, &format!("{place}{}::", module.ident), found);
        }
        if let Item::Use(uses) = item
            && is_public(&uses.vis)
        {
            let mut named = Vec::new();
            paths(&uses.tree, &[], &mut named);
            for path in named.into_iter().filter(|path| path.len() > 1) {
                let (first, last) = (path[0].clone(), path[path.len() - 1].clone());
                found.push((format!("{place}{last}"), first, last));
            }
        }
    }
}

/// Every public call, as a program names it.
fn public_calls() -> BTreeSet<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let of: BTreeMap<_, _> = CRATES
        .iter()
        .map(|(name, folder)| (*name, methods(&top.join(folder))))
        .collect();
    let mut found = Vec::new();
    exported(&parse(&top.join("src/lib.rs")).items, "", &mut found);
    // The simulator as a whole is a module.
    let mut simulator = Vec::new();
    let lib = parse(&top.join("backend-sim/src/lib.rs"));
    exported(&lib.items, "sim::", &mut simulator);
    let remote = parse(&top.join("backend-sim/src/remote/mod.rs"));
    exported(&remote.items, "sim::remote::", &mut simulator);
    found.extend(
        simulator
            .into_iter()
            .map(|(path, _, name)| (path, "evtchn_sim".to_owned(), name)),
    );
    let mut calls = BTreeSet::new();
    for (path, of_crate, name) in found {
        let Some(methods) = of.get(&*of_crate) else {
            continue;
        };
        let of_type = methods.get(&name).into_iter().flatten();
        calls.extend(of_type.map(|method| format!("{path}::{method}")));
        if methods[FREE].contains(&name) {
            calls.insert(path);
        }
    }
    calls
}

/// Whether a line of the list names this call or its type.
fn is_for(listed: &str, call: &str) -> bool {
    let of_type = listed.strip_suffix('*');
    listed == call
        || of_type.is_some_and(|it| call.strip_prefix(it).is_some_and(|it| !it.contains("::")))
}

/// The sources of the pairs.
fn text_of_pairs() -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files = sources(&tests.join("churn"));
    files.push(tests.join("churn.rs"));
    let texts = files.iter().map(|it| fs::read_to_string(it).unwrap());
    texts.collect()
}

pub(super) fn each_public_call_is_in_a_pair_or_has_a_reason() -> Result<(), Failed> {
    let calls = public_calls();
    let paired: BTreeSet<_> = pairs()
        .flat_map(|(_, calls, _)| calls.iter().copied())
        .collect();
    let mut wrong = Vec::new();
    let mut listed = Vec::new();
    for line in UNPAIRED.lines().filter(|it| !it.starts_with('#')) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            [call, _reason] => listed.push(call),
            _ => wrong.push(format!("{line:?} is not a call and one word")),
        }
    }
    for call in &calls {
        let is_paired = paired.contains(&**call);
        let is_listed = listed.iter().any(|it| is_for(it, call));
        match (is_paired, is_listed) {
            (false, false) => wrong.push(format!("{call} is in no pair and has no reason")),
            (true, true) => wrong.push(format!("{call} is in a pair, and in unpaired.txt too")),
            (true, false) | (false, true) => {}
        }
    }
    for call in paired.iter().copied().chain(listed.iter().copied()) {
        if !calls.iter().any(|it| is_for(call, it)) {
            wrong.push(format!("{call} is no public call"));
        }
    }
    let text = text_of_pairs();
    for call in paired {
        let name = call.rsplit("::").next().unwrap();
        let is_called = [".", "::", "fn "].map(|it| text.contains(&format!("{it}{name}(")));
        if !is_called.contains(&true) {
            wrong.push(format!("no pair calls {call}"));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n").into()),
    }
}
