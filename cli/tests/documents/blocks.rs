//! The blocks of code in a document.

/// The text between two fences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line of the first fence, counted from 1.
    pub(crate) line: usize,
    /// The text after that fence: the language and further words.
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Block {
    /// The words after the fence.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.info.split_whitespace().collect()
    }
}

const FENCE: &str = "```";

/// The blocks of a document. An open block ends with the document.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let lines = text.lines().zip(1..).map(|(line, number)| (number, line));
    collect(lines)
}

/// The blocks of the documentation comments of a source file.
pub(crate) fn of_comments(text: &str) -> Vec<Block> {
    let lines = text.lines().zip(1..).filter_map(|(line, number)| {
        let line = line.trim_start();
        let comment = line
            .strip_prefix("///")
            .or_else(|| line.strip_prefix("//!"))?;
        Some((number, comment.strip_prefix(' ').unwrap_or(comment)))
    });
    collect(lines)
}

fn collect<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (line, text) in lines {
        match text.trim_start().strip_prefix(FENCE) {
            Some(info) if !is_open => blocks.push(Block {
                line,
                info: info.trim().to_owned(),
                text: String::new(),
            }),
            Some(_) => {}
            None => {
                if let Some(block) = blocks.last_mut()
                    && is_open
                {
                    block.text += text;
                    block.text.push('\n');
                }
                continue;
            }
        }
        is_open = !is_open;
    }
    blocks
}
