//! A tenant that has something of everything: workflows, runs that wait, approvals, tasks, and a row of each record.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use windlass_resource::{
    Access, Kind, Ownership, Record, Writing,
    records::{self, files::FILES},
};
use windlass_testkit::sign_on::{Browser, CLIENT, Fake, SECRET};

use crate::{
    client::{Client, Request, TRY_EVERY},
    load::examples,
};

/// What is deployed, and how often it is started: runs that wait for people, for a signal and for workers.
const WORKFLOWS: [(&str, u32); 3] = [("approval", 6), ("signal", 6), ("python-task", 3)];
/// How long it may take until all of them wait.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// What the person chooses who is there.
const PASSWORDS: [&str; 2] = ["correct horse battery", "staple correct horse"];
/// Where an application has people sent back to, as it is and as a form has it.
const BACK: &str = "https://application.example.org/back";
const BACK_ESCAPED: &str = "https%3A%2F%2Fapplication.example.org%2Fback";
/// The example of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// Workflows are known by their names in paths.
const WORKFLOWS_NOUN: &str = "workflows";
/// So are settings; every tenant has all of them.
const SETTINGS: (&str, &str) = ("settings", "retain_days");

/// By which names and ids a tenant's things are reached.
#[derive(Debug, Default)]
pub struct Inhabited {
    /// For each noun of the API's paths what stands behind it: `runs` has ids, `workflows` names.
    pub keys: BTreeMap<String, Vec<String>>,
    /// The ids of all rows, also of those that paths know by another name.
    pub ids: Vec<String>,
    /// The key of an identity provider that provisions people.
    pub provisioning: String,
}

impl Inhabited {
    /// Fills the tenant of that client. `mark` stands in every text that can hold one.
    ///
    /// # Errors
    /// The server refuses something.
    pub async fn fill(client: &Client, mark: &str) -> Result<Inhabited> {
        let mut filled = Inhabited::default();
        let mut workflow_ids = Vec::new();
        for (name, runs) in WORKFLOWS {
            let workflow =
                client.must(&Request::put_yaml(format!("/workflows/{name}"), &examples::text(name)?)).await?;
            client.must(&Request::post(format!("/workflows/{name}/publish"), &json!({}))).await?;
            workflow_ids.extend(workflow["id"].as_str().map(str::to_owned));
            filled.add(WORKFLOWS_NOUN, name);
            for _ in 0..runs {
                let start = json!({ "input": { "what": mark, "texts": [mark, mark] }, "labels": { "mark": mark } });
                client.must(&Request::post(format!("/workflows/{name}/runs"), &start)).await?;
            }
        }
        people(client, mark).await?;
        filled.provision(client, mark).await?;
        ensure!(workflow_ids.len() == WORKFLOWS.len(), "workflows have no ids: {workflow_ids:?}");
        filled.ids.extend(workflow_ids.iter().cloned());
        for (noun, query, count) in
            [("runs", "", 15), ("approvals", "status=pending", 6), ("tasks", "status=pending", 6)]
        {
            for id in wait_for(client, &format!("/{noun}?{query}"), count).await? {
                filled.add(noun, &id);
            }
        }
        for record in records::ALL {
            let list = format!("/{}", noun(record));
            let is_own = record.ownership == Ownership::Tenant;
            if is_own && matches!(record.writing, Writing::Full | Writing::Link | Writing::Append) {
                let body = body(record, &filled, &workflow_ids, mark)?;
                client.must(&Request::post(list.as_str(), &body)).await?;
            }
            if record.name == FILES.name {
                client.must(&Request::post(format!("/files?name={mark}"), &json!({ "what": mark }))).await?;
            }
            // What is the installation's is shown to its first tenant alone.
            if !is_own && client.ask(&Request::get(list.as_str())).await?.status == 403 {
                continue;
            }
            for row in client.list(&list).await? {
                let id = row["id"].as_str().context("a row without an id")?;
                // Whoever ends what it came in with is out.
                if record.name == "api_keys" && row["name"] != mark {
                    continue;
                }
                filled.add(&noun(record), id);
            }
        }
        let names = [WORKFLOWS_NOUN, SETTINGS.0, "ResourceTypes", "Schemas"];
        filled.add(SETTINGS.0, SETTINGS.1);
        let keys = filled.keys.iter().filter(|(noun, _)| !names.contains(&noun.as_str()));
        let keys = keys.flat_map(|(_, keys)| keys.clone());
        filled.ids.extend(keys.collect::<Vec<_>>());
        Ok(filled)
    }

