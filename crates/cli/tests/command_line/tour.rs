//! The commands of the README, as they stand there.

use std::path::Path;

use crate::support::{Ended, Folder};

/// The lines of the README's shell blocks that begin with `windlass`, without comments.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut commands = Vec::new();
    let mut in_shell = false;
    for line in readme.lines() {
        match line {
            "```sh" => in_shell = true,
            "```" => in_shell = false,
            line if in_shell && line.starts_with("windlass ") => {
                commands.push(line.split(" #").next().unwrap().trim().to_owned());
            }
            _ => {}
        }
    }
    commands
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Runs a line through the shell, with our binary first in its path.
fn shell(folder: &Folder, url: &str, line: &str) -> Ended {
    let binary = Path::new(env!("CARGO_BIN_EXE_windlass")).parent().unwrap().display();
    let path = format!("{binary}:{}", std::env::var("PATH").unwrap());
    let mut shell = std::process::Command::new("sh");
    for (name, _) in folder.command(&[]).get_envs() {
        shell.env_remove(name);
    }
    shell.env("PATH", path).env("WINDLASS_TOKEN", "a-token-of-my-own").env("WINDLASS_URL", url);
    shell.current_dir(folder.path());
    Ended::of(shell.args(["-c", line]).output().unwrap())
}

#[test]
fn the_tour_works_as_it_is_written() {
    let folder = Folder::new();
    let docs = folder.path().join("docs");
    std::fs::create_dir(&docs).unwrap();
    std::os::unix::fs::symlink(root().join("docs/tour").canonicalize().unwrap(), docs.join("tour")).unwrap();
    // Not the port of the README, which somebody may use on this machine.
    let address = windlass_testkit::free_address().unwrap().to_string();
    let url = format!("http://{address}");
    let mut run = String::new();
    let mut server = None;
    for line in commands() {
        let line = line.replace("RUN", &run);
        match line.as_str() {
            "windlass check docs/tour/mistake.yaml" => {
                let ended = shell(&folder, &url, &line);
                let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
                let told = ended.expect(2).stderr.split("\n\n").next().unwrap().trim();
                assert!(readme.contains(told), "the README does not show\n{told}");
            }
            "windlass run docs/tour/wait.yaml" => {
                let waiting = folder.spawn(&["run", "docs/tour/wait.yaml"]);
                let printed = waiting.until_printed("give it:");
                run = printed.split_once("runs signal ").unwrap().1.split(' ').next().unwrap().to_owned();
                assert_eq!(waiting.signal("INT"), 1);
            }
            "windlass serve &" => {
                server = Some(folder.spawn(&["serve", "--bootstrap-token", "a-token-of-my-own", "--listen", &address]));
                server.as_ref().unwrap().until_printed("  data ");
            }
            // The same on PostgreSQL: the conformance tests run there.
            line if line.contains("postgres://") => {}
            line => {
                shell(&folder, &url, line).expect(0);
            }
        }
    }
    assert!(server.is_some() && !run.is_empty());
}
