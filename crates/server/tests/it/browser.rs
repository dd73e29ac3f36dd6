//! A browser whose pages are answers.

use reqwest::Method;
use windlass_testkit::sign_on::{self, Page};

use crate::harness::Answer;

/// A browser.
#[derive(Clone)]
pub struct Browser(sign_on::Browser);

fn answer(page: Page) -> Answer {
    Answer { status: page.status, headers: page.headers, body: page.body }
}

impl Browser {
    pub fn new() -> Browser {
        Browser(sign_on::Browser::open())
    }

    pub async fn get(&mut self, url: &str) -> Answer {
        answer(self.0.get(url).await)
    }

    /// Sends JSON from a page of the server itself.
    pub async fn send(&mut self, method: Method, url: &str, body: Option<String>) -> Answer {
        answer(self.0.ask(method, url, body.map(|body| ("application/json", body))).await)
    }

    /// Sends a form; gives where that leads.
    pub async fn submit(&mut self, url: &str, form: &str) -> String {
        self.0.submit(url, form.to_owned()).await.location(url)
    }

    /// Its cookies for that server, as they are sent.
    pub fn cookies(&self, base: &str) -> String {
        self.0.cookies(base)
    }

    pub async fn until(&mut self, url: &str, end: &str) -> String {
        self.0.until(url, end).await
    }
}