    /// Somebody whom the provider provisions, and a group.
    async fn provision(&mut self, client: &Client, mark: &str) -> Result<()> {
        let made =
            client.must(&Request::post("/api-keys", &json!({ "name": "of a provider", "provider": "fake" }))).await?;
        self.provisioning = made["key"].as_str().context("no key")?.to_owned();
        let provider = client.of(&self.provisioning);
        let user = json!({ "userName": format!("provisioned-{mark}@example.org"), "displayName": mark });
        let user = provider.must(&Request::post("/scim/v2/Users", &user)).await?;
        let group = json!({ "displayName": format!("{mark} of a provider"), "members": [{ "value": user["id"] }] });
        let group = provider.must(&Request::post("/scim/v2/Groups", &group)).await?;
        for (noun, key) in [("Users", &user["id"]), ("Groups", &group["id"])] {
            self.add(noun, key.as_str().context("no id")?);
        }
        self.add("ResourceTypes", "User");
        self.add("Schemas", "urn:ietf:params:scim:schemas:core:2.0:User");
        Ok(())
    }

    /// What stands behind a noun, besides.
    pub fn add(&mut self, noun: &str, key: &str) {
        self.keys.entry(noun.to_owned()).or_default().push(key.to_owned());
    }
}

/// Somebody who joined, chose another password, began a second factor and has lost both; somebody who has not joined yet;
/// a key that was used. Gives what of that nobody is shown again.
///
/// # Errors
/// The server refuses something.
pub async fn people(client: &Client, mark: &str) -> Result<Vec<String>> {
    let invite = |name: &str| {
        let body = json!({ "email": format!("{name}-{mark}@example.org"), "role": "operator" });
        Request::post("/invitations", &body)
    };
    client.must(&invite("late")).await?;
    let link = client.must(&invite("early")).await?["link"].clone();
    let joins = json!({ "link": link, "name": mark, "password": PASSWORDS[0] });
    let joined = client.must(&Request::post("/invitations/accept", &joins)).await?;
    let session = client.of(joined["token"].as_str().context("no session")?);
    let change = json!({ "current": PASSWORDS[0], "new": PASSWORDS[1] });
    session.must(&Request::put("/me/password", &change)).await?;
    let factor = session.must(&Request::post("/me/second-factor", &json!({ "password": PASSWORDS[1] }))).await?;
    let members = client.list("/members").await?;
    let user = members.iter().find_map(|it| it["user_id"].as_str()).context("no member")?;
    // Only the first tenant may.
    client.ask(&Request::post(format!("/users/{user}/link"), &json!({}))).await?;
    let key = client.must(&Request::post("/api-keys", &json!({ "name": mark, "scopes": ["runs.read"] }))).await?;
    by_provider(client, mark).await?;
    let held = application(client, (&session, mark)).await?;
    wait_for(client, "/api-key-usage", 1).await?;
    let delegation = json!({ "role": "viewer", "reason": mark });
    let delegation = client.must(&Request::post("/delegations", &delegation)).await?;
    let shown_once = [&link, &joined["token"], &factor["secret"], &key["key"], &delegation["link"]];
    let shown_once = shown_once.into_iter().map(|it| it.as_str().map(str::to_owned).context("nothing was shown"));
    let typed = PASSWORDS.into_iter().chain([SECRET]).map(|it| Ok(it.to_owned())).chain(held.into_iter().map(Ok));
    shown_once.chain(typed).collect()
}

