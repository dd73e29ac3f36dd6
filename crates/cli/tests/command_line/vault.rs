//! The page about the vault as it stands there, and that no secret is seen anywhere.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::json;

use crate::support::Folder;

const TOKEN: &str = "a-token-for-the-vault";
/// What must be seen nowhere but in requests.
const CANARIES: [&str; 3] = ["sk_live_canary-0123456789", "pässword \"canary\" + 1", "correct-canary-battery"];

/// A server that answers every request with what it was sent, and remembers it.
pub fn echo() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut bytes = vec![0; 64 << 10];
            let mut length = 0;
            while !String::from_utf8_lossy(&bytes[..length]).contains("\r\n\r\n") {
                match connection.read(&mut bytes[length..]) {
                    Ok(0) | Err(_) => break,
                    Ok(more) => length += more,
                }
            }
            let request = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let status = if request.contains("refuse-me") { "401 Unauthorized" } else { "200 OK" };
            let body =
                json!({ "request": request, "access_token": "at-canary-9876543210", "expires_in": 3600 }).to_string();
            notes.lock().unwrap().push(request);
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = connection.write_all(format!("{head}{body}").as_bytes());
        }
    });
    (url, seen)
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

#[test]
fn secrets_reach_what_they_are_for_and_are_seen_nowhere_else() {
    let folder = Folder::new();
    let (url, seen) = echo();
    let arguments =
        ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data", "--allow-private-network", "--log", "debug"];
    let server = folder.spawn(&[&arguments[..], &["--bootstrap-token", TOKEN]].concat());
    let printed = server.until_printed("  data ");
    let api = printed.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let on = |arguments: &[&str]| folder.run(&[arguments, &["--url", &api, "--token", TOKEN]].concat());

    // Secrets come from files or standard input: arguments are seen by everybody on the machine.
    let given = folder.write("key.txt", format!("{}\n", CANARIES[0]));
    let given = format!("@{}", given.display());
    let refused = on(&["vault", "secrets", "create", "--name", "pay_key", "--value", CANARIES[0]]);
    assert!(refused.expect(2).stderr.contains("a secret is no argument"), "{}", refused.stderr);
    let secret = on(&["vault", "secrets", "create", "--name", "pay_key", "--value", &given, "--json"]).expect(0).json();
    assert_eq!((secret.get("value"), &secret["version"]), (None, &json!(1)));
    let fields = folder.write("fields.json", json!({ "password": CANARIES[1] }).to_string());
    let fields = format!("@{}", fields.display());
    let shop = ["vault", "credentials", "create", "--name", "shop", "--credential-type", "basic_auth"];
    let test_url = json!({ "username": "ada", "test_url": format!("{url}/test") }).to_string();
    let shop =
        on(&[&shop[..], &["--fields", &test_url, "--secret-fields", &fields, "--json"]].concat()).expect(0).json();
    let taken = on(&["vault", "secrets", "create", "--name", "shop", "--value", &given]);
    assert!(taken.expect(2).stderr.contains("a credential has it"), "{}", taken.stderr);
    let wrong = on(&[
        "vault",
        "credentials",
        "create",
        "--name",
        "bad",
        "--credential-type",
        "smtp",
        "--secret-fields",
        &fields,
    ]);
    for part in ["/fields/host is needed", "/fields/port is needed", "/fields/security is needed"] {
        assert!(wrong.expect(2).stderr.contains(part), "{part}: {}", wrong.stderr);
    }
    let client = folder.write("client.json", json!({ "client_secret": CANARIES[2] }).to_string());
    let client = format!("@{}", client.display());
    let oauth =
        json!({ "token_url": format!("{url}/token"), "client_id": "c", "grant": "client_credentials" }).to_string();
    let oauth =
        ["vault", "credentials", "create", "--name", "partner", "--credential-type", "oauth2", "--fields", &oauth];
    on(&[&oauth[..], &["--secret-fields", &client]].concat()).expect(0);

    // They are tried.
    let tested = on(&["vault", "test", shop["id"].as_str().unwrap()]);
    assert!(tested.expect(0).stdout.starts_with("works: "), "{}", tested.stdout);

    // A document may name only what is there.
    let text = format!(
        "name: pays\nsteps:\n  - id: call\n    type: http\n    with:\n      method: POST\n      url: {url}/pay\n      headers:\n        \
         X-Key: \"${{{{ secrets.pay_key }}}}\"\n        Authorization: \"${{{{ secrets.shop.authorization }}}}\"\n        \
         X-Partner: \"Bearer ${{{{ secrets.partner.access_token }}}}\"\n        X-Who: \"${{{{ input.who }}}}\"\n      \
         json: {{ key: \"k=${{{{ secrets.pay_key }}}}\" }}\noutput: ${{{{ steps.call.output.body }}}}\n"
    );
    let document = folder.write("pays.yaml", &text);
    let typo = folder.write("typo.yaml", text.replace("secrets.pay_key", "secrets.pay_kee"));
    assert!(on(&["deploy", typo.to_str().unwrap()]).expect(2).stderr.contains("pay_kee"));
    on(&["deploy", document.to_str().unwrap()]).expect(0);

    // What comes from outside is no expression.
    let input = r#"{"who": "${{ secrets.pay_key }}"}"#;
    let run = on(&["start", "pays", "--input", input, "--wait", "30s", "--json"]).expect(0).json();
    let request = seen.lock().unwrap().iter().find(|it| it.contains("/pay")).unwrap().clone();
    assert!(request.contains(&format!("x-key: {}", CANARIES[0])), "{request}");
    assert!(request.contains("x-partner: Bearer at-canary-9876543210"), "{request}");
    assert!(request.contains("x-who: ${{ secrets.pay_key }}"), "{request}");
    assert!(request.to_lowercase().contains("authorization: basic "), "{request}");
    let output = run["output"].to_string();
    assert!(output.contains("x-key: ***") && output.contains("x-partner: ***"), "{output}");

    let id = run["id"].as_str().unwrap();
    let journal = on(&["runs", "journal", id, "--json"]).expect(0).stdout.clone();
    assert!(journal.contains("${{ secrets.pay_key }}"), "{journal}");
    let steps = on(&["runs", "show", id, "--json"]).expect(0).stdout.clone();
    let audit = on(&["audit", "entries", "list", "--json"]).expect(0).stdout.clone();
    let list = on(&["vault", "secrets", "list", "--json"]).expect(0).stdout.clone();
    assert!(list.contains("last_used_at\":\"2"), "{list}");
    assert_eq!(server.signal("TERM"), 0);

    // Nothing that was shown or written holds one, in any form.
    let logged = std::fs::read_to_string(folder.path().join("spawned.err")).unwrap();
    let mut shown = vec![
        ("journal", journal),
        ("steps", steps),
        ("audit", audit),
        ("list", list),
        ("log", logged),
        ("output", output),
    ];
    let mut kept = Vec::new();
    files(&folder.path().join("data"), &mut kept);
    assert!(kept.iter().any(|path| path.ends_with("windlass.db")));
    for path in &kept {
        shown.push(("a file", String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()));
    }
    let escaped = serde_json::to_string(CANARIES[1]).unwrap();
    let forms = [CANARIES[0], CANARIES[1], escaped.trim_matches('"'), CANARIES[2], "at-canary-9876543210", "canary"];
    for (what, text) in &shown {
        for form in forms {
            assert!(!text.contains(form), "{form} in {what}");
        }
    }
}
