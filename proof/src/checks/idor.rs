//! `idor`: every operation of the OpenAPI document, for every thing of one tenant, asked by another tenant, by a member of
//! the first one whose rights are on another workflow alone, by a token without permissions and by nobody. The other
//! tenant, and the member, are told what they would be told if the thing did not exist; no answer holds anything of the
//! first tenant; and nothing of it changes.
//!
//! On PostgreSQL all of it is asked again of servers that are blind: every condition on the tenant in their statements is
//! made true on its way to the database (`WINDLASS_BLIND`), so that row-level security alone keeps tenants apart. And once
//! more with that off for one table, where something has to be found: a lock that cannot fail is none.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use serde_json::{Value, json};
use windlass_bench::http::{Connection, Target};
use windlass_resource::{Ownership, records};
use windlass_testkit::look_at;

use crate::{
    Check, Counts, Plan,
    api::{Api, NO_ID, Operation, SCIM},
    client::{Client, Request},
    inhabited::{Inhabited, noun},
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

/// Stands in every text of the first tenant that can hold one, and nowhere else.
const MARK: &str = "canary-of-the-first-tenant";
/// The same of the other one.
const OTHER_MARK: &str = "something-of-the-second";

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "idor",
    about: "every route with every id of another tenant, from the OpenAPI document: no leak",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 2, long: 1_000 },
    run: |plan| idor(plan).boxed(),
};

/// The table that is opened to show that the second lock is what holds.
const OPENED: &str = "secrets";

/// What keeps the tenants apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locks {
    /// The conditions of the statements, and on PostgreSQL row-level security.
    All,
    /// Row-level security alone.
    Rows,
    /// The same, but for the rows of one table.
    RowsBut(&'static str),
}

/// Who asks, and what becomes of it.
struct Principal {
    name: &'static str,
    target: Target,
    who: Who,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// May do everything in another tenant.
    Other,
    /// May do everything in the first tenant, on another workflow alone.
    Narrow,
    /// May do hardly anything in the first tenant.
    Weak,
    Nobody,
}

impl Principal {
    /// What it has to be told about a thing that is not its own.
    fn expected(&self, operation: &Operation) -> u16 {
        match self.who {
            // What is the installation's is looked after by the first tenant alone.
            Who::Other if is_global(operation) => 403,
            Who::Other => 404,
            // Whoever comes in may ask about what is its own.
            Who::Narrow | Who::Weak if operation.is_for_all => 404,
            Who::Narrow if operation.is_within => 404,
            Who::Narrow | Who::Weak => 403,
            Who::Nobody => 401,
        }
    }

    /// What it has to be told where nothing is named; whoever sees something there is asked for what that holds.
    fn expected_of_list(&self, operation: &Operation) -> Option<u16> {
        match self.who {
            Who::Other => None,
            Who::Narrow if operation.is_within => None,
            Who::Narrow | Who::Weak => Some(403),
            Who::Nobody => Some(401),
        }
    }
}

impl Principal {
    /// With what it asks: for people of its own, the other tenant has the key of a provider.
    fn target<'a>(&'a self, operation: &Operation, provisions: &'a Target) -> &'a Target {
        if self.who == Who::Other && operation.path.starts_with(SCIM) { provisions } else { &self.target }
    }
}

/// An answer, as it is.
struct Told {
    status: u16,
    text: String,
}

async fn idor(plan: Plan) -> Result<Outcome> {
    let mut outcome = matrix(&plan, Locks::All).await?;
    if plan.database == Database::Postgres {
        outcome.add("only_row_security", matrix(&plan, Locks::Rows).await?);
        let found = matrix(&plan, Locks::RowsBut(OPENED)).await?.violation_count();
        outcome.at_least("found_without_it", found as u64, 1);
    }
    Ok(outcome)
}

