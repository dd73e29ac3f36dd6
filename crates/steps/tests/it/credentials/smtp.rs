//! `smtp`: the dialog with a server that speaks as much of it as a log-in needs.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use windlass_steps::egress::EgressOptions;

use super::{PASSWORD, check, kept, tried, tried_over, trusting};
use crate::tls::acceptor;

/// What kind of server answers.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// It offers STARTTLS.
    Starttls,
    /// It is encrypted from the beginning.
    Tls,
    /// It knows nothing of encryption.
    Plain,
    /// It logs nobody in.
    WithoutLogin,
    /// It says the password again.
    Telling,
    /// It greets without end.
    Endless,
    /// It speaks something else.
    Http,
}

/// What a server was told, line by line.
type Told = Arc<Mutex<Vec<String>>>;

/// A server; gives its port.
async fn server(kind: Kind) -> (u16, Told) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = Told::default();
    let notes = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let notes = Arc::clone(&notes);
            // A client that has seen enough hangs up.
            tokio::spawn(async move {
                match kind {
                    Kind::Tls => {
                        let mut stream = BufReader::new(acceptor().accept(stream).await?);
                        stream.write_all(b"220 mail ready\r\n").await?;
                        talk(&mut stream, kind, &notes).await?;
                    }
                    Kind::Http => {
                        let mut stream = stream;
                        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
                    }
                    Kind::Endless => {
                        let mut stream = stream;
                        loop {
                            stream.write_all(&b"220-still here\r\n".repeat(64)).await?;
                        }
                    }
                    _ => {
                        let mut stream = BufReader::new(stream);
                        stream.write_all(b"220 mail ready\r\n").await?;
                        if talk(&mut stream, kind, &notes).await? {
                            let mut stream = BufReader::new(acceptor().accept(stream.into_inner()).await?);
                            talk(&mut stream, Kind::Tls, &notes).await?;
                        }
                    }
                }
                std::io::Result::Ok(())
            });
        }
    });
    (port, told)
}

/// Whether it goes on encrypted.
async fn talk<S>(stream: &mut BufReader<S>, kind: Kind, told: &Told) -> std::io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let right = STANDARD.encode(format!("\0ada\0{PASSWORD}"));
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        told.lock().unwrap().push(line.trim_end().to_owned());
        let (starttls, login) = (kind == Kind::Starttls, !matches!(kind, Kind::Starttls | Kind::WithoutLogin));
        let answer = match line.trim_end() {
            line if line.starts_with("EHLO ") => {
                let offers = [(starttls, "250-STARTTLS\r\n"), (login, "250-AUTH LOGIN PLAIN\r\n")];
                let offers: String = offers.iter().filter(|(offered, _)| *offered).map(|(_, line)| *line).collect();
                format!("250-mail\r\n{offers}250 8BITMIME\r\n")
            }
            "STARTTLS" if starttls => {
                stream.write_all(b"220 go on\r\n").await?;
                return Ok(true);
            }
            line if line.starts_with("AUTH PLAIN ") && kind == Kind::Telling => {
                format!("535 5.7.8 not with {}\r\n", &line["AUTH PLAIN ".len()..])
            }
            line if line == format!("AUTH PLAIN {right}") => "235 welcome\r\n".to_owned(),
            line if line.starts_with("AUTH ") => "535 5.7.8 bad username or password\r\n".to_owned(),
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(false);
            }
            _ => "500 what\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn smtp(port: u16, security: &str, password: &str) -> windlass_store::KeptCredential {
    let fields = json!({ "host": "localhost", "port": port, "security": security, "username": "ada" });
    kept("smtp", fields, json!({ "password": password }))
}

#[tokio::test]
async fn a_mail_server_lets_the_user_in_or_says_why_not() {
    let wrong = "wrong-horse-battery";
    for (kind, security, password, parts) in [
        (Kind::Starttls, "starttls", PASSWORD, ["works: localhost:", "let `ada` in, encrypted"]),
        (Kind::Tls, "tls", PASSWORD, ["works: localhost:", "let `ada` in, encrypted"]),
        (Kind::Plain, "none", PASSWORD, ["works: localhost:", "let `ada` in, not encrypted"]),
        (Kind::Starttls, "starttls", wrong, ["fails: localhost:", "did not let `ada` in: permanent error (535)"]),
        (Kind::Tls, "tls", wrong, ["fails: localhost:", "5.7.8 bad username or password"]),
        (Kind::Telling, "none", PASSWORD, ["fails: localhost:", "an answer that repeats a secret and is not shown"]),
        (Kind::Telling, "none", "short", ["fails: localhost:", "an answer that repeats a secret and is not shown"]),
        (Kind::Plain, "starttls", PASSWORD, ["fails: localhost:", "could not be spoken to with STARTTLS"]),
        (Kind::WithoutLogin, "none", PASSWORD, ["fails: localhost:", "No compatible authentication mechanism"]),
        (Kind::Http, "starttls", PASSWORD, ["fails: localhost:", "did not greet as a mail server does"]),
        (Kind::Endless, "none", PASSWORD, ["fails: localhost:", "did not greet as a mail server does"]),
        (Kind::Plain, "tls", PASSWORD, ["fails: localhost:", "could not be spoken to with TLS"]),
    ] {
        let (port, told) = server(kind).await;
        check(smtp(port, security, password), &parts).await;
        let told = told.lock().unwrap().clone();
        // Nobody is told a password that its fields do not mean for him, and no mail is handed in.
        let logs_in = told.iter().position(|line| line.starts_with("AUTH "));
        if security == "starttls" && logs_in.is_some() {
            assert!(told.iter().position(|line| line == "STARTTLS") < logs_in, "{told:?}");
        }
        assert!(
            !told.iter().any(|line| ["MAIL", "RCPT", "DATA"].iter().any(|word| line.starts_with(word))),
            "{told:?}"
        );
        if parts[0].starts_with("works") {
            assert_eq!(told.last().map(String::as_str), Some("QUIT"));
        }
    }
}

#[tokio::test]
async fn a_certificate_is_checked_before_anybody_logs_in() {
    for (kind, security) in [(Kind::Starttls, "starttls"), (Kind::Tls, "tls")] {
        let (port, told) = server(kind).await;
        let options = EgressOptions { extra_roots: Vec::new(), ..trusting() };
        let said = tried_over(options, smtp(port, security, PASSWORD)).await;
        assert!(said.starts_with("fails: ") && said.contains("UnknownIssuer"), "{said}");
        assert!(!told.lock().unwrap().iter().any(|line| line.starts_with("AUTH ")));
    }
}

#[tokio::test]
async fn without_a_user_the_greeting_is_enough() {
    let (port, told) = server(Kind::Plain).await;
    let fields = json!({ "host": "127.0.0.1", "port": port, "security": "none" });
    let said = tried(kept("smtp", fields, json!({}))).await;
    assert!(said.starts_with("works: ") && said.contains("there is no `username` to log in with"), "{said}");
    assert!(!told.lock().unwrap().iter().any(|line| line.starts_with("AUTH ")));
    let fields = json!({ "host": "127.0.0.1", "port": port, "security": "none", "username": "ada" });
    assert_eq!(tried(kept("smtp", fields, json!({}))).await, "fails: it has a `username` and no `password`");
}
