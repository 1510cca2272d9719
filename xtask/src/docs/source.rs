//! The enums of a source file: their variants in order, and the comments of these.

use std::{any, collections::BTreeSet, fmt::Debug};

use anyhow::{Context, Result, bail, ensure};
use syn::{Expr, Fields, Item, ItemEnum, Lit, Meta, Type};

use crate::workspace;

/// A source file of the workspace.
pub(super) struct Source {
    path: &'static str,
    file: syn::File,
}

/// A variant of an enum.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) name: String,
    /// The enum that it carries, if any.
    pub(super) payload: Option<String>,
    /// The first sentence of its comment, with a small first letter.
    pub(super) meaning: String,
}

impl Source {
    pub(super) fn read(path: &'static str) -> Result<Self> {
        let text = workspace::read(path)?;
        let file = syn::parse_file(&text).with_context(|| format!("{path} is not Rust"))?;
        Ok(Self { path, file })
    }

    /// The variants of `T`, which is an enum of this file.
    pub(super) fn variants<T>(&self) -> Result<Vec<Variant>> {
        let name = name_of::<T>();
        let item = self.find(name)?;
        item.variants
            .iter()
            .map(|variant| {
                let variant_name = variant.ident.to_string();
                Ok(Variant {
                    payload: payload(&variant.fields),
                    meaning: meaning(&variant.attrs).with_context(|| {
                        format!("{}: {name}::{variant_name} has no comment", self.path)
                    })?,
                    name: variant_name,
                })
            })
            .collect()
    }

    /// Fails unless `all` has every value of `T` once, which the compiler cannot check.
    pub(super) fn ensure_complete<T: Debug>(&self, all: &[T]) -> Result<()> {
        let name = name_of::<T>();
        let listed: Vec<String> = all.iter().map(|value| format!("{value:?}")).collect();
        let values = self.values(name)?;
        for value in &values {
            ensure!(
                listed.contains(value),
                "{}: {name}::ALL lacks {value}",
                self.path
            );
        }
        let distinct: BTreeSet<&String> = listed.iter().collect();
        ensure!(
            listed.len() == distinct.len() && listed.len() == values.len(),
            "{}: {name}::ALL has a value twice",
            self.path
        );
        Ok(())
    }

    /// Every value of an enum, as `Debug` prints it.
    fn values(&self, name: &str) -> Result<Vec<String>> {
        let mut values = Vec::new();
        for variant in &self.find(name)?.variants {
            match payload(&variant.fields) {
                None => values.push(variant.ident.to_string()),
                Some(payload) => {
                    let carried = self.values(&payload)?;
                    values.extend(carried.iter().map(|it| format!("{}({it})", variant.ident)));
                }
            }
        }
        Ok(values)
    }

    fn find(&self, name: &str) -> Result<&ItemEnum> {
        for item in &self.file.items {
            if let Item::Enum(item) = item
                && item.ident == name
            {
                return Ok(item);
            }
        }
        bail!("{} has no enum {name}", self.path);
    }
}

/// The name of a type without its path.
fn name_of<T>() -> &'static str {
    let path = any::type_name::<T>();
    path.rsplit("::").next().unwrap_or(path)
}

/// The type that a variant carries.
fn payload(fields: &Fields) -> Option<String> {
    let Type::Path(path) = &fields.iter().next()?.ty else {
        return None;
    };
    path.path.get_ident().map(ToString::to_string)
}

/// The first sentence of a comment, without its capital and its full stop.
fn meaning(attributes: &[syn::Attribute]) -> Option<String> {
    let lines: Vec<String> = attributes.iter().filter_map(doc).collect();
    let text = lines.join(" ");
    let sentence = text.split(". ").next()?.trim().trim_end_matches('.');
    let first = sentence.chars().next()?;
    Some(first.to_lowercase().to_string() + &sentence[first.len_utf8()..])
}

/// One line of a comment, which syn parses as an attribute.
pub(super) fn doc(attribute: &syn::Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    let Expr::Lit(value) = &pair.value else {
        return None;
    };
    let Lit::Str(line) = &value.lit else {
        return None;
    };
    pair.path
        .is_ident("doc")
        .then(|| line.value().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        enum Light {
            /// It is dark. So
            /// what?
            Off,
            /// It shines
            /// in its colour.
            On(Colour),
        }
        enum Colour { Red, Blue }
    ";

    #[derive(Debug, PartialEq)]
    enum Light {
        Off,
        On(Colour),
    }

    #[derive(Debug, PartialEq)]
    enum Colour {
        Red,
        Blue,
    }

    fn source() -> Source {
        Source {
            path: "light.rs",
            file: syn::parse_file(TEXT).unwrap(),
        }
    }

    #[test]
    fn a_variant_means_the_first_sentence_of_its_comment() {
        let variants = source().variants::<Light>().unwrap();
        let [off, on] = &variants[..] else {
            panic!("{variants:?}");
        };
        assert_eq!((&*off.name, &*off.meaning), ("Off", "it is dark"));
        assert_eq!((&*on.name, &*on.meaning), ("On", "it shines in its colour"));
        assert_eq!(
            (&off.payload, on.payload.as_deref()),
            (&None, Some("Colour"))
        );
        let error = source().variants::<Colour>().unwrap_err().to_string();
        assert_eq!(error, "light.rs: Colour::Red has no comment");
    }

    #[test]
    fn a_list_that_lacks_a_value_or_has_one_twice_is_not_complete() {
        let (red, blue) = (|| Light::On(Colour::Red), || Light::On(Colour::Blue));
        let complete = |all: &[Light]| source().ensure_complete(all);
        complete(&[red(), Light::Off, blue()]).unwrap();
        let error = complete(&[Light::Off, red()]).unwrap_err().to_string();
        assert_eq!(error, "light.rs: Light::ALL lacks On(Blue)");
        let error = complete(&[Light::Off, red(), blue(), red()]).unwrap_err();
        assert_eq!(error.to_string(), "light.rs: Light::ALL has a value twice");
    }
}
