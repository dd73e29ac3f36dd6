//! Steps whose server's own database goes away for a while: they wait for it, and it fails none of them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Form, Json, Router,
    routing::{any, post},
};
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use windlass_definition::Value as Plain;
use windlass_resource::records::vault::CREDENTIALS;
use windlass_runtime::{
    EventRequest, PublishedEvent, RuntimeError,
    secrets::Credentials as _,
    step::{Boxed, Events, Step, StepContext},
};
use windlass_steps::{
    credentials::Ready,
    egress::{Egress, EgressOptions, Tenants, address::PrivateNetwork},
    emit::{Emit, SigningKeys},
    http::Http,
    state::SharedState,
};
use windlass_store::{By, Location};

use crate::{
    common::{Scene, scene_in},
    egress::serve,
};

/// The way to the database. Shut, it breaks what goes through it and turns away whoever comes.
struct Door {
    address: SocketAddr,
    shut: watch::Sender<bool>,
    turned_away: watch::Receiver<u32>,
}

impl Door {
    async fn before(database: SocketAddr) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shut, is_shut) = watch::channel(false);
        let (count, turned_away) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if *is_shut.borrow() {
                    count.send_modify(|count| *count += 1);
                    continue;
                }
                let mut is_shut = is_shut.clone();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(database).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = is_shut.wait_for(|shut| *shut) => {}
                    }
                });
            }
        });
        Door { address, shut, turned_away }
    }

    /// Shuts it while the step is under way, until it was asked for more than once.
    async fn shut_during(&mut self, step: &dyn Step, scene: &Scene, with: Value) -> Value {
        self.shut.send_replace(true);
        let attempt = step.run(&scene.context, Plain::from(with));
        let (output, ()) = tokio::join!(attempt, self.open_again());
        output.map_or_else(|failure| json!(failure.error.code.to_string()), |output| output.to_serde())
    }

    /// Opens it once it has turned several away.
    async fn open_again(&mut self) {
        let before = *self.turned_away.borrow();
        // The server's lease is renewed beside what is tried, and is turned away too.
        self.turned_away.wait_for(|count| *count > before + 5).await.unwrap();
        self.shut.send_replace(false);
    }
}

/// A store behind a door.
async fn behind_a_door() -> (Door, Scene, windlass_testkit::Postgres) {
    let postgres = windlass_testkit::postgres().await;
    let (server, name) = postgres.url.rsplit_once('/').unwrap();
    let (user, database) = server.rsplit_once('@').unwrap();
    let door = Door::before(database.parse().unwrap()).await;
    let url = format!("{user}@{}/{name}?sslmode=disable", door.address);
    let scene = scene_in(Location::Postgres { url }).await;
    (door, scene, postgres)
}

#[tokio::test]
async fn what_asks_the_database_waits_for_it() {
    let (mut door, scene, _postgres) = behind_a_door().await;
    let answering = serve("127.0.0.1", Router::new().route("/", any(|| async { "here" }))).await;
    let tenants = Some(Tenants::of(|_| PrivateNetwork::Allow));
    let egress = Egress::new(EgressOptions { tenants, ..EgressOptions::default() }).unwrap();

    let with = json!({ "url": answering.as_str(), "response": "text" });
    let output = door.shut_during(&Http::new(egress), &scene, with).await;
    assert_eq!(output["body"], json!("here"), "{output}");
    let with = json!({ "op": "increment", "scope": "tenant", "key": "k" });
    assert_eq!(door.shut_during(&SharedState, &scene, with).await, json!(1));
}

/// Takes an event when it is handed in for the third time.
#[derive(Default)]
struct AtLast(Mutex<u32>);

impl Events for AtLast {
    fn publish(&self, _: EventRequest) -> Boxed<'_, Result<PublishedEvent, RuntimeError>> {
        let mut tries = self.0.lock().unwrap();
        *tries += 1;
        let taken = *tries == 3;
        let away = || RuntimeError::Unavailable { detail: "the database is away".to_owned() };
        Box::pin(async move { taken.then_some(PublishedEvent { duplicate: true, taken: 2 }).ok_or_else(away) })
    }
}

#[tokio::test]
async fn an_event_is_handed_in_again() {
    let mut scene = crate::common::scene().await;
    scene.context.events = Arc::new(AtLast::default());
    let step = Emit::new(Egress::new(EgressOptions::default()).unwrap(), SigningKeys::default());
    let output = step.run(&scene.context, Plain::from(json!({ "type": "a.b", "id": "1", "source": "/s" }))).await;
    assert_eq!(output.unwrap().to_serde(), json!({ "id": "1", "source": "/s", "taken": 2 }));
}

/// The token server gives a new refresh token for the old one, and the database is gone before it can be kept.
#[tokio::test]
async fn a_new_refresh_token_waits_for_the_database() {
    let (mut door, scene, _postgres) = behind_a_door().await;
    let StepContext { store, tenant, stop, .. } = &scene.context;
    let shut = door.shut.clone();
    let renewing = post(move |Form(asked): Form<BTreeMap<String, String>>| {
        shut.send_replace(true);
        let answer = json!({ "access_token": "access", "refresh_token": format!("after {}", asked["refresh_token"]) });
        async { Json(answer) }
    });
    let token_server = serve("127.0.0.1", Router::new().route("/", renewing)).await;
    let fields = json!({ "grant": "refresh_token", "token_url": token_server.as_str(), "client_id": "c" });
    let secret = json!({ "client_secret": "s", "refresh_token": "first" });
    let body = json!({ "name": "renewed", "credential_type": "oauth2", "fields": fields, "secret_fields": secret });
    let made = store.create_record(*tenant, &CREDENTIALS, &body, By::system()).await.unwrap();
    let id = made.json["id"].as_str().unwrap().parse().unwrap();
    let before = store.credential(*tenant, id).await.unwrap().unwrap();
    let options = EgressOptions { private_network: PrivateNetwork::Allow, ..EgressOptions::default() };
    let ready = Ready::new(Egress::new(options).unwrap());

    // Whoever asks with the revision that is over by the second time finds that it was changed, and may use what it got.
    for _ in 0..2 {
        let (sent, ()) = tokio::join!(ready.ready(store, *tenant, &before, stop), door.open_again());
        assert_eq!(sent.unwrap()["authorization"], json!("Bearer access"));
        let after = store.credential(*tenant, id).await.unwrap().unwrap();
        let secret: Value = serde_json::from_str(&after.secret_fields).unwrap();
        assert_eq!(secret, json!({ "client_secret": "s", "refresh_token": "after first" }));
    }
}
