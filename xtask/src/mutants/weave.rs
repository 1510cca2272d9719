//! All mutants of a file in one source: each is a branch that is taken when its number is the one that is asked for.

use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

use anyhow::{Context, Result};
use proc_macro2::Span;
use syn::{
    Arm, BinOp, Expr, ExprBinary, ExprMatch, ExprStruct, ExprUnary, Pat, spanned::Spanned,
    visit::Visit,
};

use super::list::{Genre, Mutant};

/// A source with branches in it.
#[derive(Debug)]
pub(super) struct Woven {
    pub(super) text: String,
    /// Where the branch of a mutant lies in it.
    pub(super) branches: Vec<(Range<usize>, u32)>,
}

impl Woven {
    /// The mutant that an error at this place is of, and whether it lies in the branch of that. Otherwise the branch is the
    /// last before it: it has another type than the rest of its function or expression.
    pub(super) fn mutant_of(&self, at: &Range<usize>) -> Option<(u32, bool)> {
        let before = self
            .branches
            .iter()
            .filter(|branch| branch.0.start <= at.start);
        let last = before.max_by_key(|branch| branch.0.start);
        last.map(|(branch, id)| (*id, at.end <= branch.end))
    }
}

/// Puts mutants into the source that they are of. Those that no branch can express are left out.
pub(super) fn weave(source: &str, mutants: &[&Mutant], condition: &str) -> Result<Woven> {
    let file = syn::parse_file(source).context("no Rust")?;
    let mut places = Places::default();
    places.visit_file(&file);
    let mut weaver = Weaver {
        source,
        condition,
        inserted: BTreeMap::new(),
        changed: BTreeMap::new(),
        woven: Woven {
            text: String::new(),
            branches: Vec::new(),
        },
    };
    for mutant in mutants {
        weaver.place(mutant, &places);
    }
    weaver.render(0..source.len());
    Ok(weaver.woven)
}

/// Where expressions and arms of a file are.
#[derive(Debug, Default)]
struct Places {
    /// The chain of operators that is being visited.
    chain: Option<Range<usize>>,
    /// By the place of an operator, the chain that it is in.
    operators: BTreeMap<usize, Range<usize>>,
    structs: Vec<Range<usize>>,
    /// By the beginning of an arm, the end of its pattern, and its guard.
    arms: BTreeMap<usize, (usize, Option<Range<usize>>)>,
}

impl Places {
    fn operator(&mut self, operator: Span, expression: Span) {
        let chain = self.chain.get_or_insert_with(|| expression.byte_range());
        self.operators
            .insert(operator.byte_range().start, chain.clone());
    }

    fn arm(&mut self, node: &Arm) {
        let (pattern, guard) = if let Pat::Guard(guarded) = &node.pat {
            (&*guarded.pat, Some(guarded.guard.span().byte_range()))
        } else {
            (&node.pat, None)
        };
        let start = node.span().byte_range().start;
        let end = pattern.span().byte_range().end;
        self.arms.insert(start, (end, guard));
    }
}

impl<'ast> Visit<'ast> for Places {
    fn visit_expr(&mut self, node: &'ast Expr) {
        // Another operator may bind less, so its operands would be others: the whole chain changes.
        let is_operator = matches!(node, Expr::Binary(_) | Expr::Unary(_));
        let outer = match is_operator {
            true => self.chain.clone(),
            false => self.chain.take(),
        };
        syn::visit::visit_expr(self, node);
        self.chain = outer;
    }

