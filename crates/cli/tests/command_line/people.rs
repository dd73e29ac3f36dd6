//! People at the command line: the story of `docs/identity.md`, word by word.

use std::{
    io::{BufRead as _, BufReader, Write},
    process::{Child, Output, Stdio},
};

use serde_json::json;
use windlass_testkit::sign_on::{Authenticator, Browser, CLIENT, Fake, SECRET};

use crate::{
    server::{GREET, serve},
    support::{Ended, Folder},
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/identity.md");
pub const PASSWORD: &str = "correct horse battery";

/// One person at a machine of its own, who types that.
pub struct Person<'a> {
    pub folder: &'a Folder,
    pub url: &'a str,
    pub name: &'a str,
}

impl Person<'_> {
    pub fn run(&self, arguments: &[&str], typed: &str) -> Ended {
        let mut child = self.spawn(arguments);
        // Whoever is asked for nothing may end before it reads.
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        let output: Output = child.wait_with_output().unwrap();
        Ended::of(output)
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.folder.command(arguments);
        command.env("WINDLASS_URL", self.url).env("WINDLASS_CONFIG_DIR", self.folder.path().join(self.name));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

fn word(text: &str, begins: &str) -> String {
    text.split_whitespace().find(|word| word.starts_with(begins)).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn a_viewer_joins_and_can_watch_but_not_publish() {
    let folder = Folder::new();
    let file = folder.write("greet.yaml", GREET);
    let file = file.to_str().unwrap();
    let (server, url) = serve(&folder, &[]);
    let link = word(&server.until_printed("windlass login"), "wll_");
    let of = |name| Person { folder: &folder, url: &url, name };
    let (admin, grace) = (of("admin"), of("grace"));

    assert!(admin.run(&["runs", "list"], "").expect(5).stderr.contains("windlass login"), "what to do is said");
    assert!(admin.run(&["login", &link], "").expect(0).stdout.contains("signed in as admin@localhost to default"));
    assert!(admin.run(&["login", &link], "").expect(5).stderr.contains("still works"), "a link works once");
    admin.run(&["password"], &format!("\n{PASSWORD}\n")).expect(0);
    admin.run(&["deploy", file], "").expect(0);
    let invited = admin.run(&["invite", "grace@example.org", "--role", "viewer"], "");
    let invitation = word(&invited.expect(0).stdout, "wli_");

    grace.run(&["join", &invitation, "--name", "Grace"], &format!("{PASSWORD}\n")).expect(0);
    let me = grace.run(&["whoami"], "");
    assert!(me.expect(0).stdout.contains("person:grace@example.org in tenant default"), "{}", me.stdout);
    assert!(me.stdout.contains("runs.read") && !me.stdout.contains("workflows.publish"), "{}", me.stdout);
    assert!(grace.run(&["workflows", "list"], "").expect(0).stdout.contains("greet"));
    grace.run(&["runs", "list"], "").expect(0);
    for refused in [&["deploy", file][..], &["start", "greet"], &["invite", "x@example.org"]] {
        let ended = grace.run(refused, "");
        assert_ne!(ended.code, 0, "{refused:?}");
        assert!(ended.stderr.contains("the caller has not the permission"), "{refused:?}: {}", ended.stderr);
    }
    let page = std::fs::read_to_string(PAGE).unwrap();
    for shown in [
        "windlass login wll_",
        "windlass invite grace@example.org --role viewer",
        "windlass join wli_",
        "windlass logout --session",
        "windlass impersonate grace@example.org --reason",
    ] {
        assert!(page.contains(shown), "{shown} is not on the page");
    }

    let acting = admin.run(&["impersonate", "grace@example.org", "--reason", "ticket 7", "--minutes", "30"], "");
    let token = word(&acting.expect(0).stdout, "wls_");
    let as_grace = |arguments: &[&str]| {
        let mut command = folder.command(arguments);
        command.args(["--url", &url]).env("WINDLASS_TOKEN", &token);
        Ended::of(command.output().unwrap())
    };
    let me = as_grace(&["whoami"]);
    assert!(me.expect(0).stdout.contains("person:admin@localhost for grace@example.org"), "{}", me.stdout);
    assert!(me.stdout.contains("in another's name: ticket 7"), "{}", me.stdout);
    assert!(as_grace(&["deploy", file]).stderr.contains("the caller has not the permission"));
    let seen = grace.run(&["sessions"], "");
    assert!(seen.expect(0).stdout.contains("person:admin@localhost: ticket 7"), "{}", seen.stdout);
    as_grace(&["logout"]).expect(0);
    as_grace(&["whoami"]).expect(5);
    let unknown = admin.run(&["impersonate", "nobody@example.org", "--reason", "x"], "");
    assert!(unknown.expect(4).stderr.contains("there is no member"), "{}", unknown.stderr);

    grace.run(&["logout"], "").expect(0);
    grace.run(&["runs", "list"], "").expect(5);
    let again = grace.run(&["login", "--email", "grace@example.org"], "wrong battery horse\n");
    assert!(again.expect(5).stderr.contains("no account with this password"), "{}", again.stderr);
    grace.run(&["login", "--email", "grace@example.org"], &format!("{PASSWORD}\n")).expect(0);
    let phone = of("phone");
    phone.run(&["login", "--email", "grace@example.org"], &format!("{PASSWORD}\n")).expect(0);
    let listed = grace.run(&["sessions"], "");
    let other = listed.expect(0).stdout.lines().find(|line| line.contains("password") && !line.contains("this one"));
    let other = other.and_then(|line| line.split_whitespace().next()).unwrap_or_else(|| panic!("{}", listed.stdout));
    assert!(grace.run(&["logout", "--session", other], "").expect(0).stdout.contains("has ended"));
    phone.run(&["whoami"], "").expect(5);
    grace.run(&["whoami"], "").expect(0);
    grace.run(&["logout", "--everywhere"], "").expect(0);
    let users = admin.run(&["users", "list", "--where", "email=grace@example.org", "--json"], "").expect(0).json();
    let lost = admin.run(&["users", "link", users["items"][0]["id"].as_str().unwrap()], "");
    grace.run(&["login", &word(&lost.expect(0).stdout, "wll_")], "").expect(0);
    assert_eq!(server.signal("TERM"), 0);
    let (server, _url) = serve(&folder, &[]);
    assert!(!server.printed().contains("wll_"), "somebody has come in: {}", server.printed());
}

/// The story of two tenants.
#[test]
fn people_of_another_tenant_act_by_a_delegation() {
    let folder = Folder::new();
    let file = folder.write("greet.yaml", GREET);
    folder.run(&["tenants", "create", "--slug", "helpers", "--name", "Helpers", "--data-dir", "data"]).expect(0);
    let key = ["api-keys", "create", "first", "--scope", "*", "--data-dir", "data", "--tenant", "helpers"];
    let key = word(&folder.run(&key).expect(0).stdout, "wl_");
    let (_server, url) = serve(&folder, &["--bootstrap-token", "a-token-for-the-tests"]);
    let with = |token: &str, arguments: &[&str]| {
        let mut command = folder.command(arguments);
        command.args(["--url", &url]).env("WINDLASS_TOKEN", token);
        Ended::of(command.output().unwrap())
    };
    let admin = |arguments: &[&str]| with("a-token-for-the-tests", arguments);
    let grace = Person { folder: &folder, url: &url, name: "grace" };
    admin(&["deploy", file.to_str().unwrap()]).expect(0);
    let invited = with(&key, &["invite", "grace@helpers.example", "--role", "tenant_admin"]);
    let invitation = word(&invited.expect(0).stdout, "wli_");
    grace.run(&["join", &invitation, "--name", "Grace"], &format!("{PASSWORD}\n")).expect(0);

    let page = std::fs::read_to_string(PAGE).unwrap();
    assert!(page.contains("delegations offer --role operator --reason \"ticket 7: look after our runs\" --days 30"));
    let offer =
        ["delegations", "offer", "--role", "operator", "--reason", "ticket 7: look after our runs", "--days", "30"];
    let offered = word(&admin(&offer).expect(0).stdout, "wld_");
    assert!(grace.run(&["delegations", "received"], "").expect(0).stderr.contains("no delegations to this tenant"));
    let accepted = grace.run(&["delegations", "accept", &offered], "");
    assert!(accepted.expect(0).stdout.contains(": in default as operator until "), "{}", accepted.stdout);
    let id = accepted.stdout.split(':').next().unwrap().to_owned();
    assert!(grace.run(&["delegations", "received"], "").expect(0).stdout.contains("ticket 7"));
    let token = word(&grace.run(&["delegations", "enter", &id, "--minutes", "5"], "").expect(0).stdout, "wls_");
    let there = |arguments: &[&str]| with(&token, arguments);
    let me = there(&["whoami"]);
    let who = "person:grace@helpers.example of helpers in tenant default";
    assert!(me.expect(0).stdout.contains(who), "{}", me.stdout);
    there(&["start", "greet", "--input", "{\"name\": \"Ada\"}", "--wait", "30s"]).expect(0);
    let given = admin(&["people", "delegations", "list"]);
    assert!(given.expect(0).stdout.contains("helpers"), "{}", given.stdout);
    assert!(grace.run(&["delegations", "return", &id], "").expect(0).stdout.contains("returned"));
    there(&["whoami"]).expect(5);
    grace.run(&["delegations", "enter", &id], "").expect(4);
}

#[test]
fn a_second_factor_is_what_the_page_shows() {
    let folder = Folder::new();
    let (server, url) = serve(&folder, &[]);
    let link = word(&server.until_printed("windlass login"), "wll_");
    let of = |name| Person { folder: &folder, url: &url, name };
    let (admin, grace) = (of("admin"), of("grace"));
    admin.run(&["login", &link], "").expect(0);
    let invited = admin.run(&["invite", "grace@example.org", "--role", "viewer"], "");
    grace
        .run(&["join", &word(&invited.expect(0).stdout, "wli_"), "--name", "Grace"], &format!("{PASSWORD}\n"))
        .expect(0);
    assert!(grace.run(&["second-factor", "begin"], "wrong battery horse\n").expect(5).stderr.contains("this password"));

    // What the page types, with codes that work.
    let page = std::fs::read_to_string(PAGE).unwrap();
    let block = page.split("## A second factor").nth(1).and_then(|it| it.split("```").nth(1)).unwrap();
    let mut typed = block.lines().filter_map(|line| line.strip_prefix("$ windlass "));
    let mut next = || typed.next().unwrap().split(' ').collect::<Vec<_>>();
    let begun = grace.run(&next(), &format!("{PASSWORD}\n"));
    let app = Authenticator::open(&word(&begun.expect(0).stdout, "otpauth://"));
    let code = app.code(0);
    let with = |command: Vec<&str>, shown: &str, code: &str| -> Vec<String> {
        assert!(command.contains(&shown), "{command:?} has no {shown}");
        command.into_iter().map(|it| if it == shown { code } else { it }.to_owned()).collect()
    };
    let run =
        |command: Vec<String>, typed: &str| grace.run(&command.iter().map(String::as_str).collect::<Vec<_>>(), typed);
    let confirmed = run(with(next(), "123456", &code), "");
    let recovery: Vec<&str> = confirmed.expect(0).stdout.lines().collect();
    assert_eq!(recovery.len(), 10, "{}", confirmed.stdout);
    grace.run(&["logout"], "").expect(0);
    let login = next();
    let again = grace.run(&login, &format!("{PASSWORD}\n{code}\n"));
    assert!(again.expect(5).stderr.contains("used before"), "{}", again.stderr);
    let came = grace.run(&login, &format!("{PASSWORD}\n{}\n", app.code(1)));
    assert!(came.expect(0).stdout.contains("signed in as grace@example.org"), "{}", came.stdout);
    let end = with(next(), "k3v7q2mz5xwaj4tn", recovery[0]);
    assert!(run(end.clone(), "wrong battery horse\n").expect(5).stderr.contains("this password"));
    let ended = run(end, &format!("{PASSWORD}\n"));
    assert!(ended.expect(0).stdout.contains("no code is asked for any more"), "{}", ended.stdout);
    grace.run(&login, &format!("{PASSWORD}\n")).expect(0);

    // Whoever lost everything asks an administrator.
    let begun = grace.run(&["second-factor", "begin"], &format!("{PASSWORD}\n"));
    let app = Authenticator::open(&word(&begun.expect(0).stdout, "otpauth://"));
    grace.run(&["second-factor", "confirm", &app.code(0)], "").expect(0);
    grace.run(&login, &format!("{PASSWORD}\n000000\n")).expect(5);
    let users = admin.run(&["users", "list", "--where", "email=grace@example.org", "--json"], "").expect(0).json();
    admin.run(&["users", "end-second-factor", users["items"][0]["id"].as_str().unwrap()], "").expect(0);
    grace.run(&login, &format!("{PASSWORD}\n")).expect(0);

    // A tenant asks its members for one, once who switches that on has one.
    let on = page.lines().find_map(|line| line.strip_prefix("$ windlass settings set second_factor_required")).unwrap();
    let require = ["settings", "set", "second_factor_required", on.trim()];
    assert!(admin.run(&require, "").expect(2).stderr.contains("windlass second-factor begin"));
    let begun = admin.run(&["second-factor", "begin"], "\n");
    let app = Authenticator::open(&word(&begun.expect(0).stdout, "otpauth://"));
    admin.run(&["second-factor", "confirm", &app.code(0)], "").expect(0);
    admin.run(&require, "").expect(0);
    let refused = grace.run(&["workflows", "list"], "");
    assert!(refused.expect(5).stderr.contains("windlass second-factor begin"), "{}", refused.stderr);
    let me = grace.run(&["whoami"], "");
    assert!(me.expect(0).stdout.contains("the tenant asks for a second factor"), "{}", me.stdout);
    let begun = grace.run(&["second-factor", "begin"], &format!("{PASSWORD}\n"));
    let app = Authenticator::open(&word(&begun.expect(0).stdout, "otpauth://"));
    grace.run(&["second-factor", "confirm", &app.code(0)], "").expect(0);
    grace.run(&["workflows", "list"], "").expect(0);
    assert_eq!(server.signal("TERM"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_with_a_provider_in_a_browser() {
    let folder = Folder::new();
    let (server, url) = serve(&folder, &["--allow-private-network"]);
    let link = word(&server.until_printed("windlass login"), "wll_");
    let of = |name| Person { folder: &folder, url: &url, name };
    let (admin, grace) = (of("admin"), of("grace"));
    admin.run(&["login", &link], "").expect(0);
    let fake = Fake::start().await;
    fake.is(json!({ "sub": "1", "email": "grace@example.org", "email_verified": true }));
    folder.write("secret.txt", SECRET);
    let create =
        ["people", "identity-providers", "create", "--name", "company", "--issuer", &fake.issuer, "--client-id"];
    let rest = [CLIENT, "--client-secret", "@secret.txt", "--server-url", &url];
    admin.run(&[&create[..], &rest[..]].concat(), "").expect(0);
    admin.run(&["invite", "grace@example.org", "--role", "viewer"], "").expect(0);

    let mut login = grace.spawn(&["login", "--provider", "company"]);
    let mut said = BufReader::new(login.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = said.find_map(|line| line.trim().strip_prefix("http").map(|rest| format!("http{rest}"))).unwrap();
    let mut browser = Browser::open();
    let port = address.split("port=").nth(1).unwrap().split('&').next().unwrap();
    let own = format!("http://127.0.0.1:{port}/");
    let page = browser.get(&format!("{own}favicon.ico")).await;
    assert_eq!(page.status, 404);
    let end = browser.until(&address, &own).await;
    assert!(browser.get(&end).await.body.contains("go back to the terminal"));
    let ended = Ended::of(login.wait_with_output().unwrap());
    assert!(ended.expect(0).stdout.contains("signed in as grace@example.org to default"), "{}", ended.stdout);
    assert!(grace.run(&["whoami"], "").expect(0).stdout.contains("person:grace@example.org"));
    // What the browser brought is worth nothing to anybody else.
    assert_eq!(browser.get(&format!("{url}/api/v1/me")).await.status, 401);
    let ended = grace.run(&["login", "--provider", "company", "--email", "a@example.org"], "");
    assert_eq!(ended.code, 2, "{}", ended.stderr);
}

/// What `docs/oauth.md` types, on both sides.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_let_in_at_the_command_line() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/oauth.md")).unwrap();
    let folder = Folder::new();
    let (server, url) = serve(&folder, &["--public-url", "https://windlass.example.org/"]);
    let link = word(&server.until_printed("windlass login"), "wll_");
    let admin = Person { folder: &folder, url: &url, name: "admin" };
    admin.run(&["login", &link], "").expect(0);
    let body = page.split("```json").nth(1).and_then(|it| it.split("```").next()).unwrap();
    folder.write("application.json", body);
    let made = admin.run(&["oauth", "applications", "create", "--body", "@application.json", "--json"], "");
    let made = made.expect(0).json();
    let id = made["id"].as_str().unwrap();
    let secret = word(&admin.run(&["oauth", "secret", id], "").expect(0).stdout, "wla_");
    let asks = format!(
        "https://windlass.example.org/api/v1/oauth/authorize?response_type=code&client_id={id}\
         &redirect_uri=https%3A%2F%2Freports.example.org%2Fcallback&scope=runs.read&state=af0ifjs\
         &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
    );
    let nobody = admin.run(&["oauth", "answer", &asks], "y\n");
    assert!(nobody.expect(2).stderr.contains("--allow"), "{}", nobody.stderr);
    let refused = admin.run(&["oauth", "answer", &asks, "--refuse"], "");
    assert!(refused.expect(0).stdout.contains("error=access_denied"), "{}", refused.stdout);
    let answered = admin.run(&["oauth", "answer", &asks, "--allow"], "");
    for line in ["reports asks to act in your name", "  runs.read  See runs, their steps, journals and events."] {
        assert!(answered.stderr.contains(line) && page.contains(line), "{}", answered.stderr);
    }
    let back = word(&answered.expect(0).stdout, "https://reports.example.org/callback?code=");
    assert!(back.ends_with("&state=af0ifjs&iss=https%3A%2F%2Fwindlass.example.org"), "{back}");
    let code = back.split("code=").nth(1).unwrap().split('&').next().unwrap();

    let exchange = format!(
        "grant_type=authorization_code&client_id={id}&client_secret={secret}&code={code}\
         &redirect_uri=https%3A%2F%2Freports.example.org%2Fcallback\
         &code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let tokens = Browser::open().submit(&format!("{url}/api/v1/oauth/token"), exchange).await;
    let tokens: serde_json::Value = serde_json::from_str(&tokens.body).unwrap();
    let token = tokens["access_token"].as_str().unwrap_or_else(|| panic!("{tokens}"));
    let mut shown = folder.command(&["whoami"]);
    let shown = Ended::of(shown.env("WINDLASS_URL", &url).env("WINDLASS_TOKEN", token).output().unwrap());
    assert!(
        shown.expect(0).stdout.starts_with("application:reports for admin@localhost in tenant default"),
        "{}",
        shown.stdout
    );

    let mine = admin.run(&["oauth", "mine", "--json"], "").expect(0).json();
    let table = admin.run(&["oauth", "mine"], "");
    assert!(table.expect(0).stdout.contains("reports") && table.stdout.contains("runs.read"), "{}", table.stdout);
    admin.run(&["oauth", "withdraw", mine["items"][0]["id"].as_str().unwrap()], "").expect(0);
    let mut shown = folder.command(&["whoami"]);
    let shown = Ended::of(shown.env("WINDLASS_URL", &url).env("WINDLASS_TOKEN", token).output().unwrap());
    assert_eq!(shown.code, 5, "{}", shown.stderr);
    assert!(admin.run(&["oauth", "mine"], "").expect(0).stdout.is_empty());
}

/// What `docs/scim.md` and the groups of `docs/identity.md` type, and a provider's client.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_provisions_and_a_group_gives_a_role() {
    let folder = Folder::new();
    let (server, url) = serve(&folder, &["--public-url", "https://windlass.example.org/"]);
    let link = word(&server.until_printed("windlass login"), "wll_");
    let admin = Person { folder: &folder, url: &url, name: "admin" };
    admin.run(&["login", &link], "").expect(0);
    let json = |arguments: &[&str]| admin.run(&[arguments, &["--json"]].concat(), "").expect(0).json();
    let id = |value: &serde_json::Value| value["id"].as_str().unwrap().to_owned();
    let provider = json!({ "name": "company", "issuer": "https://login.example.org", "client_id": CLIENT,
        "server_url": "https://windlass.example.org" });
    let provider = id(&json(&["people", "identity-providers", "create", "--body", &provider.to_string()]));
    // Whoever signed in by the first link has a role of the installation alone, and may do everything.
    let key = word(&admin.run(&["api-keys", "create", "okta", "--provider", "company"], "").expect(0).stdout, "wl_");
    let claim = ["people", "identity-providers", "update", &provider, "--external-id-claim", "oid"];
    assert_eq!(json(&claim)["external_id_claim"], "oid");

    // It chooses who does TLS, for the whole process.
    drop(Browser::open());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask =
        |method: reqwest::Method, path: &str| client.request(method, format!("{url}/scim/v2{path}")).bearer_auth(&key);
    let body = json!({ "userName": "grace@example.org", "displayName": "Grace" });
    let made = ask(reqwest::Method::POST, "/Users").json(&body).send().await.unwrap();
    let made: serde_json::Value = made.json().await.unwrap();
    let place = made["meta"]["location"].as_str().unwrap_or_else(|| panic!("{made}"));
    assert!(place.starts_with("https://windlass.example.org/scim/v2/Users/"), "{made}");
    let listed = admin.run(&["people", "members", "list"], "");
    assert!(listed.expect(0).stdout.contains("grace@example.org"), "{}", listed.stdout);

    let group = id(&json(&["people", "groups", "create", "--name", "Night shift"]));
    json(&["people", "group-members", "create", "--group-id", &group, "--member-id", &id(&made)]);
    let roles = json(&["people", "roles", "list", "--where", "name=viewer"]);
    let role = roles["items"][0]["id"].as_str().unwrap();
    let given = json(&["people", "role-assignments", "create", "--group-id", &group, "--role-id", role]);
    assert_eq!((&given["member_id"], given["group_id"].as_str()), (&serde_json::Value::Null, Some(group.as_str())));

    let users = json(&["users", "list", "--where", "email=grace@example.org"]);
    let user = users["items"][0]["id"].as_str().unwrap();
    assert!(admin.run(&["users", "delete", user], "").expect(0).stdout.contains("deleted"));
    assert_eq!(admin.run(&["users", "delete", user], "").code, 4, "it is gone");
    assert_eq!(json(&["users", "list", "--deleted"])["items"][0]["id"], user);
    let gone = ask(reqwest::Method::GET, &format!("/Users/{}", id(&made))).send().await.unwrap();
    assert_eq!(gone.status(), 404);
    drop(server);
}
