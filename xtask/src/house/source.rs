/// Reports what is wrong with the Rust source `text` of `file`.
pub(super) fn check(file: &str, text: &str, report: &mut impl FnMut(usize, String)) {
    let length = lines_before_tests(text);
    if length > LINES_MAX && !is_all_tests(file) {
        report(
            LINES_MAX + 1,
            format!("{length} lines before the tests, and {LINES_MAX} is the most: split it"),
        );
    }
    for (at, line) in text.lines().enumerate() {
        for name in UNFINISHED {
            if calls_macro(line, name) {
                report(at + 1, format!("unfinished: {name}!"));
            }
        }
    }
}

/// How many lines come before the test module that ends the file. A `mod tests;` whose body is
/// elsewhere ends nothing.
fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let opens_tests = |at: &usize| {
        lines[*at].starts_with("#[cfg(")
            && lines[*at].contains("test")
            && !lines[*at].contains("not(")
            && lines[*at + 1..]
                .iter()
                .find(|line| !line.starts_with("#[") && !line.starts_with("//"))
                .is_some_and(|item| item.contains("mod ") && item.ends_with('{'))
    };
    (0..lines.len()).find(opens_tests).unwrap_or(lines.len())
}

fn is_all_tests(file: &str) -> bool {
    file.split('/').any(|part| part == "tests" || part == "tests.rs")
}

/// Comments and text count as well: what is unfinished there is no better.
fn calls_macro(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}!")).any(|(at, call)| {
        let is_whole_word =
            !line[..at].ends_with(|last: char| last.is_alphanumeric() || last == '_');
        is_whole_word && line[at + call.len()..].trim_start().starts_with(['(', '[', '{'])
    })
}

const LINES_MAX: usize = 700;

/// Clippy knows these too, but not in code that the checked configuration leaves out.
const UNFINISHED: [&str; 2] = ["todo", "unimplemented"];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        check(file, text, &mut |line, what| found.push((line, what)));
        found
    }

    #[test]
    fn a_file_may_be_as_long_as_the_limit_and_no_longer() {
        let mut text = "//\n".repeat(LINES_MAX);
        assert_eq!(found("a/src/lib.rs", &text), []);
        text.push_str("//\n");
        let [(line, what)] = &found("a/src/lib.rs", &text)[..] else {
            panic!("one line too many is one violation");
        };
        assert_eq!(*line, LINES_MAX + 1);
        assert!(what.starts_with("701 lines"), "{what}");
    }

    #[test]
    fn the_tests_that_end_a_file_do_not_count() {
        for head in
            ["#[cfg(test)]\n", "#[cfg(all(test, unix))]\n", "#[cfg(test)]\n#[rustfmt::skip]\n"]
        {
            let text = format!("fn a() {{}}\n{head}mod tests {{\n{}}}\n", "//\n".repeat(LINES_MAX));
            assert_eq!(lines_before_tests(&text), 1, "{head}");
        }
    }

    #[test]
    fn what_only_looks_like_the_tests_ends_nothing() {
        let heads = [
            "#[cfg(test)]\nmod tests;\n",
            "#[cfg(not(test))]\nmod real {\n",
            "#[cfg(test)]\nuse std::fmt;\n",
            "#[cfg(unix)]\nmod unix {\n",
        ];
        for head in heads {
            let text = format!("{head}{}", "//\n".repeat(10));
            assert_eq!(lines_before_tests(&text), 12, "{head}");
        }
    }

    #[test]
    fn a_file_of_nothing_but_tests_may_be_long() {
        let text = "//\n".repeat(LINES_MAX + 1);
        for file in ["a/tests/pair.rs", "a/src/tests.rs", "a/src/engine/tests/story.rs"] {
            assert_eq!(found(file, &text), [], "{file}");
        }
        assert_eq!(found("a/src/testing.rs", &text).len(), 1);
    }

    #[test]
    fn unfinished_code_is_found_with_its_line() {
        for name in UNFINISHED {
            let text = format!("fn a() {{\n    {name}!(\"later\")\n}}\n");
            assert_eq!(found("a.rs", &text), [(2, format!("unfinished: {name}!"))]);
        }
    }

    #[test]
    fn a_longer_name_or_a_mere_mention_is_not_unfinished() {
        for text in ["my_todo!()", "todo!", "let todo = 1;", "// `todo!` is refused", "todo()"] {
            assert_eq!(found("a.rs", text), [], "{text}");
        }
    }
}
