//! As much of a browser as signing in needs: it keeps cookies by host and path, and is told each redirect.

use reqwest::{
    Client, Method, StatusCode, Url,
    header::{self, HeaderMap},
};

/// What a browser is told.
pub struct Page {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Page {
    /// Where it sends a browser that asked for that address.
    ///
    /// # Panics
    /// Nowhere.
    pub fn location(&self, url: &str) -> String {
        let url: Url = url.parse().expect("an address");
        let place = self.headers.get(header::LOCATION).and_then(|it| it.to_str().ok());
        url.join(place.unwrap_or_else(|| panic!("{url} sends nowhere: {}", self.body))).expect("an address").to_string()
    }
}

/// A browser.
#[derive(Clone)]
pub struct Browser {
    client: Client,
    cookies: Vec<Cookie>,
}

#[derive(Clone, PartialEq)]
struct Cookie {
    authority: String,
    path: String,
    name: String,
    value: String,
}

impl Browser {
    /// A browser without cookies.
    ///
    /// # Panics
    /// The client cannot be set up.
    pub fn open() -> Browser {
        // Another one may be there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        let client = client.expect("a client");
        Browser { client, cookies: Vec::new() }
    }

    /// Asks for an address.
    pub async fn get(&mut self, url: &str) -> Page {
        self.ask(Method::GET, url, None).await
    }

    /// Sends a form.
    pub async fn submit(&mut self, url: &str, form: String) -> Page {
        self.ask(Method::POST, url, Some(("application/x-www-form-urlencoded", form))).await
    }

    /// Sends a body of that type, as a page of the server itself would.
    ///
    /// # Panics
    /// Nobody answers there.
    pub async fn ask(&mut self, method: Method, url: &str, body: Option<(&str, String)>) -> Page {
        let url: Url = url.parse().expect("an address");
        let authority = url.authority().to_owned();
        let mut request = self.client.request(method, url.clone()).header("origin", url.origin().ascii_serialization());
        let own = self.cookies.iter().filter(|it| it.authority == authority && url.path().starts_with(&it.path));
        let own: Vec<String> = own.map(|it| format!("{}={}", it.name, it.value)).collect();
        if !own.is_empty() {
            request = request.header(header::COOKIE, own.join("; "));
        }
        if let Some((kind, body)) = body {
            request = request.header(header::CONTENT_TYPE, kind).body(body);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
        let (status, headers) = (response.status(), response.headers().clone());
        for line in headers.get_all(header::SET_COOKIE) {
            self.keep(&authority, line.to_str().unwrap_or_default());
        }
        Page { status, headers, body: response.text().await.unwrap_or_default() }
    }

    /// Its cookies for that server, as they are sent.
    ///
    /// # Panics
    /// It is no address.
    pub fn cookies(&self, base: &str) -> String {
        let url: Url = base.parse().expect("an address");
        let own = self.cookies.iter().filter(|it| it.authority == url.authority());
        own.map(|it| format!("{}={}", it.name, it.value)).collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, authority: &str, line: &str) {
        let mut pairs = line.split(';').filter_map(|it| it.trim().split_once('='));
        let Some((name, value)) = pairs.next() else { return };
        let attributes: Vec<_> = pairs.collect();
        let attribute = |wanted: &str| {
            let found = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| (*value).to_owned())
        };
        let path = attribute("path").unwrap_or_else(|| "/".to_owned());
        self.cookies.retain(|it| !(it.authority == authority && it.path == path && it.name == name));
        let over = attribute("max-age").as_deref() == Some("0") || value.is_empty();
        if !over {
            let (name, value) = (name.to_owned(), value.to_owned());
            self.cookies.push(Cookie { authority: authority.to_owned(), path, name, value });
        }
    }

    /// Follows redirects until an address begins like that; gives the address without asking for it.
    ///
    /// # Panics
    /// They do not lead there.
    pub async fn until(&mut self, url: &str, end: &str) -> String {
        let mut url = url.to_owned();
        for _ in 0..10 {
            if url.starts_with(end) {
                return url;
            }
            let page = self.get(&url).await;
            assert_eq!(page.status, StatusCode::SEE_OTHER, "{url}: {}", page.body);
            url = page.location(&url);
        }
        panic!("{url} does not lead to {end}");
    }
}
