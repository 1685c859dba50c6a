use std::collections::{BTreeMap, BTreeSet};

use super::tree::Tree;

/// Reports every relative link in the Markdown `text` of `file` that leads to no file of the
/// project, or to no heading of one. Addresses of other places are not looked at, nor Rust paths
/// (`syncro::Node`), which rustdoc checks.
pub(super) fn check(file: &str, text: &str, tree: &Tree, report: &mut impl FnMut(usize, String)) {
    for (line, target) in links(text) {
        if has_scheme(&target) || target.starts_with("//") || target.contains("::") {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let Some(goal) = resolve(file, path) else {
            report(line, format!("the link `{target}` leads out of the project"));
            continue;
        };
        if !tree.holds(&goal) {
            report(line, format!("the link `{target}` leads to no file"));
        } else if let Some(text) = tree.text(&goal)
            && goal.ends_with(".md")
            && !anchor.is_empty()
            && !anchors(text).contains(anchor)
        {
            report(line, format!("the link `{target}` leads to no heading"));
        }
    }
}

/// Where links lead, with their line numbers: `[text](target)`, `[label]: target`, and the
/// `href` and `src` of HTML.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        let inline = line.split("](").skip(1).map(|rest| match rest.strip_prefix('<') {
            Some(rest) => rest.split('>').next().unwrap_or(rest),
            None => first_word(&rest[..closing_parenthesis(rest)]),
        });
        let definition = line
            .trim_start()
            .strip_prefix('[')
            .filter(|label| !label.starts_with('^'))
            .and_then(|label| label.split_once(']'))
            .and_then(|(_, rest)| rest.strip_prefix(':'))
            .map(first_word);
        let html = ["href=\"", "src=\""]
            .into_iter()
            .flat_map(|attribute| line.split(attribute).skip(1))
            .filter_map(|rest| rest.split('"').next());
        links
            .extend(inline.chain(definition).chain(html).map(|target| (number, target.to_owned())));
    }
    links
}

/// The anchors that headings make, as forges spell them, and those set by hand with `<a id="x">`.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (_, line) in prose(text) {
        anchors.extend(
            line.split("<a id=\"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .map(String::from),
        );
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if !(1..=6).contains(&level) || !title.starts_with(' ') {
            continue;
        }
        let slug = slug(title);
        let count = seen.entry(slug.clone()).or_default();
        anchors.insert(match count {
            0 => slug,
            _ => format!("{slug}-{count}"),
        });
        *count += 1;
    }
    anchors
}

fn slug(title: &str) -> String {
    let mut shown = String::new();
    for (at, part) in title.split("](").enumerate() {
        // Of a link only the text is shown.
        shown.push_str(if at == 0 {
            part
        } else {
            part.get(closing_parenthesis(part)..).unwrap_or_default()
        });
    }
    shown
        .trim()
        .trim_end_matches('#')
        .trim_end()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .flat_map(|c| if c == ' ' { '-' } else { c }.to_lowercase())
        .collect()
}

/// The numbered lines of `text` that are outside fenced code blocks.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut open_fence: Option<&str> = None;
    for (at, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let mark = if start.starts_with('~') { '~' } else { '`' };
        let fence = &start[..start.len() - start.trim_start_matches(mark).len()];
        match open_fence {
            Some(open) if fence.starts_with(open) && start.trim_end() == fence => open_fence = None,
            Some(_) => {}
            None if fence.len() >= 3 => open_fence = Some(fence),
            None => lines.push((at + 1, line)),
        }
    }
    lines
}

/// `line` with its code spans emptied: what looks like a link in there is none.
fn without_code(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('`') {
        let after = rest[at..].trim_start_matches('`');
        let ticks = &rest[at..rest.len() - after.len()];
        kept.push_str(&rest[..at]);
        rest = match after.find(ticks) {
            Some(end) => &after[end + ticks.len()..],
            None => after,
        };
    }
    kept + rest
}

