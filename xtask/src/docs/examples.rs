//! Finds public types without an example in their documentation. rustdoc compiles and runs the examples.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums of syn are not closed"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use syn::{Attribute, Item, ItemUse, Meta, UseTree, Visibility};

use super::source;
use crate::workspace::root;

/// The libraries that programs use.
const LIBRARIES: [&str; 6] = [
    "core",
    "backend-sim",
    "backend-xen",
    "fork",
    "loops",
    "trace",
];

/// Fails with every public struct, enum and trait whose documentation has no example.
pub(super) fn ensure_everywhere() -> Result<()> {
    let mut bare = Vec::new();
    for library in LIBRARIES {
        let library = Module::of_library(&root().join(library).join("src"))?;
        for kind in library.public(&library)? {
            if !kind.has_example {
                let file = kind.file.strip_prefix(root()).unwrap_or(&kind.file);
                bare.push(format!("{}: {}", file.display(), kind.name));
            }
        }
    }
    if bare.is_empty() {
        return Ok(());
    }
    bare.sort();
    bare.dedup();
    bail!("no example in the documentation of\n{}", bare.join("\n"));
}

/// A struct, an enum or a trait that programs can name.
#[derive(Debug, PartialEq, Eq)]
struct Type {
    name: String,
    file: PathBuf,
    has_example: bool,
}

/// A module: its items, their file, and the folder of its own modules.
struct Module {
    items: Vec<Item>,
    file: PathBuf,
    folder: PathBuf,
}

/// The item of a name.
enum Found {
    Type(Type),
    Module(Module),
}

impl Module {
    fn of_library(folder: &Path) -> Result<Self> {
        Self::read(folder.join("lib.rs"), folder.to_owned())
    }

    fn read(file: PathBuf, folder: PathBuf) -> Result<Self> {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let parsed =
            syn::parse_file(&text).with_context(|| format!("{} is not Rust", file.display()))?;
        Ok(Self {
            items: parsed.items,
            file,
            folder,
        })
    }

    /// The module that an item of this one declares.
    fn child(&self, item: &syn::ItemMod) -> Result<Self> {
        let folder = self.folder.join(item.ident.to_string());
        if let Some((_, items)) = &item.content {
            return Ok(Self {
                items: items.clone(),
                file: self.file.clone(),
                folder,
            });
        }
        let beside = folder.with_extension("rs");
        let file = if beside.exists() {
            beside
        } else {
            folder.join("mod.rs")
        };
        Self::read(file, folder)
    }

    /// All public types of this module and of those that are public in it.
    fn public(&self, root: &Self) -> Result<Vec<Type>> {
        let mut types = Vec::new();
        for item in self.items.iter().filter(|item| is_public(item)) {
            match item {
                Item::Mod(module) if module.attrs.iter().any(is_hidden) => {}
                Item::Mod(module) => types.extend(self.child(module)?.public(root)?),
                Item::Use(uses) => {
                    for path in paths(uses) {
                        if let Some(Found::Type(found)) = self.find(&path, root)? {
                            types.push(found);
                        }
                    }
                }
                _ => types.extend(self.type_of(item)),
            }
        }
        Ok(types)
    }

    /// The item that a path names in this module; none if it is in another crate or is not a type.
    fn find(&self, path: &[String], root: &Self) -> Result<Option<Found>> {
        let [first, rest @ ..] = path else {
            return Ok(None);
        };
        match &**first {
            "crate" => return root.find(rest, root),
            "self" => return self.find(rest, root),
            _ => {}
        }
        match self.named(first, root)? {
            Some(Found::Module(module)) if !rest.is_empty() => module.find(rest, root),
            found => Ok(found),
        }
    }

    fn named(&self, name: &str, root: &Self) -> Result<Option<Found>> {
        for item in &self.items {
            match item {
                Item::Mod(module) if module.ident == name => {
                    return Ok(Some(Found::Module(self.child(module)?)));
                }
                Item::Use(uses) => {
                    for path in paths(uses) {
                        let is_it = path.last().is_some_and(|last| last == name);
                        if is_it && path.first().is_some_and(|first| first != name) {
                            return self.find(&path, root);
                        }
                    }
                }
                _ => {
                    if let Some(found) = self.type_of(item).filter(|it| it.name == name) {
                        return Ok(Some(Found::Type(found)));
                    }
                }
            }
        }
        Ok(None)
    }

