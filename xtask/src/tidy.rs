//! The rules of the house that a compiler does not check, and figures for people to judge.
//!
//! Invariant: it fails only on what must never happen. How long a file or a function is, is shown beside the figures
//! of projects that are pleasant to read, and is a matter of taste.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use serde_json::json;

use crate::source::{self, Source};

/// The layers, lowest first: a crate may depend on those before it.
const LAYERS: [&str; 8] = ["definition", "engine", "resource", "store", "runtime", "steps", "server", "cli"];

/// Words that have no place in some files.
struct Rule {
    words: &'static [&'static str],
    /// Where the rule holds: a path begins with one of these.
    within: &'static [&'static str],
    /// Where it does not.
    except: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        words: &[
            "std::fs",
            "std::net",
            "std::process",
            "std::io::std",
            "tokio",
            "reqwest",
            "rusqlite",
            "tokio_postgres",
        ],
        within: &["crates/definition/src", "crates/engine/src", "crates/resource/src"],
        except: &[],
        why: "the language, the engine and the descriptors do no I/O: pass it in, or give it out as an effect",
    },
    Rule {
        words: &["SystemTime", "Instant::now", "Utc::now", "Local::now"],
        within: &["crates/definition/src", "crates/engine/src", "crates/resource/src"],
        except: &[],
        why: "the language, the engine and the descriptors read no clock: the time is an argument",
    },
    Rule {
        words: &["getrandom", "rand::", "thread_rng", "new_v4", "now_v7", "RandomState"],
        within: &["crates/definition/src", "crates/engine/src", "crates/resource/src"],
        except: &[],
        why: "the language, the engine and the descriptors have no randomness: a seed is an argument",
    },
    Rule {
        words: &["HashMap", "HashSet"],
        within: &["crates/engine/src"],
        except: &[],
        why: "the order of a hash map differs from run to run: use BTreeMap or BTreeSet",
    },
    Rule {
        words: &["rusqlite", "tokio_postgres"],
        within: &["crates"],
        except: &["crates/store", "crates/testkit"],
        why: "SQL is the store's",
    },
    Rule {
        words: &["axum"],
        within: &["crates"],
        except: &[
            "crates/server",
            "crates/cli/src/client",
            "crates/cli/src/command/demo_run",
            "crates/cli/src/demo",
            // An identity provider for tests.
            "crates/testkit/src/sign_on",
            "/tests/",
        ],
        why: "HTTP is answered by the server crate and by the demo",
    },
    Rule {
        words: &["reqwest::Client", "Client::builder"],
        within: &["crates"],
        except: &["crates/steps/src/egress", "crates/cli/src/client", "crates/testkit/src/sign_on", "/tests/"],
        why: "requests go out through the egress client, and from the CLI to its server",
    },
];

/// The first words of SQL statements, as they begin a text.
const SQL: [&str; 8] = [
    "select ",
    "insert into ",
    "delete from ",
    "create table ",
    "alter table ",
    "with recursive ",
    "pragma ",
    "drop table ",
];

/// Checks everything, prints the figures, and ends with one line of JSON.
///
/// # Errors
/// A rule is broken; every place was printed.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let sources = source::files(root)?;
    let mut broken = arrows(root)?;
    for source in &sources {
        broken.extend(module_doc(source));
        broken.extend(RULES.iter().flat_map(|rule| words(rule, source)));
        broken.extend(sql(source));
    }
    figures(&sources);
    for line in &broken {
        eprintln!("tidy: {line}");
    }
    let lines: usize = sources.iter().map(|it| it.text.lines().count()).sum();
    print_line(&json!({ "check": "tidy", "files": sources.len(), "lines": lines, "broken": broken.len() }).to_string());
    if sources.len() < 10 {
        bail!("only {} files were found: nothing was checked", sources.len());
    }
    if !broken.is_empty() {
        bail!("{} rules of the house are broken", broken.len());
    }
    Ok(())
}

/// Dependencies that point the wrong way.
fn arrows(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for (height, layer) in LAYERS.iter().enumerate() {
        let path = format!("crates/{layer}/Cargo.toml");
        let text = fs::read_to_string(root.join(&path)).with_context(|| format!("failed to read {path}"))?;
        for dependency in dependencies(&text) {
            if !LAYERS[..height].contains(&dependency) {
                broken.push(format!("{path}: `{layer}` may not depend on `{dependency}`: {}", LAYERS.join(" <- ")));
            }
        }
    }
    Ok(broken)
}

/// Our crates that a manifest depends on, those of its tests not counted.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut counts = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            counts = line == "[dependencies]" || line == "[build-dependencies]" || line.ends_with(".dependencies]");
        } else if let Some(name) = line.strip_prefix("windlass-").filter(|_| counts) {
            found.push(name.split(['.', ' ', '=']).next().unwrap_or(name));
        }
    }
    found
}

fn module_doc(source: &Source) -> Option<String> {
    let begins = source.text.trim_start();
    (!begins.starts_with("//!")).then(|| format!("{}: begins without saying what it is (`//! …`)", source.path))
}