    fn visit_expr_binary(&mut self, node: &'ast ExprBinary) {
        // A chain with `let` in it is no expression of its own, but its links are.
        if has_let(node) {
            return syn::visit::visit_expr_binary(self, node);
        }
        self.operator(node.op.span(), node.span());
        syn::visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast ExprUnary) {
        self.operator(node.op.span(), node.span());
        syn::visit::visit_expr_unary(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'ast ExprStruct) {
        self.structs.push(node.span().byte_range());
        syn::visit::visit_expr_struct(self, node);
    }

    fn visit_expr_match(&mut self, node: &'ast ExprMatch) {
        // Without an arm for all the rest no arm can be missing.
        let has_rest = node.arms.iter().any(|arm| matches!(arm.pat, Pat::Wild(_)));
        for arm in node.arms.iter().filter(|_| has_rest) {
            self.arm(arm);
        }
        syn::visit::visit_expr_match(self, node);
    }
}

fn has_let(node: &ExprBinary) -> bool {
    let is_let = |side: &Expr| {
        matches!(side, Expr::Let(_)) || matches!(side, Expr::Binary(inner) if has_let(inner))
    };
    matches!(node.op, BinOp::And(_)) && (is_let(&node.left) || is_let(&node.right))
}

/// A text, and the mutant that it is of.
type Branch = (String, u32);

struct Weaver<'a> {
    source: &'a str,
    condition: &'a str,
    /// What is put in at a place: the text, and whose it is.
    inserted: BTreeMap<usize, Vec<Branch>>,
    /// Expressions, the outer ones before those that begin at the same place, and how they change.
    changed: BTreeMap<(usize, Reverse<usize>), Vec<Branch>>,
    woven: Woven,
}

