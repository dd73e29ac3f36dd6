//! `windlass demo run`: what `make run` calls. A server, the demo shop, the examples, and the order saga to its end.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use windlass_server::settings::Told;

use super::{Context, deploy, start};
use crate::{
    args::DemoRunArgs,
    client::{Call, Client},
    demo::shop,
    exit::{Exit, Failure, Outcome},
    follow::{Ended, Follow, Show},
    input::WorkflowFile,
    output,
    place::{self, Allowed, At, Database},
    serving::{Server, Serving, StopSignals},
};

/// The example that is run.
const SAGA: &str = "order-saga";
/// How long open requests and running steps have when the demo stops.
const GRACE_SECONDS: &str = "5";

/// Shows the saga, and serves until Ctrl-C where there is a terminal.
///
/// # Errors
/// Something cannot start, or an example is refused.
pub async fn run(args: DemoRunArgs, context: &Context) -> Outcome {
    let database = context.database()?;
    let described = database.describe();
    let shop = open_shop(&args, ledger_of(&database)).await?;
    let grace = place::chosen("grace_seconds", GRACE_SECONDS)?;
    // The shop is on this machine.
    let environment =
        vec![place::chosen("listen", &args.listen.to_string())?, grace, place::chosen("private_networks", "all")?];
    let serving = Serving {
        database,
        bootstrap_token: std::env::var("WINDLASS_BOOTSTRAP_TOKEN").ok(),
        allowed: Allowed::default(),
        settings: Told { environment, ..Told::default() },
        log: None,
    };
    let server = Server::start(serving).await?;
    let client = Client::Local(server.local());
    let shown = show(&client, &args, &shop, context).await;
    let stays = std::io::stdin().is_terminal() && shown.is_ok();
    if !context.json() {
        announce(&server, &described, stays)?;
    }
    if stays {
        StopSignals::heed().next().await;
    }
    server.stop().await;
    shop.task.abort();
    shown
}

struct Shop {
    url: String,
    task: JoinHandle<()>,
}

/// The ledger stands beside the data, so that both are kept or thrown away together.
fn ledger_of(database: &Database) -> PathBuf {
    match &database.at {
        At::Directory(directory) => directory.join("shop-ledger.jsonl"),
        At::Postgres(_) => "shop-ledger.jsonl".into(),
    }
}

async fn open_shop(args: &DemoRunArgs, ledger: PathBuf) -> Result<Shop, Failure> {
    let unreachable = |what: String| Failure::new(Exit::Unreachable, "shop", what);
    let listener = TcpListener::bind(args.shop).await;
    let listener =
        listener.map_err(|error| unreachable(format!("the shop cannot listen on {}: {error}", args.shop)))?;
    let url = format!("http://{}", listener.local_addr()?);
    if let Some(directory) = ledger.parent().filter(|it| !it.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory)?;
    }
    let router = shop::router(shop::ShopOptions { ledger })
        .map_err(|error| unreachable(format!("the shop cannot open its ledger: {error}")))?;
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            output::note(format!("the shop stopped: {error}"));
        }
    });
    Ok(Shop { url, task })
}

async fn show(client: &Client, args: &DemoRunArgs, shop: &Shop, context: &Context) -> Outcome {
    let deployed = deploy_examples(client, &args.examples).await?;
    if !context.json() {
        output::line(format!("deployed {deployed} examples from {}", args.examples.display()))?;
    }
    let order = json!({
        "order_id": format!("demo-{}", chrono::Utc::now().format("%Y%m%d-%H%M%S")),
        "amount": 42,
        "shop": shop.url,
        "lines": [{ "sku": "tea", "quantity": 2 }, { "sku": "pot", "quantity": 1 }, { "sku": "cup", "quantity": 4 }],
    });
    let call = Call::post(format!("/workflows/{SAGA}/runs")).json(&json!({ "input": order }));
    let run: Value = client.send(call).await?.read()?;
    let run = run["id"].as_str().unwrap_or_default().to_owned();
    let show = if context.json() { Show::Nothing } else { Show::People };
    let ended = Follow { client, run: &run, name: SAGA, show, place: "" }.to_end().await?;
    let answer = client.send(Call::get(format!("/runs/{run}"))).await?;
    let view: Value = answer.read()?;
    if context.json() {
        output::line(answer.text())?;
    } else {
        output::line(format!(
            "{SAGA} {run} is {}",
            output::table::status(view["status"].as_str().unwrap_or_default())
        ))?;
        start::show_result(&view)?;
    }
    match ended {
        Ended::Finished => Ok(start::exit_of(&view, true)),
        Ended::Interrupted => Ok(Exit::NotCompleted),
    }
}

async fn deploy_examples(client: &Client, folder: &Path) -> Result<usize, Failure> {
    let mut files = Vec::new();
    for folder in [folder.to_path_buf(), folder.join("wfinstances")] {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        files.extend(
            entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "yaml")),
        );
    }
    if files.is_empty() {
        let message = format!(
            "there are no examples in {}: run this in the project's folder, or name --examples",
            folder.display()
        );
        return Err(Failure::refused(message));
    }
    files.sort();
    for path in &files {
        deploy::deploy(client, &WorkflowFile::read(path)?, deploy::Publish::Yes).await?;
    }
    Ok(files.len())
}

fn announce(server: &Server, described: &str, stays: bool) -> Result<(), Failure> {
    if let Some(link) = &server.first_link {
        output::line(format!("link   {link}"))?;
        output::line("       signs the administrator in, once, within a day: windlass login LINK")?;
    }
    if stays {
        output::line(format!("windlass serves {} from {described}; Ctrl-C stops it", server.url()))?;
    }
    Ok(())
}