/// The path from the top that `path`, written in `file`, means; none if it leaves the project.
fn resolve(file: &str, path: &str) -> Option<String> {
    let path = decoded(path.split('?').next().unwrap_or(path));
    if path.is_empty() {
        return Some(file.to_owned());
    }
    let mut parts: Vec<&str> = Vec::new();
    if !path.starts_with('/') {
        parts.extend(file.split('/'));
        parts.pop();
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// `path` with `%20` and its like turned back into characters.
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[2..]);
            }
            None => {
                bytes.push(b'%');
                bytes.extend(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn has_scheme(target: &str) -> bool {
    target.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// Where the parenthesis closes that was open before `text`; its end if it never does.
fn closing_parenthesis(text: &str) -> usize {
    let mut depth = 0_usize;
    text.find(|c| {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return true,
            ')' => depth -= 1,
            _ => {}
        }
        false
    })
    .unwrap_or(text.len())
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is reported of `text` as `docs/a.md`, beside a few other files.
    fn found(text: &str) -> Vec<(usize, String)> {
        let tree = Tree::of(&[
            ("README.md", "# Syncro\n\n## First steps\n"),
            ("docs/a.md", text),
            ("docs/b c.md", "# B\n"),
            ("docs/img (1).png", ""),
            ("syncro/src/lib.rs", ""),
        ]);
        let mut found = Vec::new();
        check("docs/a.md", text, &tree, &mut |line, what| found.push((line, what)));
        found
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let good = [
            "[up](../README.md) and [about](../README.md \"A title\")",
            "[top](/README.md), [crate](../syncro/src/lib.rs), [dir](../syncro/), [all](..)",
            "[encoded](b%20c.md) [angled](<b c.md>) ![picture](<img (1).png>) ![same](img%20(1).png)",
            "[`Node`](../README.md#first-steps)",
            "[ref] and [other][ref]\n\n[ref]: ../README.md#syncro",
            "<a href=\"../README.md\">up</a> <img src=\"img%20(1).png\">",
        ];
        for text in good {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_found_with_their_line() {
        let bad = [
            ("[x](gone.md)", "the link `gone.md` leads to no file"),
            ("[x](README.md)", "the link `README.md` leads to no file"),
            (
                "[x](../README.md#last-steps)",
                "the link `../README.md#last-steps` leads to no heading",
            ),
            ("[x](#nowhere)", "the link `#nowhere` leads to no heading"),
            (
                "[x](../../other/README.md)",
                "the link `../../other/README.md` leads out of the project",
            ),
            ("[x]: gone.md", "the link `gone.md` leads to no file"),
            ("<img src=\"gone.png\">", "the link `gone.png` leads to no file"),
        ];
        for (text, what) in bad {
            assert_eq!(found(&format!("# A\n\n{text}\n")), [(3, what.to_owned())]);
        }
    }

    #[test]
    fn two_links_on_one_line_are_two() {
        assert_eq!(found("[x](gone.md) [y](../README.md) [z](also-gone.md)").len(), 2);
    }

    #[test]
    fn other_places_and_rust_paths_are_left_alone() {
        for text in [
            "[x](https://example.org/a#b) <https://example.org>",
            "[mail](mailto:someone@example.org)",
            "[x](//example.org/a)",
            "[`Node`](syncro::Node)\n\n[Engine]: syncro_core::Engine#method.handle",
            "a footnote[^1]\n\n[^1]: Not a link.",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn code_holds_no_links() {
        for text in [
            "```text\n[x](gone.md)\n```",
            "~~~~\n~~~\n[x](gone.md)\n~~~~",
            "- item\n  ```rust\n  let x = a[0](gone);\n  ```",
            "`[x](gone.md)` and ``a ` [y](gone.md)``",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
        assert_eq!(found("```\ncode\n```\n[x](gone.md)").len(), 1);
    }

    #[test]
    fn anchors_are_spelled_as_forges_spell_them() {
        let text = "# What's *new*?\n## The `Node` handle\n## Wire: v2, JSON\n## [Linked](x.md) title ##\n\
                    ## Twice\n## Twice\n#no heading\n```\n# code\n```\n<a id=\"by-hand\"></a>\n";
        let expected = [
            "by-hand",
            "linked-title",
            "the-node-handle",
            "twice",
            "twice-1",
            "whats-new",
            "wire-v2-json",
        ];
        assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), expected);
    }
}
