//! `docs/tutorial.md`, typed line by line, while runs begin all the time.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use crate::{
    people::{PASSWORD, Person},
    support::{Ended, Folder, Running},
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tutorial.md");

/// A line that is typed at a prompt, and what is printed then.
struct Typed {
    prompt: String,
    line: String,
    printed: Vec<String>,
}

/// The lines of the page's consoles in their order, and its YAML.
fn page() -> (Vec<Typed>, String) {
    let text = std::fs::read_to_string(PAGE).unwrap();
    let (mut lines, mut yaml, mut block) = (Vec::<Typed>::new(), String::new(), "");
    for line in text.lines() {
        match (block, line) {
            (_, "```console" | "```yaml" | "```") => block = line.trim_start_matches('`'),
            ("yaml", line) => yaml.extend([line, "\n"]),
            ("console", line) => match line.split_once("$ ") {
                Some((prompt, line)) if !line.is_empty() && prompt.chars().all(char::is_alphabetic) => {
                    lines.push(Typed { prompt: prompt.to_owned(), line: line.to_owned(), printed: Vec::new() });
                }
                _ => lines.last_mut().unwrap().printed.push(line.to_owned()),
            },
            _ => {}
        }
    }
    (lines, yaml)
}

/// What stands in the page for something that is another one each time.
struct Real(HashMap<&'static str, String>);

impl Real {
    fn of(&self, line: &str) -> String {
        self.0.iter().fold(line.to_owned(), |line, (shown, real)| line.replace(shown, real))
    }

    /// Remembers links that were printed.
    fn see(&mut self, printed: &str) {
        for (shown, begins) in [("wll_…", "wll_"), ("wli_…", "wli_")] {
            if let Some(link) = printed.split_whitespace().find(|word| word.starts_with(begins)) {
                self.0.insert(shown, link.to_owned());
            }
        }
    }
}

/// Whether each line was printed, in this order, where `…` stands for anything.
fn shows(printed: &str, lines: &[String]) -> bool {
    let mut rest = printed;
    lines.iter().flat_map(|line| line.split('…')).map(str::trim).all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Starts runs of the workflow until it is told to stop; all of them are taken.
fn start_runs(ada: &Person<'_>, (stop, started): (&AtomicBool, &AtomicU32)) {
    while !stop.load(Ordering::Relaxed) {
        ada.run(&["start", "charge", "--input", r#"{"order": "meanwhile"}"#], "").expect(0);
        started.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_works_as_it_is_written() {
    let postgres = windlass_testkit::postgres().await;
    tokio::task::block_in_place(|| type_it(&postgres.url));
}

fn type_it(postgres: &str) {
    let (folder, shop_folder) = (Folder::new(), Folder::new());
    let (server_address, shop_address) = (free_address(), free_address());
    let url = format!("http://{server_address}");
    let of = |name| Person { folder: &folder, url: &url, name };
    let (lines, yaml) = page();
    let mut real = Real(HashMap::from([
        ("127.0.0.1:7401", shop_address.clone()),
        ("postgres://user:password@host/database", postgres.to_owned()),
    ]));
    folder.write("charge.yaml", real.of(&yaml));
    let (mut server, mut shop) = (None::<Running>, None::<Running>);
    for Typed { prompt, line, printed } in &lines {
        let words = shell_words(&real.of(line));
        let arguments: Vec<&str> = words.iter().map(String::as_str).skip(1).collect();
        let said = match (&**prompt, &*words[0]) {
            ("shop", _) => {
                let running = shop_folder.spawn(&[&arguments[..], &["--listen", &shop_address]].concat());
                running.until_printed(&shop_address);
                shop = Some(running);
                String::new()
            }
            ("server", "^C") => {
                assert_eq!(server.take().unwrap().signal("INT"), 0);
                String::new()
            }
            ("server", _) => {
                let running = folder.spawn(&[&arguments[..], &["--listen", &server_address]].concat());
                let printed = running.until_printed("  data ");
                server = Some(running);
                printed
            }
            (name, "windlass") => {
                let typed = match &*arguments {
                    ["password"] => format!("\n{PASSWORD}\n"),
                    ["join", ..] => format!("{PASSWORD}\n"),
                    _ => String::new(),
                };
                let ended = match &*arguments {
                    ["vault", "rotate"] => while_runs_begin(&of(name), &arguments),
                    _ => of(name).run(&arguments, &typed),
                };
                let refused = printed.iter().any(|line| line.starts_with("error: "));
                assert_eq!(ended.code != 0, refused, "{line}: {}{}", ended.stdout, ended.stderr);
                if line.starts_with("windlass start") && !real.0.contains_key("RUN") {
                    let runs = of(name).run(&["runs", "list", "--json"], "").expect(0).json();
                    real.0.insert("RUN", runs["items"][0]["id"].as_str().unwrap().to_owned());
                }
                ended.stdout + &ended.stderr
            }
            (_, _) => {
                let mut shell = std::process::Command::new("sh");
                let status = shell.args(["-c", line]).current_dir(folder.path()).stdin(Stdio::null()).status();
                assert!(status.unwrap().success(), "{line}");
                String::new()
            }
        };
        real.see(&said);
        assert!(shows(&said, &printed.iter().map(|line| real.of(line)).collect::<Vec<_>>()), "{line}:\n{said}");
    }
    drop((server, shop));
    folder.run(&["verify", "--database-url", postgres, "--minimum-runs", "1"]).expect(0);
    let ledger = std::fs::read_to_string(shop_folder.path().join("shop-ledger.jsonl")).unwrap();
    for order in ["A-1", "A-2", "A-3", "meanwhile"] {
        assert!(ledger.contains(order), "nobody paid for {order}");
    }
}

/// The same, while runs begin before it, meanwhile and after it.
fn while_runs_begin(ada: &Person<'_>, arguments: &[&str]) -> Ended {
    let (stop, started) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let starter = scope.spawn(|| start_runs(ada, (&stop, &started)));
        let more = || {
            let until = started.load(Ordering::Relaxed) + 2;
            while started.load(Ordering::Relaxed) < until && !starter.is_finished() {
                std::thread::yield_now();
            }
        };
        more();
        let ended = ada.run(arguments, "");
        more();
        stop.store(true, Ordering::Relaxed);
        starter.join().unwrap();
        ended
    })
}

fn free_address() -> String {
    windlass_testkit::free_address().unwrap().to_string()
}

/// The words of a line as a shell takes them: apart at spaces, but for those in `'…'`.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            letter => words.last_mut().unwrap().push(letter),
        }
    }
    words
}