impl Weaver<'_> {
    fn place(&mut self, mutant: &Mutant, places: &Places) {
        let span = mutant.start.offset(self.source)..mutant.end.offset(self.source);
        let is_on = format!("{}({})", self.condition, mutant.id);
        match mutant.genre {
            Genre::FnValue => {
                let text = format!("if {is_on} {{ return {}; }} ", mutant.replacement);
                self.insert(span.start, text, mutant);
            }
            Genre::MatchArm => match places.arms.get(&span.start) {
                Some((_, Some(guard))) => {
                    self.insert(guard.start, format!("!{is_on} && ("), mutant);
                    self.insert(guard.end, ")".to_owned(), mutant);
                }
                Some((end, None)) => self.insert(*end, format!(" if !{is_on}"), mutant),
                None => {}
            },
            Genre::MatchArmGuard => self.change(&span, &span, mutant),
            Genre::BinaryOperator | Genre::UnaryOperator => {
                if let Some(expression) = places.operators.get(&span.start) {
                    self.change(expression, &span, mutant);
                }
            }
            Genre::StructField => {
                let around = places.structs.iter();
                let around = around.filter(|it| it.start <= span.start && span.end <= it.end);
                if let Some(expression) = around.min_by_key(|it| it.len()) {
                    self.change(expression, &span, mutant);
                }
            }
        }
    }

    fn insert(&mut self, at: usize, text: String, mutant: &Mutant) {
        let texts = self.inserted.entry(at).or_default();
        texts.push((text, mutant.id));
    }

    fn change(&mut self, expression: &Range<usize>, span: &Range<usize>, mutant: &Mutant) {
        let before = &self.source[expression.start..span.start];
        let after = &self.source[span.end..expression.end];
        let text = format!("{before}{}{after}", mutant.replacement);
        let key = (expression.start, Reverse(expression.end));
        self.changed.entry(key).or_default().push((text, mutant.id));
    }

    fn branch(&mut self, text: &str, id: u32) {
        let start = self.woven.text.len();
        self.woven.text.push_str(text);
        self.woven.branches.push((start..self.woven.text.len(), id));
    }

    /// What is put in just outside of the range is left to the caller.
    fn render(&mut self, range: Range<usize>) {
        let mut at = range.start;
        while at < range.end {
            if at > range.start || at == 0 {
                for (text, id) in self.inserted.remove(&at).unwrap_or_default() {
                    self.branch(&text, id);
                }
            }
            let limit = (at, Reverse(range.end));
            let first = self.changed.range(limit..(range.end, Reverse(usize::MAX)));
            let next_change = first.map(|(key, _)| *key).next();
            if let Some(key) = next_change
                && key.0 == at
            {
                let changes = self.changed.remove(&key).unwrap_or_default();
                self.woven.text.push('(');
                for (text, id) in changes {
                    let text = format!("if {}({id}) {{ {text} }}", self.condition);
                    self.branch(&text, id);
                    self.woven.text.push_str(" else ");
                }
                self.woven.text.push('{');
                self.render(key.0..key.1.0);
                self.woven.text.push_str("})");
                at = key.1.0;
                continue;
            }
            let next_insert = self
                .inserted
                .range(at + 1..range.end)
                .map(|(at, _)| *at)
                .next();
            let next_change = next_change.map(|key| key.0);
            let stop = next_insert.into_iter().chain(next_change).min();
            let stop = stop.unwrap_or(range.end);
            self.woven.text.push_str(&self.source[at..stop]);
            at = stop;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::Place;
    use super::*;

    /// A mutant that puts `replacement` in the place of `old`.
    fn mutant(source: &str, id: u32, genre: Genre, old: &str, replacement: &str) -> Mutant {
        let start = source.find(old).unwrap();
        Mutant {
            id,
            package: "p".to_owned(),
            file: "f.rs".to_owned(),
            name: "n".to_owned(),
            genre,
            start: Place::at(source, start),
            end: Place::at(source, start + old.len()),
            replacement: replacement.to_owned(),
        }
    }

    fn woven(source: &str, mutants: &[(Genre, &str, &str)]) -> String {
        let mutants: Vec<Mutant> = (1..)
            .zip(mutants)
            .map(|(id, (genre, old, new))| mutant(source, id, *genre, old, new))
            .collect();
        let mutants: Vec<&Mutant> = mutants.iter().collect();
        let woven = weave(source, &mutants, "on").unwrap();
        for (range, id) in &woven.branches {
            assert!(
                woven.text[range.clone()].contains(&format!("on({id})"))
                    || &woven.text[range.clone()] == ")"
            );
        }
        woven.text
    }

    #[test]
    fn a_value_is_returned_before_the_body() {
        let text = woven(
            "fn é() -> u8 { a == b; 5 }",
            &[
                (Genre::FnValue, "a == b; 5", "0"),
                (Genre::FnValue, "a == b; 5", "1"),
                (Genre::BinaryOperator, "==", "!="),
            ],
        );
        let body =
            "if on(1) { return 0; } if on(2) { return 1; } (if on(3) { a != b } else {a == b}); 5";
        assert_eq!(text, format!("fn é() -> u8 {{ {body} }}"));
    }

    #[test]
    fn a_chain_of_operators_changes_as_a_whole() {
        let text = woven(
            "fn f() { g(a && !b && c(d - e)) }",
            &[
                (Genre::BinaryOperator, "&&", "||"),
                (Genre::UnaryOperator, "!", ""),
                (Genre::BinaryOperator, "-", "+"),
            ],
        );
        let chain = "if on(1) { a || !b && c(d - e) } else if on(2) { a && b && c(d - e) } else \
            {a && !b && c((if on(3) { d + e } else {d - e}))}";
        assert_eq!(text, format!("fn f() {{ g(({chain})) }}"));
    }

    #[test]
    fn a_chain_with_let_is_left_alone_but_its_links_are_not() {
        let text = woven(
            "fn f() { if let Some(x) = y && x == 1 { } }",
            &[
                (Genre::BinaryOperator, "&&", "||"),
                (Genre::BinaryOperator, "==", "!="),
            ],
        );
        let chain = "let Some(x) = y && (if on(2) { x != 1 } else {x == 1})";
        assert_eq!(text, format!("fn f() {{ if {chain} {{ }} }}"));
    }

    #[test]
    fn arms_and_guards_and_fields_change() {
        let text = woven(
            "fn f() { match a { B => S { x: 1, ..t }, C if ok => d, _ => e } }",
            &[
                (Genre::MatchArm, "B => S { x: 1, ..t },", ""),
                (Genre::MatchArmGuard, "ok", "true"),
                (Genre::StructField, "x: 1,", ""),
            ],
        );
        let arms = "B if !on(1) => (if on(3) { S {  ..t } } else {S { x: 1, ..t }}), \
            C if (if on(2) { true } else {ok}) => d, _ => e";
        assert_eq!(text, format!("fn f() {{ match a {{ {arms} }} }}"));
    }
}
