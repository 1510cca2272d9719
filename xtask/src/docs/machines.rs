//! The tables of the state machines, made by calling their functions for every state and input.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Write as _},
};

use anyhow::Result;
use evtchn_core::machine::{
    link::{Link, LinkInput},
    port::{PortEffect, PortInput, PortState},
};

use super::source::{Source, Variant};

/// The states of a port.
pub(super) fn port() -> Result<String> {
    let source = Source::read("core/src/machine/port.rs")?;
    table(&source, &PortState::ALL, &PortInput::ALL, |state, input| {
        let (next, effect) = state.step(input);
        let effects = [effect].into_iter();
        (
            next,
            effects.filter(|it| *it != PortEffect::Nothing).collect(),
        )
    })
}

/// The states of the link.
pub(super) fn link() -> Result<String> {
    let source = Source::read("core/src/machine/link.rs")?;
    table(&source, &Link::ALL, &LinkInput::ALL, |link, input| {
        let (next, effects) = link.plan(input);
        (next, effects.to_vec())
    })
}

/// A row for each state and a column for each input; below, the meaning of inputs and effects.
fn table<S, I, E>(
    source: &Source,
    states: &[S],
    inputs: &[I],
    step: impl Fn(S, I) -> (S, Vec<E>),
) -> Result<String>
where
    S: Copy + Debug + PartialEq,
    I: Copy + Debug,
    E: Debug,
{
    source.ensure_complete(states)?;
    source.ensure_complete(inputs)?;
    let mut used = BTreeSet::new();
    let mut text = String::from("| state |");
    for input in inputs {
        write!(text, " {input:?} |")?;
    }
    write!(text, "\n|{}\n", " --- |".repeat(inputs.len() + 1))?;
    for row in source.variants::<S>()? {
        write!(text, "| {} |", title(&row))?;
        for input in inputs {
            let mut outcomes = Vec::new();
            for state in states.iter().filter(|it| parts(it).0 == row.name) {
                let (next, effects) = step(*state, *input);
                used.extend(effects.iter().map(|it| parts(it).0));
                outcomes.push((parts(state).1, outcome(state, &next, &effects)));
            }
            write!(text, " {} |", cell(&row, &outcomes))?;
        }
        text.push('\n');
    }
    let effects = source.variants::<E>()?.into_iter();
    let effects: Vec<Variant> = effects.filter(|it| used.contains(&it.name)).collect();
    text += &legend("Inputs", &source.variants::<I>()?, str::to_owned);
    text += &legend("Effects", &effects, words);
    Ok(text)
}

/// The first cell of a row: the state, what it carries, and its meaning.
fn title(row: &Variant) -> String {
    let Variant { name, meaning, .. } = row;
    match &row.payload {
        None => format!("**{name}** {meaning}"),
        Some(payload) => format!("**{name}** ({}) {meaning}", words(payload)),
    }
}

/// The next state and the effects, as a cell shows them.
fn outcome<S: Debug + PartialEq, E: Debug>(state: &S, next: &S, effects: &[E]) -> String {
    let mut text = if state == next {
        String::from("stays")
    } else {
        let (name, carried) = parts(next);
        format!("→ {name}{}", in_parentheses(&carried))
    };
    for effect in effects {
        let (name, carried) = parts(effect);
        text += &format!(", {}{}", words(&name), in_parentheses(&carried));
    }
    text
}

