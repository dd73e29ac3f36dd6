//! Roles on a folder or a workflow: who reaches what, as a matrix, and no way around.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    harness::{Answer, Api, send},
    identity::{administrator, member, member_id, with},
};

/// Waits for people; runs of it are paused, signalled and cancelled.
const ASKS: &str = "steps:\n  - { id: ok, type: approval, with: { title: May we? } }\n";
/// `report` lies in Billing, `invoice` in Invoices, which is in Billing, `payroll` in no folder.
const WORKFLOWS: [&str; 3] = ["report", "invoice", "payroll"];

/// Who asks: a name, the role that it has in the tenant, and one in a place.
type Caller = (&'static str, &'static str, Option<(&'static str, &'static str)>);

const CALLERS: &[Caller] = &[
    ("guest", "guest", None),
    ("seer", "guest", Some(("viewer", "Billing"))),
    ("reader", "guest", Some(("viewer", "invoice"))),
    ("operator", "guest", Some(("operator", "Billing"))),
    ("builder", "guest", Some(("builder", "Invoices"))),
    ("viewer", "viewer", None),
    ("mixed", "viewer", Some(("operator", "report"))),
];

/// A route, and what each caller is told of `report`, `invoice` and `payroll`: `o` is let in, `f` is 403, `n` is 404. `{w}` is
/// the workflow, `{i}` its id, `{f}` a file of it, `{r}` a run of it, `{a}` an approval of that.
const MATRIX: &[(&str, &str)] = &[
    //                             guest seer reader operator builder viewer mixed
    ("GET /workflows/{w}", "fff oon non oon non ooo ooo"),
    ("GET /workflows/{w}/versions", "fff oon non oon non ooo ooo"),
    ("GET /workflows/{w}/versions/1", "fff oon non oon non ooo ooo"),
    ("PUT /workflows/{w}", "fff fff fff fff non fff fff"),
    ("PATCH /workflows/{w}", "fff fff fff fff non fff fff"),
    ("POST /workflows/{w}/copies", "fff fff fff fff nnn fff fff"),
    ("POST /workflows/{w}/publish", "fff fff fff fff non fff fff"),
    ("POST /workflows/{w}/runs", "fff fff fff oon non fff off"),
    ("GET /runs/{r}", "fff oon non oon non ooo ooo"),
    ("GET /runs/{r}/steps", "fff oon non oon non ooo ooo"),
    ("GET /runs/{r}/journal", "fff oon non oon non ooo ooo"),
    ("GET /runs/{r}/events", "fff oon non oon non ooo ooo"),
    ("POST /runs/{r}/pause", "fff fff fff oon non fff off"),
    ("POST /runs/{r}/resume", "fff fff fff oon non fff off"),
    ("POST /runs/{r}/signals/go", "fff fff fff oon non fff off"),
    ("POST /runs/{r}/rerun", "fff fff fff oon non fff off"),
    ("POST /runs/{r}/fork", "fff fff fff oon non fff off"),
    ("POST /runs/{r}/undo", "fff fff fff oon non fff off"),
    ("POST /runs/{r}/steps/ok/settle", "fff fff fff oon non fff off"),
    ("POST /approvals/{a}/approve", "fff fff fff oon non fff off"),
    ("POST /approvals/{a}/reject", "fff fff fff oon non fff off"),
    ("POST /runs/{r}/cancel", "fff fff fff oon non fff off"),
    ("GET /state?workflow={w}", "fff oon non oon non ooo ooo"),
    ("POST /state", "fff fff fff oon non fff off"),
    ("GET /state/value?workflow={w}&key=k", "fff oon non oon non ooo ooo"),
    ("GET /files?workflow_id={i}", "fff oon non oon non ooo ooo"),
    ("GET /files?run_id={r}", "fff oon non oon non ooo ooo"),
    ("GET /files/{f}", "fff oon non oon non ooo ooo"),
    ("GET /files/{f}/content", "fff oon non oon non ooo ooo"),
    ("GET /file-versions?file_id={f}", "fff oon non oon non ooo ooo"),
    ("PATCH /files/{f}", "fff fff fff oon non fff off"),
    ("PUT /files/{f}/content", "fff fff fff oon non fff off"),
    ("POST /files?name=a&workflow_id={i}", "fff fff fff oon non fff off"),
    ("POST /files?name=a&run_id={r}", "fff fff fff oon non fff off"),
    ("POST /files?name=a&workflow_id={i}&run_id=019aa7d0-0000-7000-8000-000000000000", "fff fff fff nnn nnn fff nff"),
    ("DELETE /workflows/{w}", "fff fff fff fff non fff fff"),
    ("POST /workflows/{w}/restore", "fff fff fff fff non fff fff"),
    // What is no workflow's.
    ("GET /files", "fff fff fff fff fff ooo ooo"),
    ("GET /files/export", "fff fff fff fff fff ooo ooo"),
    ("GET /file-usage", "fff fff fff fff fff ooo ooo"),
    ("GET /file-links", "fff fff fff fff fff ooo ooo"),
    ("POST /files?name=a", "fff fff fff fff fff fff fff"),
    ("GET /state", "fff fff fff fff fff ooo ooo"),
    ("GET /tasks", "fff fff fff fff fff ooo ooo"),
    ("GET /folders", "fff fff fff fff fff ooo ooo"),
    ("GET /settings", "fff fff fff fff fff ooo ooo"),
    ("GET /secrets", "fff fff fff fff fff fff fff"),
    ("GET /role-assignments", "fff fff fff fff fff fff fff"),
    ("POST /events", "fff fff fff fff fff fff fff"),
    ("GET /step-types", "fff ooo ooo ooo ooo ooo ooo"),
];

