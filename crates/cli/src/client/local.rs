//! The API in this process, straight on a database.

use std::time::Duration;

use axum::body::Body;
use futures::{StreamExt, TryStreamExt};
use http::Request;
use windlass_runtime::Runtime;
use windlass_server::{App, Gate, Service, settings::Told};

use super::{Answer, Call, Pieces, SentFile};
use crate::{
    exit::{Exit, Failure},
    place::{self, Allowed, Database},
};

/// How long what runs has to come to rest when a command leaves.
const GRACE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// The API in this process.
pub struct Local {
    app: App,
    service: Service,
}

impl Local {
    /// Opens the database and turns its runs.
    ///
    /// # Errors
    /// The database cannot be opened, or another process has it.
    pub async fn open(database: &Database, allowed: Allowed, told: Told) -> Result<Local, Failure> {
        let place::Opened { runtime, settings, .. } = place::open_server(database, allowed, told).await?;
        runtime.store().keep_roles().await.map_err(place::of_store)?;
        Ok(Local::of(App::new(runtime, Gate::Local).with_settings(settings)))
    }

    /// The API of a server in this process.
    pub fn of(app: App) -> Local {
        Local { service: Service::of(&app), app }
    }

    /// The runtime itself.
    pub fn runtime(&self) -> &Runtime {
        self.app.runtime()
    }

    /// The server in this process, behind no gate.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Sends it and takes the whole answer.
    ///
    /// # Errors
    /// The answer is over the bound.
    pub async fn send(&self, call: Call) -> Result<Answer, Failure> {
        whole(self.call(call).await?).await
    }

    /// Sends it with that file as its body.
    ///
    /// # Errors
    /// The answer is over the bound.
    pub async fn send_file(&self, call: Call, file: SentFile) -> Result<Answer, Failure> {
        let mut call = call;
        call.headers.extend(file.bytes.map(|bytes| ("content-length", bytes.to_string())));
        whole(self.ask(call, Body::from_stream(file.pieces)).await?).await
    }

    /// Sends it and takes the answer piece by piece.
    ///
    /// # Errors
    /// The answer is a problem.
    pub async fn stream(&self, call: Call) -> Result<Pieces, Failure> {
        let response = self.call(call).await?;
        if !response.status().is_success() {
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
            Answer { status: parts.status, headers: parts.headers, body }.or_problem()?;
            return Err(Failure::internal("the answer is something else"));
        }
        let cut = |error: axum::Error| Failure::new(Exit::Internal, "cut", error.to_string());
        Ok(response.into_body().into_data_stream().map_err(cut).boxed())
    }

    async fn call(&self, mut call: Call) -> Result<axum::response::Response, Failure> {
        let body = match call.body.take() {
            Some((media_type, bytes)) => {
                call.headers.push(("content-type", media_type.to_owned()));
                Body::from(bytes)
            }
            None => Body::empty(),
        };
        self.ask(call, body).await
    }

    async fn ask(&self, call: Call, body: Body) -> Result<axum::response::Response, Failure> {
        let mut request = Request::builder().method(call.method).uri(format!("/api/v1{}", call.path));
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|error| Failure::refused(error.to_string()))?;
        Ok(self.service.answer(request).await)
    }

    /// Brings everything to rest; what is unfinished goes on when the database is next opened.
    pub async fn close(self) {
        self.app.drain();
        place::close_runtime(self.app.runtime(), GRACE).await;
    }
}

/// The whole answer.
async fn whole(response: axum::response::Response) -> Result<Answer, Failure> {
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await;
    let body = body.map_err(|error| Failure::internal(error.to_string()))?;
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}