/// Every operation for every thing, by every principal. Ids of each noun that are tried are the count of this check.
async fn matrix(plan: &Plan, locks: Locks) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let environment = if locks == Locks::All { vec![] } else { vec![("WINDLASS_BLIND".to_owned(), "1".to_owned())] };
    let world = World::prepare(plan, Setup { environment, ..Setup::default() }).await?;
    world.command_line(&["db", "init"])?;
    let other_tenant = world.command_line(&["tenants", "create", "--slug", "other", "--name", "Other"])?["id"].clone();
    let made = |name: &str, tenant: &str, scope: &str| -> Result<String> {
        let arguments = ["api-keys", "create", name, "--tenant", tenant, "--scope", scope];
        Ok(world.command_line(&arguments)?["key"].as_str().context("no key was made")?.to_owned())
    };
    let (other, weak) = (made("other", "other", "*")?, made("weak", "default", "metrics.read")?);
    world.start(0)?;
    let address = world.address(0);
    let target = |token: &str| Target { address, token: token.to_owned() };
    let mut first = Inhabited::fill(&world.client, MARK).await?;
    // The first tenant sees all tenants, but whoever sees the id of its own learns nothing.
    first.ids.retain(|id| other_tenant != **id);
    let narrow = narrow_member(&world.client).await?;
    let others = Client::new(&[address], &other);
    let second = Inhabited::fill(&others, OTHER_MARK).await?;
    first.add("received-delegations", &delegated(&others, &world.client).await?);
    let operations = Api::new(world.client.get("/openapi.json").await?).operations()?;
    let before = things(&world.client, &first).await?;
    if let Locks::RowsBut(table) = locks {
        let database = look_at(world.postgres_url().context("no PostgreSQL")?).await?;
        database.batch_execute(&format!("alter table {table} disable row level security")).await?;
    }
    // People are provisioned with the key of a provider.
    let provisions = target(&second.provisioning);
    let principals = [
        Principal { name: "another tenant", target: target(&other), who: Who::Other },
        Principal { name: "somebody with rights on another workflow", target: target(&narrow), who: Who::Narrow },
        Principal { name: "a token without permissions", target: target(&weak), who: Who::Weak },
        Principal { name: "a token that is none", target: target("wdl_none"), who: Who::Nobody },
    ];
    let (mut asked, mut tools, mut covered) = (0_u64, 0_u64, BTreeSet::new());
    let mut guarded: Vec<&Operation> = operations.iter().filter(|it| it.is_api && it.is_guarded).collect();
    // What the other tenant makes of its own may change what it is told: that comes last.
    guarded.sort_by_key(|it| !it.has_key());
    for operation in &guarded {
        let route = format!("{} {}", operation.method, operation.path);
        let keys = match operation.has_key() {
            true => first.keys.get(operation.noun()).map_or(&[][..], Vec::as_slice),
            false => &[],
        };
        for key in keys.iter().take(plan.count as usize) {
            covered.insert(route.clone());
            for principal in &principals {
                let told = ask(principal.target(operation, &provisions), operation, &operation.with_key(key)).await?;
                asked += 1;
                // Names of workflows are a tenant's own: both have one of that name, and the other one gets its own.
                let is_there = second.keys.get(operation.noun()).is_some_and(|it| it.contains(key));
                let own = is_there && principal.who == Who::Other;
                let expected = principal.expected(operation);
                if told.status != expected && !own {
                    outcome.violation(format!(
                        "{route} of {key}: {} is told {} {}",
                        principal.name, told.status, told.text
                    ));
                }
                leaks(&mut outcome, (&route, principal.name), &told.text, &first);
                if principal.who == Who::Narrow && operation.is_within {
                    let nothing = if operation.noun() == "workflows" { "no-such-workflow" } else { NO_ID };
                    let of_nothing = ask(&principal.target, operation, &operation.with_key(nothing)).await?;
                    asked += 1;
                    if said(&told, key) != said(&of_nothing, nothing) {
                        outcome.violation(format!("{route} of {key}: {} is told that it is there", principal.name));
                    }
                }
                // The same by its tool. A stream has none, and no tool is served to nobody.
                let told = call(&principal.target, operation, key).await?;
                asked += 1;
                tools += u64::from(told.status != NO_TOOL);
                if told.status != expected && told.status != NO_TOOL && !own {
                    outcome.violation(format!(
                        "tool {}: {} is told {} {}",
                        operation.id, principal.name, told.status, told.text
                    ));
                }
                leaks(&mut outcome, (&operation.id, principal.name), &told.text, &first);
            }
        }
        if !operation.has_key() {
            covered.insert(route.clone());
            for principal in &principals {
                // Whoever comes in sees itself.
                if operation.is_for_all && principal.who != Who::Nobody {
                    continue;
                }
                for path in lists(operation, &first) {
                    let told = ask(principal.target(operation, &provisions), operation, &path).await?;
                    asked += 1;
                    if principal.expected_of_list(operation).is_some_and(|status| told.status != status) {
                        outcome.violation(format!("{route}: {} is told {} {}", principal.name, told.status, told.text));
                    }
                    leaks(&mut outcome, (&route, principal.name), &told.text, &first);
                }
            }
        }
    }
    for operation in &guarded {
        let route = format!("{} {}", operation.method, operation.path);
        if !covered.contains(&route) {
            outcome.violation(format!("{route}: nothing is there to try it with"));
        }
    }
    let own_runs = Client::new(&[address], &narrow).list("/runs").await?.len();
    for (noun, rows) in things(&world.client, &first).await? {
        if before.get(&noun) != Some(&rows) {
            outcome.violation(format!("{noun} of the first tenant have changed: {:?}, now {rows}", before.get(&noun)));
        }
    }
    world.stop(0)?;
    outcome.at_least("operations", covered.len() as u64, 50);
    outcome.at_least("asked", asked, 300);
    outcome.at_least("asked_by_tools", tools, 100);
    outcome.at_least("things", first.ids.len() as u64, 30);
    outcome.at_least("own_runs_of_the_narrow", own_runs as u64, 1);
    match locks {
        // What is found there is what is looked for.
        Locks::RowsBut(_) => world.end(&Outcome::default()),
        _ => world.end(&outcome),
    }
    Ok(outcome)
}

