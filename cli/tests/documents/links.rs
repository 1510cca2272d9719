//! The links of a document, and the tests that it names.

use std::fs;
use std::path::Path;

/// The complaints about the links of a document. Links to other hosts are not checked.
pub(crate) fn broken(root: &Path, document: &str, text: &str) -> Vec<String> {
    let folder = Path::new(document).parent().unwrap_or(Path::new(""));
    let mut complaints = Vec::new();
    for (line, words, target) in links(text) {
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        if path.contains("://") {
            continue;
        }
        let file = if path.is_empty() {
            root.join(document)
        } else {
            root.join(folder).join(path)
        };
        let complain = |what: String| format!("{document}:{line}: {what}");
        if !file.exists() {
            complaints.push(complain(format!("there is no {path}")));
            continue;
        }
        if !anchor.is_empty() && !headings(&file).iter().any(|it| it == anchor) {
            complaints.push(complain(format!("{path} has no heading #{anchor}")));
        }
        let name = words.trim_matches('`');
        if is_name(name) && path.ends_with(".rs") && !has(&file, name) {
            complaints.push(complain(format!("{path} has no {name}")));
        }
    }
    complaints
}

/// The cells without a source in tables that promise one for each cell. The first column and the row above
/// the rule are titles.
pub(crate) fn unsourced(document: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut is_promised = false;
    for (line, number) in text.lines().zip(1..) {
        if line.starts_with('|') && is_promised {
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            let is_title = cells.iter().all(|cell| cell.trim() == "---")
                || text
                    .lines()
                    .nth(number)
                    .is_some_and(|next| next.starts_with("| ---"));
            let bare = cells.iter().skip(1).find(|cell| !cell.contains("]("));
            if let (Some(cell), false) = (bare, is_title) {
                let cell = cell.trim();
                complaints.push(format!("{document}:{number}: no source for `{cell}`"));
            }
        } else {
            is_promised = line == "<!-- every cell has a source -->";
        }
    }
    complaints
}

/// Each link of a text: its line, its words, and its target.
fn links(text: &str) -> Vec<(usize, &str, &str)> {
    let mut links = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("](") {
            rest = after;
            if let Some((target, behind)) = after.split_once(')') {
                let words = before.rfind('[').map_or("", |at| &before[at + 1..]);
                links.push((number, words, target));
                rest = behind;
            }
        }
    }
    links
}

/// Whether the words are the name of a function or a type, not a path or a sentence.
fn is_name(words: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    words.contains('_') && words.chars().all(is_part)
}

/// Whether a source file has a function or a trial with this name.
fn has(file: &Path, name: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    [
        format!("fn {name}("),
        format!("fn {name}<"),
        format!("\"{name}\""),
    ]
    .iter()
    .any(|it| text.contains(it))
}

/// The headings of a document as links name them.
fn headings(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let titles = text.lines().filter(|line| line.starts_with('#'));
    titles
        .map(|title| {
            let title = title.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|it| it.is_alphanumeric() || " -_".contains(*it));
            kept.map(|it| if it == ' ' { '-' } else { it }).collect()
        })
        .collect()
}