struct Places {
    api: Api,
    admin: String,
    folders: Value,
    /// The id of each workflow, and of a file of it.
    ids: Vec<[String; 2]>,
}

fn id(of: &Value) -> String {
    of["id"].as_str().unwrap().to_owned()
}

impl Places {
    /// The workflows in their folders, each published, with a value of its state.
    async fn of(api: Api) -> Places {
        let admin = administrator(&api).await;
        let billing = api.post("/folders", json!({ "name": "Billing" })).await.expect(201);
        let invoices = json!({ "name": "Invoices", "parent_id": billing["id"] });
        let invoices = api.post("/folders", invoices).await.expect(201);
        let mut ids = Vec::new();
        for (name, folder) in [("report", Some(&billing)), ("invoice", Some(&invoices)), ("payroll", None)] {
            let query = folder.map(|folder| format!("?folder={}", id(folder))).unwrap_or_default();
            let workflow = id(&put(&api, &admin, (&format!("{name}{query}"), &document(name))).await.expect(201));
            api.post(&format!("/workflows/{name}/publish"), json!({})).await.expect(200);
            api.post("/state", json!({ "op": "set", "workflow": name, "key": "k", "value": 1 })).await.expect(200);
            let path = format!("/files?name=a&workflow_id={workflow}");
            let file = send(api.request(Method::POST, &path).body("text")).await.expect(201);
            ids.push([workflow, id(&file)]);
        }
        Places { api, admin, folders: json!({ "Billing": billing["id"], "Invoices": invoices["id"] }), ids }
    }

    /// Gives a member a role in a place: a folder or a workflow.
    async fn grant(&self, email: &str, (role, place): (&str, &str)) -> Answer {
        let role = self.api.get(&format!("/roles?name={role}")).await.expect(200)["items"][0]["id"].clone();
        let mut body = json!({ "member_id": member_id(&self.api, email).await, "role_id": role });
        match self.folders.get(place) {
            Some(folder) => body["folder_id"] = folder.clone(),
            None => {
                body["workflow_id"] = self.api.get(&format!("/workflows/{place}")).await.expect(200)["id"].clone();
            }
        }
        self.api.post("/role-assignments", body).await
    }

    /// Somebody with a role in the tenant and one in a place, signed in.
    async fn member(&self, name: &str, role: &str, place: Option<(&str, &str)>) -> String {
        let email = format!("{name}@example.org");
        let token = member(&self.api, &self.admin, (&email, role)).await;
        if let Some(place) = place {
            self.grant(&email, place).await.expect(201);
        }
        token
    }