/// A delegation of one tenant that another accepted: its id.
async fn delegated(from: &Client, to: &Client) -> Result<String> {
    let offer = json!({ "role": "viewer", "reason": OTHER_MARK });
    let link = from.must(&Request::post("/delegations", &offer)).await?["link"].clone();
    let accepted = to.must(&Request::post("/received-delegations", &json!({ "link": link }))).await?;
    Ok(accepted["id"].as_str().context("nothing was accepted")?.to_owned())
}

/// Somebody in the client's tenant who may do everything on a workflow that nothing else has to do with; a session.
async fn narrow_member(client: &Client) -> Result<String> {
    let document = "name: elsewhere\nsteps:\n  - { id: w, type: wait, with: { signal: go } }\n";
    let workflow = client.must(&Request::put_yaml("/workflows/elsewhere".to_owned(), document)).await?;
    client.must(&Request::post("/workflows/elsewhere/publish", &json!({}))).await?;
    client.must(&Request::post("/workflows/elsewhere/runs", &json!({}))).await?;
    let body = json!({ "email": "narrow@example.org", "role": "guest" });
    let link = client.must(&Request::post("/invitations", &body)).await?["link"].clone();
    let body = json!({ "link": link, "name": "Narrow", "password": "correct horse battery" });
    let joined = client.must(&Request::post("/invitations/accept", &body)).await?;
    let member = client.get("/members?email=narrow@example.org").await?["items"][0]["id"].clone();
    let role = client.get("/roles?name=tenant_admin").await?["items"][0]["id"].clone();
    let body = json!({ "member_id": member, "role_id": role, "workflow_id": workflow["id"] });
    client.must(&Request::post("/role-assignments", &body)).await?;
    Ok(joined["token"].as_str().context("no session")?.to_owned())
}

