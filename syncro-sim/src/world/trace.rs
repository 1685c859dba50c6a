//! What happened, line by line, and a hash over all of it.

use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hasher};

/// The lines of a story, or their hash alone. Nothing in them depends on the moment at which it is told.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: DefaultHasher,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines.
    pub fn with_lines() -> Self {
        Self { lines: Some(Vec::new()), ..Self::default() }
    }

    /// Adds a line.
    pub fn note(&mut self, line: fmt::Arguments<'_>) {
        // Writing into a hasher cannot fail.
        let _ = Hashed(&mut self.hasher).write_fmt(line);
        self.hasher.write_u8(b'\n');
        if let Some(lines) = &mut self.lines {
            lines.push(line.to_string());
        }
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