/// One cell for all values of a state that carries something. If they differ only in what they carry, the cell has the
/// type's name for it. If one value differs from the others, the cell shows that one and the others together.
/// Otherwise it shows each value.
fn cell(row: &Variant, outcomes: &[(String, String)]) -> String {
    let payload = words(row.payload.as_deref().unwrap_or_default());
    let alike: BTreeSet<String> = outcomes.iter().map(|(_, text)| text.clone()).collect();
    let own: BTreeSet<String> = outcomes
        .iter()
        .map(|(carried, text)| text.replace(&in_parentheses(carried), &in_parentheses(&payload)))
        .collect();
    match (alike.first(), own.first()) {
        (Some(text), _) if alike.len() == 1 => text.clone(),
        (_, Some(text)) if own.len() == 1 => text.clone(),
        _ => {
            for (carried, text) in outcomes {
                let others = outcomes.iter().filter(|(it, _)| it != carried);
                let others: BTreeSet<String> = others
                    .map(|(it, text)| text.replace(&in_parentheses(it), &in_parentheses(&payload)))
                    .collect();
                if outcomes.len() > 2
                    && let (Some(other), 1) = (others.first(), others.len())
                {
                    return format!("{carried}: {text}; others: {other}");
                }
            }
            let each = outcomes
                .iter()
                .map(|(carried, text)| format!("{carried}: {text}"));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// A paragraph with the meaning of each name.
fn legend(what: &str, variants: &[Variant], called: impl Fn(&str) -> String) -> String {
    const WIDTH: usize = 132;
    let entries = variants
        .iter()
        .map(|it| format!("**{}** {}", called(&it.name), it.meaning));
    let text = entries.collect::<Vec<_>>().join(" · ") + ".";
    let mut lines = vec![String::new(), format!("{what}:")];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                *line += &format!(" {word}");
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The name of a value and what it carries, if anything, both as `Debug` prints them.
fn parts(value: &impl Debug) -> (String, String) {
    let text = format!("{value:?}");
    let (name, carried) = text.split_once('(').unwrap_or((&text, ""));
    (name.to_owned(), carried.trim_end_matches(')').to_owned())
}

fn in_parentheses(carried: &str) -> String {
    if carried.is_empty() {
        String::new()
    } else {
        format!(" ({carried})")
    }
}

/// `ReadyNow` as `ready now`.
fn words(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use evtchn_core::Cause;

    use super::*;

    fn latched(outcomes: &[(&str, &str)]) -> String {
        let row = Variant {
            name: "Latched".to_owned(),
            payload: Some("Cause".to_owned()),
            meaning: String::new(),
        };
        let owned = outcomes
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        cell(&row, &owned.collect::<Vec<_>>())
    }

    #[test]
    fn the_values_of_a_state_that_carries_something_share_a_row() {
        let same = [("Event", "→ Held (Event)"), ("Gone", "→ Held (Event)")];
        assert_eq!(latched(&same), "→ Held (Event)");
        let own = [
            ("Event", "→ Ready (Event), fire"),
            ("Gone", "→ Ready (Gone), fire"),
        ];
        assert_eq!(latched(&own), "→ Ready (cause), fire");
        let other = [("Event", "stays"), ("Gone", "→ Live")];
        assert_eq!(latched(&other), "Event: stays; Gone: → Live");
        let but_one = [
            ("Event", "→ Live"),
            ("Overflow", "→ Ready (Overflow)"),
            ("Gone", "→ Ready (Gone)"),
        ];
        let expected = "Event: → Live; others: → Ready (cause)";
        assert_eq!(latched(&but_one), expected);
    }

    #[test]
    fn a_cell_has_the_next_state_and_the_effects_in_order() {
        let (live, ready) = (PortState::Live, PortState::Ready(Cause::Gone));
        let effects = [PortEffect::Spurious, PortEffect::ReadyNow(Cause::Gone)];
        assert_eq!(outcome(&live, &live, &effects[..1]), "stays, spurious");
        assert_eq!(
            outcome(&live, &ready, &effects),
            "→ Ready (Gone), spurious, ready now (Gone)"
        );
    }

    #[test]
    fn a_legend_is_wrapped_into_short_lines() {
        let variant = |name: &str, meaning: &str| Variant {
            name: name.to_owned(),
            payload: None,
            meaning: meaning.to_owned(),
        };
        let (long, short) = ("long ".repeat(30), "it is over");
        let variants = [variant("Long", long.trim()), variant("ReadyNow", short)];
        let text = legend("Effects", &variants, words);
        let (head, rest) = text.split_once("\nEffects: **long** long ").unwrap();
        assert!(head.is_empty() && rest.ends_with("long · **ready now** it is over.\n"));
        let widths = text.lines().map(|line| line.chars().count());
        assert_eq!(widths.collect::<Vec<_>>(), [0, 132, 62]);
    }
}
