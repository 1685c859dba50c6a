use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// The project's own files with their text, by path from the top, `/` between the parts.
///
/// Bytes that are no UTF-8 are replaced: the checks look for plain ASCII, and a line number in a
/// binary file means little anyway.
pub(super) struct Tree(BTreeMap<String, String>);

impl Tree {
    /// Reads what git tracks below `top`, and what it would track if it were added. Where git
    /// cannot tell, for want of git or of a checkout, reads all but hidden and build directories.
    pub(super) fn open(top: &Path) -> Result<Self, String> {
        let names = match tracked(top) {
            Ok(names) => names,
            Err(why) => {
                println!("skip: asking git for its files, since {why}; walking the tree instead");
                let mut names = Vec::new();
                walk(top, "", &mut names)
                    .map_err(|why| format!("cannot list {}: {why}", top.display()))?;
                names
            }
        };
        let mut files = BTreeMap::new();
        for name in names {
            let path = top.join(&name);
            // A file deleted but not yet committed so is still on git's list.
            if path.is_file() {
                let bytes = fs::read(&path).map_err(|why| format!("cannot read {name}: {why}"))?;
                files.insert(name, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Ok(Self(files))
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    pub(super) fn text(&self, file: &str) -> Option<&str> {
        self.0.get(file).map(String::as_str)
    }

    /// Whether `path` is a file of the project or a directory that has some; `""` is the top.
    pub(super) fn holds(&self, path: &str) -> bool {
        let below = format!("{path}/");
        path.is_empty()
            || self.0.contains_key(path)
            || self
                .0
                .range(below.clone()..)
                .next()
                .is_some_and(|(name, _)| name.starts_with(&below))
    }
}

fn tracked(top: &Path) -> Result<Vec<String>, String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(top)
        .stdin(Stdio::null())
        .output();
    let output = match listed {
        Ok(output) => output,
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            return Err("git is not installed".to_owned());
        }
        Err(why) => return Err(format!("git did not start ({why})")),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("git said \"{}\"", said.lines().next().unwrap_or_default()));
    }
    let names: Vec<String> =
        String::from_utf8_lossy(&output.stdout).split_terminator('\0').map(String::from).collect();
    // Sources unpacked below somebody else's repository, which ignores them.
    if names.is_empty() {
        return Err("git tracks nothing here".to_owned());
    }
    Ok(names)
}

fn walk(top: &Path, dir: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(top.join(dir))? {
        let entry = entry?;
        let last = entry.file_name().to_string_lossy().into_owned();
        let name = if dir.is_empty() { last.clone() } else { format!("{dir}/{last}") };
        let kind = entry.file_type()?;
        if kind.is_file() {
            names.push(name);
        } else if kind.is_dir() && last != ".git" && last != "target" {
            walk(top, &name, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_if_a_file_is_in_it() {
        let tree = Tree::of(&[("docs/a.md", ""), ("docs-old.md", "")]);
        for path in ["", "docs", "docs/a.md"] {
            assert!(tree.holds(path), "{path}");
        }
        for path in ["doc", "docs/a", "docs-old", "docs/a.md/b"] {
            assert!(!tree.holds(path), "{path}");
        }
    }

    #[test]
    fn without_git_the_walk_finds_this_very_file_and_no_build_output() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut names = Vec::new();
        walk(top, "", &mut names).unwrap();
        assert!(names.iter().any(|name| name == "src/house/tree.rs"), "{names:?}");
        assert!(names.iter().all(|name| !name.starts_with("target/")), "{names:?}");
    }
}
