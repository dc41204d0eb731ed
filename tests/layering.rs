//! The house rule: a stage imports only the vocabulary and the stages above it (design §5). An import
//! that runs the other way makes a circle sooner or later, and is refused here.

#![allow(clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// The stages, in the order in which a change passes them.
const STAGES: [&str; 9] = [
    "capture",
    "decode",
    "mapping",
    "planning",
    "sinks",
    "store",
    "supervisor",
    "verify",
    "web",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every `crate::name` of a source text outside of comments, braced lists included.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n");
    let word = |s: &str| {
        s.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => names.push(word(rest)),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            names.push(word(&list[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

fn stage_of(path: &Path, root: &Path) -> Option<usize> {
    let first = path.strip_prefix(root).ok()?.iter().next()?.to_str()?;
    STAGES
        .iter()
        .position(|s| *s == first.trim_end_matches(".rs"))
}

#[test]
fn imports_run_with_the_flow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut against = Vec::new();
    let mut seen = 0;
    for path in files {
        let relative = path.strip_prefix(&root).expect("below src").to_path_buf();
        // The command line stands outside of the library and may use all of it.
        if relative.starts_with("bin") || relative.as_os_str() == "lib.rs" {
            continue;
        }
        let own = stage_of(&path, &root);
        let text = fs::read_to_string(&path).expect("readable");
        for name in imports(&text) {
            let Some(other) = STAGES.iter().position(|s| *s == name) else {
                continue;
            };
            seen += 1;
            if own.is_none_or(|own| other > own) {
                against.push(format!("{} imports {name}", relative.display()));
            }
        }
        if text.contains("syncline_sandbox") {
            against.push(format!("{} imports the sandbox", relative.display()));
        }
    }
    assert!(against.is_empty(), "{against:#?}");
    assert!(seen > 50, "the check sees imports: {seen}");
}

#[test]
fn the_sandbox_shares_no_code_with_the_connector() {
    let sandbox = Path::new(env!("CARGO_MANIFEST_DIR")).join("sandbox");
    let manifest = fs::read_to_string(sandbox.join("Cargo.toml")).expect("readable");
    let names = manifest.lines().filter_map(|l| l.split(['=', '.']).next());
    assert!(
        !names.map(str::trim).any(|name| name == "syncline"),
        "{manifest}"
    );
}

#[test]
fn the_check_finds_what_it_looks_for() {
    let text = "use crate::{change::Lsn, store::{self, Store}, sinks};\n// use crate::web;\nlet x = crate::supervisor::start();";
    assert_eq!(imports(text), ["change", "store", "sinks", "supervisor"]);
}
