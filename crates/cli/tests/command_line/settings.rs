//! `windlass settings`: the examples of docs/settings.md, run off the page, and what a server makes of a choice.

use std::{io::Write, net::TcpStream, process::Command};

use crate::support::Folder;

/// The commands of the page's examples.
fn examples() -> String {
    let page = include_str!("../../../../docs/settings.md");
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 3, "{blocks:?}");
    blocks.concat()
}

#[test]
fn the_examples_of_the_page_run() {
    let folder = Folder::new();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_windlass"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let shell = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &examples()])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("WINDLASS_DATA_DIR", folder.path().join("data"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&shell.stdout);
    assert!(shell.status.success(), "{text}{}", String::from_utf8_lossy(&shell.stderr));
    let settings = |args: &[&str]| folder.run(&[&["settings"], args, &["--data-dir", "data"]].concat());
    for (name, value, source) in [
        ("session_hours", "12", "built_in"),
        ("password_sign_in", "off", "tenant"),
        ("log", "info,windlass_runtime=debug", "database"),
        ("private_networks", "10.1.0.0/16", "tenant"),
    ] {
        let one = settings(&["get", name]);
        let said = &one.expect(0).stdout;
        assert!(said.contains(&format!("value         {value}\n")), "{said}");
        assert!(said.contains(&format!("source        {source}\n")), "{said}");
    }
    assert!(settings(&["list"]).expect(0).stdout.contains("developer"));
    for (tenant, value, source) in [("default", "off", "database"), ("acme", "on", "tenant")] {
        let one = settings(&["get", "feature_files", "--tenant", tenant]);
        let said = &one.expect(0).stdout;
        assert!(said.contains(&format!("value         {value}\n")) && said.contains(source), "{said}");
    }
    // What a tenant chooses beyond the installation counts for nothing.
    for (chosen, holds) in [(&["10.2.0.0/16", "192.168.7.4"][..], "10.2.0.0/16"), (&["all"], "10.0.0.0/8")] {
        settings(&[&["set", "private_networks"], chosen, &["--tenant", "acme"]].concat()).expect(0);
        let one = settings(&["get", "private_networks", "--tenant", "acme"]);
        let said = &one.expect(0).stdout;
        assert!(said.contains(&format!("value         {holds}\n")) && said.contains("tenant"), "{said}");
    }
    settings(&["set", "feature_mcp", "off", "--tenant", "nobody"]).expect(4);
    settings(&["set", "feature_mcp", "off", "--tenant", "acme", "--installation"]).expect(2);
    // What is no value is refused before anything is written.
    for refused in [
        ["session_hours", "0"],
        ["session_hours", "many"],
        ["password_sign_in", "perhaps"],
        ["log_format", "xml"],
        ["private_networks", "nowhere"],
        ["nope", "1"],
    ] {
        let ended = settings(&[&["set"], &refused[..], &["--installation"]].concat());
        assert!([2, 4].contains(&ended.code), "{refused:?}: {}{}", ended.stdout, ended.stderr);
    }
    settings(&["unset", "private_networks"]).expect(0);
    settings(&["unset", "private_networks", "--installation"]).expect(0);
    assert!(settings(&["get", "private_networks"]).expect(0).stdout.contains("built_in"));
}

#[test]
fn a_server_takes_settings_from_every_layer_and_follows_the_log() {
    let folder = Folder::new();
    folder.write("settings", "log_format = json  # for the collector\nlisten = 127.0.0.1:0\nsession_hours = 3\n");
    let serve = ["serve", "--data-dir", "data", "--settings-file", "settings", "--grace-seconds", "1"];
    let server = folder.spawn(&[&serve[..], &["--set", "password_chars_min=20", "--log", "warn"]].concat());
    let printed = server.until_printed("  data ");
    let address = printed.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().to_owned();
    // What is no request is told at the level `debug` alone.
    let nonsense = || TcpStream::connect(&address).unwrap().write_all(b"nonsense\r\n\r\n").unwrap();
    let settings = |args: &[&str]| folder.run(&[&["settings"], args, &["--data-dir", "data"]].concat());
    for (name, value, source) in [
        ("session_hours", "3", "file"),
        ("log_format", "json", "file"),
        ("password_chars_min", "20", "environment"),
        ("grace_seconds", "1", "environment"),
        ("log", "warn", "environment"),
    ] {
        let one = settings(&["get", name]).expect(0).stdout.clone();
        assert!(one.contains(&format!("value         {value}\n")) && one.contains(source), "{one}");
    }
    // It is another log at once, and the old one again when the choice is taken back.
    settings(&["set", "log", "debug", "--installation"]).expect(0);
    server.until_printed("\"log\":\"debug\"");
    nonsense();
    server.until_printed("a connection ended early");
    settings(&["unset", "log", "--installation"]).expect(0);
    server.until_printed("\"log\":\"warn\"");
    assert_eq!(server.signal("TERM"), 0);
}

#[test]
fn a_server_that_is_told_nonsense_does_not_start() {
    let folder = Folder::new();
    folder.write("settings", "log = info\nexec_steps = perhaps\n");
    for (more, said) in [
        (["--settings-file", "settings"], "line 2: `exec_steps` is on or off"),
        (["--set", "log_format=xml"], "is one of text, json"),
        (["--log", "windlass=loud"], "no filter of the log"),
        (["--log-format", "xml"], "is one of text, json"),
    ] {
        let ended = folder.run(&[&["serve", "--data-dir", "data", "--listen", "127.0.0.1:0"], &more[..]].concat());
        assert_eq!(ended.expect(2).stdout, "");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn a_server_that_cannot_read_its_authorities_does_not_start() {
    let folder = Folder::new();
    folder.write("empty.pem", "nothing\n");
    for (file, said) in [("nowhere.pem", "No such file"), ("empty.pem", "holds no certificate")] {
        let chosen = format!("trusted_authorities={file}");
        let ended = folder.run(&["serve", "--data-dir", "data", "--listen", "127.0.0.1:0", "--set", &chosen]);
        ended.expect(2);
        assert!(ended.stderr.contains(said) && ended.stderr.contains("trusted_authorities"), "{}", ended.stderr);
    }
}