/// What an answer says, whatever it is about and whoever asks.
fn said(told: &Told, key: &str) -> (u16, String) {
    let mut problem: Value = serde_json::from_str(&told.text).unwrap_or_default();
    if let Some(fields) = problem.as_object_mut() {
        fields.remove("request_id");
    }
    (told.status, problem.to_string().replace(key, "it"))
}

/// Whether it is about records that belong to the installation.
fn is_global(operation: &Operation) -> bool {
    records::ALL.iter().any(|record| record.ownership == Ownership::Global && noun(record) == operation.noun())
}

/// Paths of an operation that names nothing: as it is, and asked about things of the first tenant.
fn lists(operation: &Operation, first: &Inhabited) -> Vec<String> {
    let mut paths = vec![operation.path.clone()];
    if operation.method == "GET" {
        let run = first.keys.get("runs").and_then(|it| it.first()).map_or(NO_ID, String::as_str);
        paths.extend([format!("{}?after={run}", operation.path), format!("{}?q={MARK}", operation.path)]);
        paths.extend((operation.noun() == "runs").then(|| format!("/runs?parent={run}")));
    }
    paths
}

/// Whether an answer holds anything that is the first tenant's alone.
fn leaks(outcome: &mut Outcome, (route, who): (&str, &str), text: &str, first: &Inhabited) {
    if text.contains(MARK) {
        outcome.violation(format!("{route}: {who} sees the first tenant's texts"));
    }
    for id in first.ids.iter().filter(|id| text.contains(*id)) {
        // A problem names what was asked for; that tells nobody anything.
        if !text.contains("urn:windlass:problem") {
            outcome.violation(format!("{route}: {who} sees {id}"));
        }
    }
}

/// Everything of a tenant that anybody could change.
async fn things(client: &Client, of: &Inhabited) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    // That somebody asks is counted, whatever comes of it.
    // What identity providers see are members and groups, which are here by these names.
    let nouns = of.keys.keys().filter(|noun| noun.starts_with(|first: char| first.is_ascii_lowercase()));
    for noun in nouns.filter(|noun| *noun != "api-key-usage") {
        let mut rows = client.list(&format!("/{noun}")).await?;
        for row in rows.iter_mut().filter_map(Value::as_object_mut).filter(|_| noun == "api-keys") {
            row.remove("last_used_at");
        }
        all.insert(noun.clone(), json!(rows));
    }
    Ok(all)
}

/// The status of a tool that is not there.
const NO_TOOL: u16 = 0;

/// Calls an operation's tool; its status is that of the answer which it gives.
async fn call(target: &Target, operation: &Operation, key: &str) -> Result<Told> {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": operation.id, "arguments": operation.arguments(key) } });
    let headers = format!(
        "authorization: Bearer {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n",
        target.token
    );
    let mut connection = Connection::open(target.address).await?;
    let request = windlass_bench::http::request(("POST", "/mcp"), target.address, &headers, &call.to_string());
    let answer = connection.send(&request).await.with_context(|| operation.id.clone())?;
    let text = String::from_utf8_lossy(answer.body).into_owned();
    let said: Value = serde_json::from_str(&text).unwrap_or_default();
    let result = &said["result"];
    let status = match (answer.status, result["isError"] == true) {
        (200, true) => {
            result["structuredContent"]["status"].as_u64().and_then(|it| u16::try_from(it).ok()).unwrap_or(500)
        }
        (200, false) if result.is_null() => NO_TOOL,
        (status, _) => status,
    };
    Ok(Told { status, text })
}

async fn ask(target: &Target, operation: &Operation, path: &str) -> Result<Told> {
    let body = if operation.body.is_null() { String::new() } else { operation.body.to_string() };
    let mut connection = Connection::open(target.address).await?;
    let answer = connection.send(&target.request(&operation.method, path, &body)).await;
    let answer = answer.with_context(|| format!("{} {path}", operation.method))?;
    Ok(Told { status: answer.status, text: String::from_utf8_lossy(answer.body).into_owned() })
}