fn words(rule: &Rule, source: &Source) -> Vec<String> {
    let applies = rule.within.iter().any(|it| source.path.starts_with(it));
    let excepted =
        rule.except.iter().any(|it| source.path.starts_with(it) || (it.starts_with('/') && source.path.contains(it)));
    if !applies || excepted {
        return Vec::new();
    }
    let code = without_tests(&source.code);
    let found = code.lines().enumerate().filter_map(|(at, line)| {
        let word = rule.words.iter().find(|word| has_word(line, word))?;
        Some(format!("{}:{}: `{word}`: {}", source.path, at + 1, rule.why))
    });
    found.collect()
}

/// The code up to the module of unit tests, which stands last.
fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]\nmod ").map_or(code, |at| &code[..at])
}

/// Whether a line has the word, not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |it: char| it.is_alphanumeric() || it == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        let open_end = word.ends_with("::") || word.ends_with("std");
        !before.is_some_and(is_part) && (open_end || !after.is_some_and(is_part))
    })
}

fn sql(source: &Source) -> Vec<String> {
    // The texts of tables follow from descriptors; tests of statements name them.
    let exempt = [
        "bench",
        "crates/resource/src/ddl",
        "crates/resource/tests",
        "crates/store",
        "crates/testkit",
        "proof",
        "xtask",
        "crates/runtime/tests/facade/statements.rs",
    ];
    if exempt.iter().any(|it| source.path.starts_with(it)) {
        return Vec::new();
    }
    let lines = without_tests(&source.uncommented).lines().enumerate();
    let found = lines.filter(|(_, line)| {
        let line = line.to_lowercase();
        SQL.iter().any(|it| line.contains(&format!("\"{it}")))
    });
    found.map(|(at, _)| format!("{}:{}: SQL stands in `store` only", source.path, at + 1)).collect()
}

/// Shows how long files, functions and parameter lists are, beside projects that are pleasant to read.
fn figures(sources: &[Source]) {
    let mut files: Vec<(usize, &str)> = sources.iter().map(|it| (it.text.lines().count(), it.path.as_str())).collect();
    files.sort_unstable();
    let mut functions: Vec<(usize, usize, String)> = Vec::new();
    for source in sources {
        let found = source.functions().into_iter();
        functions.extend(found.map(|it| (it.lines, it.parameters, format!("{}:{} {}", source.path, it.line, it.name))));
    }
    functions.sort_unstable();
    let percentile = |share: usize| functions.get(functions.len() * share / 100).map_or(0, |it| it.0);
    let many = functions.iter().filter(|it| it.1 > 6).count();
    let permille = many * 1_000 / functions.len().max(1);
    print_line("                              ours   anchors");
    print_line(&format!("median file, lines          {:>6}   60–190", files.get(files.len() / 2).map_or(0, |it| it.0)));
    print_line(&format!("median function, lines      {:>6}   6–11", percentile(50)));
    print_line(&format!("99 % of functions, lines    {:>6}   under 70–135", percentile(99)));
    print_line(&format!("over six parameters, per 1000 {permille:>4}   under 5"));
    for (name, lines) in crate_sizes(sources) {
        print_line(&format!("crate {name:<12} {lines:>6} lines   up to 25000"));
    }
    print_line("longest files:");
    files.iter().rev().take(8).for_each(|(lines, path)| print_line(&format!("  {lines:>5}  {path}")));
    print_line("longest functions:");
    functions.iter().rev().take(8).for_each(|(lines, _, name)| print_line(&format!("  {lines:>5}  {name}")));
    functions.sort_unstable_by_key(|it| it.1);
    print_line("longest parameter lists:");
    functions.iter().rev().take(5).for_each(|(_, count, name)| print_line(&format!("  {count:>5}  {name}")));
}

fn crate_sizes(sources: &[Source]) -> Vec<(&str, usize)> {
    let mut sizes: Vec<(&str, usize)> = Vec::new();
    for source in sources {
        let Some(name) = source.path.strip_prefix("crates/").and_then(|it| it.split('/').next()) else { continue };
        let lines = source.text.lines().count();
        match sizes.iter_mut().find(|it| it.0 == name) {
            Some(size) => size.1 += lines,
            None => sizes.push((name, lines)),
        }
    }
    sizes
}

#[expect(clippy::print_stdout, reason = "this is a program whose output is its result")]
fn print_line(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dependencies_of_the_crate_itself_count() {
        let manifest = "[dependencies]\nwindlass-engine.workspace = true\nserde = \"1\"\n\n[dev-dependencies]\nwindlass-testkit.workspace = true\n";
        assert_eq!(dependencies(manifest), ["engine"]);
    }

    #[test]
    fn words_are_whole() {
        for (line, word, expected) in [
            ("use tokio::time;", "tokio", true),
            ("let tokio_like = 1;", "tokio", false),
            ("let mytokio = 1;", "tokio", false),
            ("rand::random()", "rand::", true),
            ("operand::x", "rand::", false),
        ] {
            assert_eq!(has_word(line, word), expected, "{line}");
        }
    }
}