/// Somebody who came by an identity provider.
async fn by_provider(client: &Client, mark: &str) -> Result<()> {
    let (fake, base) = (Fake::start().await, client.base());
    fake.is(json!({ "sub": mark, "email": format!("by-provider-{mark}@example.org"), "email_verified": true }));
    let role = client.get("/roles?name=viewer").await?["items"][0]["id"].clone();
    let provider = json!({
        "name": "fake", "issuer": fake.issuer, "client_id": CLIENT, "client_secret": SECRET, "server_url": base,
        "email_domains": ["example.org"], "default_role_id": role,
    });
    client.must(&Request::post("/identity-providers", &provider)).await?;
    let tenant = client.get("/me").await?["tenant"].as_str().context("no tenant")?.to_owned();
    let (mut browser, begin) = (Browser::open(), format!("{base}/api/v1/sign-in/oidc/fake"));
    let end = browser.until(&format!("{begin}?tenant={tenant}"), &format!("{begin}/callback")).await;
    let page = browser.get(&end).await;
    ensure!(page.status == 303, "nobody came by the provider: {}", page.body);
    Ok(())
}

/// An application that somebody lets act in its name, and what it holds of that.
async fn application(client: &Client, (session, mark): (&Client, &str)) -> Result<Vec<String>> {
    let body = json!({
        "name": format!("of {mark}"), "client_type": "confidential", "redirect_uris": [BACK], "scopes": ["runs.read"],
    });
    let made = client.must(&Request::post("/oauth-applications", &body)).await?;
    let id = made["id"].as_str().context("no application")?;
    let made = client.must(&Request::post(format!("/oauth-applications/{id}/secret"), &json!({}))).await?;
    let secret = made["client_secret"].as_str().context("no secret")?;
    let request = json!({
        "response_type": "code", "client_id": id, "redirect_uri": BACK, "state": mark,
        "code_challenge": CHALLENGE, "code_challenge_method": "S256",
    });
    let approval = json!({ "decision": "approve", "request": request });
    let answer = session.must(&Request::post("/me/authorization", &approval)).await?;
    let back = answer["redirect_to"].as_str().unwrap_or_default();
    let code = back.split_once("code=").and_then(|(_, rest)| rest.split('&').next()).context("no code")?;
    let exchange = format!(
        "grant_type=authorization_code&client_id={id}&client_secret={secret}&code={code}&redirect_uri={BACK_ESCAPED}\
         &code_verifier={VERIFIER}"
    );
    let (mut browser, way) = (Browser::open(), format!("{}/api/v1/oauth/token", client.base()));
    let page = browser.submit(&way, exchange).await;
    let tokens: Value = serde_json::from_str(&page.body)?;
    let text = |name: &str| tokens[name].as_str().map(str::to_owned).with_context(|| format!("no {name}: {tokens}"));
    Ok(vec![secret.to_owned(), code.to_owned(), text("access_token")?, text("refresh_token")?])
}

/// A record's noun in paths.
pub fn noun(record: &Record) -> String {
    record.name.replace('_', "-")
}

/// Its first example, with references to what is there, and the mark in a text that takes any.
fn body(record: &Record, filled: &Inhabited, workflows: &[String], mark: &str) -> Result<Value> {
    let example = record.examples.first().with_context(|| format!("{} has no example", record.name))?;
    let mut body: Map<String, Value> = serde_json::from_str(example)?;
    for column in record.columns {
        match column.kind {
            Kind::Reference { to, .. } if body.contains_key(column.name) => {
                let keys = if to == "workflows" {
                    Some(workflows)
                } else {
                    filled.keys.get(&to.replace('_', "-")).map(Vec::as_slice)
                };
                let id =
                    keys.and_then(<[String]>::first).with_context(|| format!("{}: no row of {to}", record.name))?;
                body.insert(column.name.to_owned(), json!(id));
            }
            Kind::Text { pattern: None, .. } if column.searchable && column.access != Access::ReadOnly => {
                body.insert(column.name.to_owned(), json!(mark));
            }
            _ => {}
        }
    }
    Ok(Value::Object(body))
}

/// The ids of a list, once it has so many.
async fn wait_for(client: &Client, path: &str, count: usize) -> Result<Vec<String>> {
    let looking = async {
        loop {
            let rows = client.list(path).await?;
            if rows.len() >= count {
                return Ok(rows.iter().filter_map(|row| row["id"].as_str()).map(str::to_owned).collect());
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    };
    match tokio::time::timeout(READY_WITHIN, looking).await {
        Ok(found) => found,
        Err(_) => bail!("{path} has not {count} after {} s", READY_WITHIN.as_secs()),
    }
}
