//! What happened, line by line, and a hash over all of it.

use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hasher};

/// The lines of a story, or their hash alone. Nothing in them depends on the moment at which it is told.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: DefaultHasher,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines.
    pub fn with_lines() -> Self {
        Self { lines: Some(Vec::new()), ..Self::default() }
    }

    /// Adds a line: something has happened.
    pub fn note(&mut self, line: fmt::Arguments<'_>) {
        self.note_more(line, || None);
    }

    /// Adds a line, and to those that are read more than what it takes to tell it from others.
    pub fn note_more(&mut self, line: fmt::Arguments<'_>, more: impl FnOnce() -> Option<String>) {
        // Writing into a hasher cannot fail.
        let _ = Hashed(&mut self.hasher).write_fmt(line);
        self.hasher.write_u8(b'\n');
        self.events += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(match more() {
                None => line.to_string(),
                Some(more) => format!("{line}: {more}"),
            });
        }
    }

    /// Adds bytes to the hash alone: what a message says, which its line does not.
    pub fn note_bytes(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    /// How many lines there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash of the lines so far.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// The lines so far, where they are kept.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

struct Hashed<'a>(&'a mut DefaultHasher);

impl Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