    /// Puts a workflow elsewhere.
    async fn place(&self, workflow: &str, folder: &str) {
        let workflow = id(&self.api.get(&format!("/workflows/{workflow}")).await.expect(200));
        let found = self.api.get(&format!("/workflow-places?workflow_id={workflow}")).await.expect(200);
        let path = format!("/workflow-places/{}", id(&found["items"][0]));
        let body = json!({ "folder_id": self.folders[folder] });
        send(self.api.request(Method::PATCH, &path).json(&body)).await.expect(200);
    }
}

fn document(name: &str) -> String {
    format!("name: {name}\n{ASKS}")
}

async fn put(api: &Api, token: &str, (path, document): (&str, &str)) -> Answer {
    let request = api.bare(Method::PUT, &format!("/api/v1/workflows/{path}")).bearer_auth(token);
    send(request.header("content-type", "application/yaml").body(document.to_owned())).await
}

async fn get(api: &Api, token: &str, path: &str) -> Answer {
    with(api, token, (Method::GET, path), None).await
}

/// The letter of the matrix for what a caller is told.
async fn letter(api: &Api, token: &str, (method, path): (&Method, &str), workflow: &str) -> char {
    let request = api.bare(method.clone(), &format!("/api/v1{path}")).bearer_auth(token);
    let request = match (method, path) {
        (&Method::PATCH, path) if path.starts_with("/workflows") => request.json(&json!({ "is_template": true })),
        (&Method::PATCH, _) => request.json(&json!({ "description": "d" })),
        (_, path) if path.contains("/content") || path.starts_with("/files?name") => request.body("more"),
        (&Method::PUT, _) => request.header("content-type", "application/yaml").body(document(workflow)),
        (&Method::POST, "/state") => {
            request.json(&json!({ "op": "set", "workflow": workflow, "key": "k", "value": 2 }))
        }
        // In no folder of its own, nobody with places alone makes one.
        (&Method::POST, _) if path.ends_with("/copies") => request.json(&json!({ "name": format!("{workflow}-2") })),
        (&Method::POST, _) if path.ends_with("/fork") => request.json(&json!({ "at": "ok" })),
        (&Method::POST, _) if path.ends_with("/settle") => request.json(&json!({ "outcome": "again" })),
        (&Method::POST, _) if path.ends_with("/publish") => request.json(&json!({})),
        _ => request,
    };
    // A stream has no end while its run has none.
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let is_stream = response.headers().get("content-type").is_some_and(|it| it == "text/event-stream");
    let body = if is_stream { String::new() } else { response.text().await.unwrap() };
    // Within a run that is there, a step may be missing.
    let missing = ["no workflow `", "no run `", "no approval `", "no such file"];
    match status {
        404 if missing.iter().any(|it| body.contains(it)) => 'n',
        403 if body.contains(r#""code":"forbidden""#) => 'f',
        401 | 500.. => panic!("{method} {path}: {body}"),
        _ => 'o',
    }
}

pub async fn who_reaches_what(api: Api) {
    let places = Places::of(api).await;
    let api = &places.api;
    let mut tokens = Vec::new();
    for (name, role, place) in CALLERS {
        tokens.push(places.member(name, role, *place).await);
    }
    let mut wrong = Vec::new();
    for (route, expected) in MATRIX {
        let (method, template) = route.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        for ((name, ..), (token, expected)) in CALLERS.iter().zip(tokens.iter().zip(expected.split(' '))) {
            let mut found = String::new();
            for (workflow, [its_id, file]) in WORKFLOWS.into_iter().zip(&places.ids) {
                let mut path = template.replace("{w}", workflow).replace("{i}", its_id).replace("{f}", file);
                // Each is asked about a run of its own: what one did shall not hide what the next may.
                if template.contains("{r}") || template.contains("{a}") {
                    let run = api.start_run(workflow, json!({})).await;
                    if template.contains("{a}") {
                        let is_its = |it: &&Value| it["run_id"] == run.as_str();
                        let its = |page: &Value| page["items"].as_array().unwrap().iter().find(is_its).cloned();
                        let page = api.until("/approvals?status=pending", |page| its(page).is_some()).await;
                        path = path.replace("{a}", &id(&its(&page).unwrap()));
                    }
                    path = path.replace("{r}", &run);
                }
                found.push(letter(api, token, (&method, &path), workflow).await);
            }
            if found != *expected {
                wrong.push(format!("{route}: {name} is told {found}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names in a list, page after page of one row.
async fn listed(api: &Api, token: &str, (list, name): (&str, &str)) -> Vec<String> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let sign = if list.contains('?') { '&' } else { '?' };
        let page = get(api, token, &format!("{list}{sign}limit=1{after}")).await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() == 1 || page["next"].is_null(), "a page is full as long as there is more: {page}");
        all.extend(items.iter().map(|it| it[name].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { return all };
        after = format!("&after={next}");
    }
}

pub async fn lists_show_what_is_in_reach(api: Api) {
    let places = Places::of(api).await;
    let api = &places.api;
    // Runs of all workflows in turn, so that no page is full by chance.
    let mut runs = Vec::new();
    for _ in 0..2 {
        for workflow in WORKFLOWS {
            runs.push((api.start_run(workflow, json!({ "note": "ledger" })).await, workflow));
        }
    }
    let all_wait = |page: &Value| page["items"].as_array().unwrap().len() == runs.len();
    api.until("/approvals?status=pending", all_wait).await;
    api.until("/runs?q=ledger", all_wait).await;
    api.post(&format!("/runs/{}/cancel", runs[0].0), json!({})).await.expect(200);
    let newest = |names: &[&str]| -> Vec<String> {
        let of = |(run, workflow): &&(String, &str)| names.contains(workflow).then_some(run.clone()).is_some();
        runs.iter().rev().filter(of).map(|(run, _)| run.clone()).collect()
    };
    for (name, role, place, names) in [
        ("seer", "guest", Some(("viewer", "Billing")), &["invoice", "report"][..]),
        ("reader", "guest", Some(("viewer", "payroll")), &["payroll"]),
        ("viewer", "viewer", Some(("operator", "invoice")), &["invoice", "payroll", "report"]),
    ] {
        let token = places.member(name, role, place).await;
        assert_eq!(listed(api, &token, ("/workflows", "name")).await, names, "{name}");
        assert_eq!(listed(api, &token, ("/runs", "id")).await, newest(names), "{name}");
        assert_eq!(listed(api, &token, ("/approvals", "run_id")).await, newest(names), "{name}");
        assert_eq!(listed(api, &token, ("/workflows?q=may", "name")).await, names, "{name}");
        assert_eq!(listed(api, &token, ("/runs?q=ledger", "id")).await, newest(names), "{name}");
        assert_eq!(listed(api, &token, ("/runs?q=led*", "id")).await, newest(names), "{name}");
        let open: Vec<String> = newest(names).into_iter().filter(|run| *run != runs[0].0).collect();
        assert_eq!(listed(api, &token, ("/runs?status=waiting", "id")).await, open, "{name}");
        assert_eq!(listed(api, &token, ("/approvals?status=pending", "run_id")).await, open, "{name}");
        let cancelled = newest(names).into_iter().filter(|run| *run == runs[0].0).collect::<Vec<_>>();
        assert_eq!(listed(api, &token, ("/runs?status=cancelled,failed", "id")).await, cancelled, "{name}");
        for workflow in WORKFLOWS {
            let its = if names.contains(&workflow) { newest(&[workflow]) } else { Vec::new() };
            assert_eq!(listed(api, &token, (&format!("/runs?workflow={workflow}"), "id")).await, its, "{name}");
        }
    }
    // Who reaches nothing gets nothing, and not everything.
    let folder = api.post("/folders", json!({ "name": "Empty" })).await.expect(201);
    let token = places.member("empty", "guest", None).await;
    let role = api.get("/roles?name=viewer").await.expect(200)["items"][0]["id"].clone();
    let member = member_id(api, "empty@example.org").await;
    let given = json!({ "member_id": member, "role_id": role, "folder_id": folder["id"] });
    api.post("/role-assignments", given).await.expect(201);
    for list in ["/workflows", "/runs", "/approvals"] {
        assert_eq!(get(api, &token, list).await.expect(200)["items"], json!([]), "{list}");
    }
    // A folder that roles hold on is not deleted under them.
    let refused = send(api.request(Method::DELETE, &format!("/folders/{}", id(&folder)))).await;
    assert!(refused.problem(409, "in_use")["detail"].as_str().unwrap().contains("role assignments"));
}

pub async fn what_is_moved_is_in_reach_or_out_of_it_at_once(api: Api) {
    let places = Places::of(api).await;
    let api = &places.api;
    let seer = places.member("seer", "guest", Some(("viewer", "Invoices"))).await;
    let run = api.start_run("invoice", json!({})).await;
    let told = async || {
        let paths = ["/workflows/report".to_owned(), "/workflows/invoice".to_owned(), format!("/runs/{run}")];
        let mut statuses = Vec::new();
        for path in paths {
            statuses.push(get(api, &seer, &path).await.status.as_u16());
        }
        statuses
    };
    assert_eq!(told().await, [404, 200, 200]);
    places.place("invoice", "Billing").await;
    assert_eq!(told().await, [404, 404, 404]);
    // A folder takes along what lies in it.
    let path = format!("/folders/{}", places.folders["Billing"].as_str().unwrap());
    let inside = async |folder: &Value, parent: &Value| {
        let path = format!("/folders/{}", folder.as_str().unwrap());
        send(api.request(Method::PATCH, &path).json(&json!({ "parent_id": parent }))).await.expect(200)
    };
    inside(&places.folders["Invoices"], &Value::Null).await;
    inside(&places.folders["Billing"], &places.folders["Invoices"]).await;
    assert_eq!(told().await, [200, 200, 200]);
    send(api.request(Method::PATCH, &path).json(&json!({ "parent_id": null }))).await.expect(200);
    assert_eq!(told().await, [404, 404, 404]);
    places.place("invoice", "Invoices").await;
    assert_eq!(told().await, [404, 200, 200]);
    // A deleted workflow lies where it lay: its runs are there.
    send(api.request(Method::DELETE, "/workflows/invoice")).await.expect_text(204);
    assert_eq!(told().await, [404, 404, 200]);
    // What is taken away is gone at once.
    let member = member_id(api, "seer@example.org").await;
    let given = api.get(&format!("/role-assignments?member_id={member}&folder_id.null=false")).await.expect(200);
    let path = format!("/role-assignments/{}", id(&given["items"][0]));
    send(api.request(Method::DELETE, &path)).await.expect(204);
    assert_eq!(told().await, [403, 403, 403]);
}

pub async fn a_narrow_author_gets_around_nothing(api: Api) {
    let places = Places::of(api).await;
    let api = &places.api;
    let builder = places.member("builder", "guest", Some(("builder", "Invoices"))).await;
    let folder = |name: &str| places.folders[name].as_str().unwrap().to_owned();
    api.post("/secrets", json!({ "name": "bank", "value": "hush" })).await.expect(201);
    let steps = |name: &str, steps: &str| format!("name: {name}\nsteps:\n  - {steps}\n");
    let starts = |name: &str| format!("{{ id: a, type: workflow, with: {{ name: '{name}' }} }}");
    let state = |with: &str| format!("{{ id: a, type: state, with: {{ key: k, {with} }} }}");
    for (what, step, status) in [
        ("one of its own", starts("invoice"), 200),
        ("itself", starts("own"), 200),
        ("one around it", starts("report"), 403),
        ("one elsewhere", starts("payroll"), 403),
        ("one that is not there yet", starts("tomorrow"), 403),
        ("whatever is asked for", starts("${{ input.name }}"), 403),
        ("its own state", state("op: get, scope: workflow"), 200),
        ("the tenant's state", state("op: get, scope: tenant"), 403),
        ("change the tenant's state", state("op: set, value: 1, scope: tenant"), 403),
        ("an event", "{ id: a, type: emit, with: { type: a } }".to_owned(), 403),
        ("a secret", "{ id: a, type: http, with: { url: 'https://a.example', headers: { authorization: '${{ secrets.bank }}' } } }".to_owned(), 403),
    ] {
        let path = format!("own?folder={}", folder("Invoices"));
        let told = put(api, &builder, (&path, &steps("own", &step))).await;
        let status = if status == 200 && told.status == 201 { 201 } else { status };
        told.expect(status);
        if status == 403 {
            told.problem(403, "forbidden");
            assert!(!told.body.contains("hush"), "{what}: {}", told.body);
        }
    }
    // Who wrote a draft that asks for more has more; publishing it takes as much.
    put(api, &places.admin, ("own", &steps("own", &starts("payroll")))).await.expect(200);
    with(api, &builder, (Method::POST, "/workflows/own/publish"), None).await.problem(403, "forbidden");
    put(api, &builder, ("own", &steps("own", &starts("invoice")))).await.expect(200);
    with(api, &builder, (Method::POST, "/workflows/own/publish"), None).await.expect(200);
    // New ones lie where their maker may make them. A name is the tenant's: whoever may make one learns that it is taken.
    let elsewhere = "00000000-0000-7000-8000-000000000000";
    for (path, name, status, code) in [
        ("new".to_owned(), "new", 404, "not_found"),
        ("payroll".to_owned(), "payroll", 404, "not_found"),
        (format!("new?folder={}", folder("Billing")), "new", 404, "not_found"),
        (format!("new?folder={elsewhere}"), "new", 404, "not_found"),
        (format!("payroll?folder={}", folder("Invoices")), "payroll", 409, "taken"),
        (format!("invoice?folder={}", folder("Billing")), "invoice", 409, "lies_elsewhere"),
    ] {
        put(api, &builder, (&path, &document(name))).await.problem(status, code);
    }
    put(api, &places.admin, (&format!("new?folder={elsewhere}"), &document("new"))).await.problem(422, "invalid_input");
    api.get("/workflows/new").await.problem(404, "not_found");
    put(api, &builder, (&format!("new?folder={}", folder("Invoices")), &document("new"))).await.expect(201);
    let own = api.get(&format!("/workflows?folder={}", folder("Invoices"))).await.expect(200);
    let names: Vec<&str> = own["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["invoice", "new", "own"]);
    // Whoever starts one of his is not told by name what else does.
    put(api, &places.admin, ("payroll", &steps("payroll", &starts("new")))).await.expect(200);
    with(api, &builder, (Method::POST, "/workflows/new/publish"), None).await.expect(200);
    api.post("/workflows/payroll/publish", json!({})).await.expect(200);
    let used = with(api, &builder, (Method::DELETE, "/workflows/new"), None).await;
    used.problem(409, "in_use");
    assert!(!used.body.contains("payroll"), "{}", used.body);
}

pub async fn what_acts_for_somebody_is_as_narrow(api: Api) {
    let places = Places::of(api).await;
    let api = &places.api;
    let role = json!({ "name": "helper", "permissions": ["keys.write", "people.impersonate", "people.read"] });
    api.post("/roles", role).await.expect(201);
    let grace = places.member("grace", "helper", Some(("operator", "Billing"))).await;
    let told = async |token: &str, method: Method, suffix: &str| {
        let mut statuses = Vec::new();
        for workflow in WORKFLOWS {
            let path = format!("/workflows/{workflow}{suffix}");
            statuses.push(with(api, token, (method.clone(), &path), None).await.status.as_u16());
        }
        statuses
    };
    let me = get(api, &grace, "/me").await.expect(200);
    assert_eq!((&me["places"][0]["kind"], &me["places"][0]["name"]), (&json!("folder"), &json!("Billing")));
    let has = |name: &str| me["places"][0]["permissions"].as_array().unwrap().contains(&json!(name));
    assert!(has("runs.start") && !has("tasks.work") && !has("settings.read"), "{me}");
    // A key.
    let key = async |scopes: Value| {
        let body = json!({ "name": "mine", "scopes": scopes });
        with(api, &grace, (Method::POST, "/api-keys"), Some(body)).await
    };
    key(json!(["workflows.publish"])).await.problem(422, "invalid_input");
    let all = key(json!(["*"])).await.expect(201)["key"].as_str().unwrap().to_owned();
    assert_eq!(told(&all, Method::GET, "").await, [200, 200, 404]);
    assert_eq!(told(&all, Method::POST, "/runs").await, [202, 202, 404]);
    let few = key(json!(["workflows.read"])).await.expect(201)["key"].as_str().unwrap().to_owned();
    assert_eq!(told(&few, Method::GET, "").await, [200, 200, 404]);
    assert_eq!(told(&few, Method::POST, "/runs").await, [403, 403, 403]);
    // A model: it is offered what her rights in places open, and nothing else.
    let tools = super::mcp::tools_of(api, &grace).await;
    for (tool, offered) in [("start_run", true), ("list_files", true), ("list_folders", false), ("list_tasks", false)] {
        assert_eq!(tools.contains(tool), offered, "{tool}");
    }
    // Somebody in her name.
    let grace_id = member_id(api, "grace@example.org").await;
    let act = async |token: &str| {
        let body = json!({ "reason": "ticket 7" });
        with(api, token, (Method::POST, &format!("/members/{grace_id}/impersonate")), Some(body)).await
    };
    let acting = act(&places.admin).await.expect(201)["token"].as_str().unwrap().to_owned();
    assert_eq!(told(&acting, Method::GET, "").await, [200, 200, 404]);
    assert_eq!(told(&acting, Method::POST, "/runs").await, [202, 202, 404]);
    let run = api.start_run("report", json!({})).await;
    let is_its = |it: &&Value| it["run_id"] == run.as_str();
    let its = |page: &Value| page["items"].as_array().unwrap().iter().find(is_its).cloned();
    let page = api.until("/approvals?status=pending", |page| its(page).is_some()).await;
    let path = format!("/approvals/{}/approve", id(&its(&page).unwrap()));
    with(api, &acting, (Method::POST, &path), None).await.problem(403, "forbidden");
    // Who has as much in the same place may, and who has less may not.
    let peer = places.member("peer", "helper", Some(("builder", "Billing"))).await;
    let lesser = places.member("lesser", "helper", Some(("operator", "report"))).await;
    let acting = act(&peer).await.expect(201)["token"].as_str().unwrap().to_owned();
    assert_eq!(told(&acting, Method::GET, "").await, [200, 200, 404]);
    assert_eq!(told(&acting, Method::POST, "/publish").await, [403, 403, 403]);
    act(&lesser).await.problem(403, "forbidden");
}

pub async fn an_assignment_holds_in_one_place_and_gives_what_is_narrow(api: Api) {
    let places = Places::of(api).await;
    let api = &places.api;
    let keeper = places.member("keeper", "tenant_admin", None).await;
    places.member("grace", "guest", None).await;
    let role = |name: &'static str| async move {
        api.get(&format!("/roles?name={name}")).await.expect(200)["items"][0]["id"].clone()
    };
    let only = json!({ "name": "treasurer", "permissions": ["vault.use", "people.read"] });
    api.post("/roles", only).await.expect(201);
    let workflow = api.get("/workflows/report").await.expect(200)["id"].clone();
    let grace = member_id(api, "grace@example.org").await;
    let billing = &places.folders["Billing"];
    for (role, folder, workflow, place, word) in [
        (role("viewer").await, billing, &workflow, "/workflow_id", "one of them"),
        (role("treasurer").await, billing, &Value::Null, "/role_id", "nothing that is about"),
        (role("system_admin").await, billing, &Value::Null, "/role_id", "may not do yourself"),
        (role("viewer").await, &json!("019aa7d0-0000-7000-8000-000000000000"), &Value::Null, "/folder_id", ""),
    ] {
        let body = json!({ "member_id": grace, "role_id": role, "folder_id": folder, "workflow_id": workflow });
        let refused = with(api, &keeper, (Method::POST, "/role-assignments"), Some(body)).await;
        let error = refused.problem(422, "invalid_input")["errors"][0].clone();
        assert_eq!(error["pointer"], place);
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    for place in ["Billing", "Invoices", "report", "invoice"] {
        places.grant("grace@example.org", ("viewer", place)).await.expect(201);
        places.grant("grace@example.org", ("viewer", place)).await.problem(409, "taken");
    }
    // An administrator of a folder is none of the tenant: the last one stays.
    let admin = member_id(api, "keeper@example.org").await;
    places.grant("grace@example.org", ("tenant_admin", "Billing")).await.expect(201);
    let given = api.get(&format!("/role-assignments?member_id={admin}")).await.expect(200);
    let path = format!("/role-assignments/{}", id(&given["items"][0]));
    send(api.request(Method::DELETE, &path)).await.problem(422, "invalid_input");
    api.post(&format!("/members/{admin}/suspend"), json!({})).await.problem(422, "invalid_input");
    api.post(&format!("/members/{grace}/suspend"), json!({})).await.expect(200);
}