    fn type_of(&self, item: &Item) -> Option<Type> {
        let (name, attributes) = match item {
            Item::Struct(it) => (&it.ident, &it.attrs),
            Item::Enum(it) => (&it.ident, &it.attrs),
            Item::Trait(it) => (&it.ident, &it.attrs),
            _ => return None,
        };
        if attributes.iter().any(is_only_for_checks) {
            return None;
        }
        Some(Type {
            name: name.to_string(),
            file: self.file.clone(),
            has_example: has_example(attributes),
        })
    }
}

/// Whether it needs a feature that no program may turn on.
fn is_only_for_checks(attribute: &Attribute) -> bool {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            list.tokens.to_string().contains("only-under-")
        }
        _ => false,
    }
}

/// Whether it is `#[doc(hidden)]`.
fn is_hidden(attribute: &Attribute) -> bool {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("doc") => list.tokens.to_string() == "hidden",
        _ => false,
    }
}

fn is_public(item: &Item) -> bool {
    let visibility = match item {
        Item::Struct(it) => &it.vis,
        Item::Enum(it) => &it.vis,
        Item::Trait(it) => &it.vis,
        Item::Mod(it) => &it.vis,
        Item::Use(it) => &it.vis,
        _ => return false,
    };
    matches!(visibility, Visibility::Public(_))
}

fn has_example(attributes: &[Attribute]) -> bool {
    let mut lines = attributes.iter().filter_map(source::doc);
    lines.any(|line| line.starts_with("```"))
}

/// Every path of a `use`.
fn paths(uses: &ItemUse) -> Vec<Vec<String>> {
    fn collect(tree: &UseTree, before: &[String], paths: &mut Vec<Vec<String>>) {
        match tree {
            UseTree::Path(path) => {
                let mut before = before.to_vec();
                before.push(path.ident.to_string());
                collect(&path.tree, &before, paths);
            }
            UseTree::Name(name) => {
                let mut path = before.to_vec();
                path.push(name.ident.to_string());
                paths.push(path);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    collect(tree, before, paths);
                }
            }
            _ => {}
        }
    }
    let mut paths = Vec::new();
    collect(&uses.tree, &[], &mut paths);
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_public_type_has_an_example() {
        if let Err(error) = ensure_everywhere() {
            panic!("{error:#}");
        }
    }

    /// `(name, has an example)` of each public type of a library with this text.
    fn public(text: &str) -> Vec<(String, bool)> {
        let module = Module {
            items: syn::parse_file(text).unwrap().items,
            file: PathBuf::from("lib.rs"),
            folder: PathBuf::new(),
        };
        let types = module.public(&module).unwrap().into_iter();
        types.map(|it| (it.name, it.has_example)).collect()
    }

    #[test]
    fn only_public_types_are_found() {
        let text = "
            pub struct Here;
            #[cfg(feature = \"only-under-checks\")]
            pub struct ForChecks;
            struct Hidden;
            pub(crate) enum Own {}
            mod a { pub mod b { pub trait Deep {} pub trait Unnamed {} } pub use b::Deep; pub struct NotUsed; }
            pub mod open { pub enum Inside {} pub fn not_a_type() {} }
            pub use a::{Deep, other::Missing};
            pub use elsewhere::Foreign;
            mod deep { pub mod down { pub struct Far; } }
            pub mod face { pub use crate::deep::down::Far; pub use self::near::Near; mod near { pub enum Near {} } }
        ";
        let names: Vec<String> = public(text).into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["Here", "Inside", "Deep", "Far", "Near"]);
    }

    #[test]
    fn an_example_is_a_block_in_the_comment_of_the_type_itself() {
        let text = "
            /// Has one.
            #[doc = \"```\"]
            /// 1;
            #[doc = \"```\"]
            pub struct With;
            /// Has `none`.
            pub struct Without {
                #[doc = \"```\"]
                /// 1;
                #[doc = \"```\"]
                pub field: u8,
            }
        ";
        let expected = [("With".to_owned(), true), ("Without".to_owned(), false)];
        assert_eq!(public(text), expected);
    }
}
