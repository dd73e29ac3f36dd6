//! The generator against a server that is none: it must read whatever form an answer has, and count only right ones.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use windlass_bench::{
    http::{Connection, Target},
    load::{self, Load, Until},
};

const PATIENCE: Duration = Duration::from_secs(600);
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwind\r\n3;x=y\r\nlas\r\n1\r\ns\r\n0\r\n\r\n";
const COMPLETED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{\"status\":\"completed\"}";

/// A server that answers each request with the next of `answers`, in pieces of so many bytes.
async fn fake(answers: Vec<String>, piece: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut served = 0;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut answers = answers.clone();
            let turn = served % answers.len();
            answers.rotate_left(turn);
            served += 1;
            tokio::spawn(serve(stream, answers, piece));
        }
    });
    address
}

/// Requests here end with their head or with `}`.
async fn serve(mut stream: TcpStream, answers: Vec<String>, piece: usize) {
    let mut buffer = [0; 4096];
    for answer in answers.iter().cycle() {
        let Ok(1..) = stream.read(&mut buffer).await else { return };
        for bytes in answer.as_bytes().chunks(piece) {
            stream.write_all(bytes).await.unwrap();
            tokio::task::yield_now().await;
        }
    }
}

fn target(address: SocketAddr) -> Target {
    Target { address, token: "t".to_owned() }
}

#[tokio::test]
async fn answers_are_read_whatever_their_form() {
    for (answer, piece, expected) in [
        (COMPLETED, 1, Ok((200, r#"{"status":"completed"}"#))),
        (COMPLETED, 1000, Ok((200, r#"{"status":"completed"}"#))),
        ("HTTP/1.1 204 No Content\r\n\r\n", 7, Ok((204, ""))),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", 9, Ok((404, "{}"))),
        (CHUNKED, 1, Ok((200, "windlass"))),
        (CHUNKED, 9, Ok((200, "windlass"))),
        (CHUNKED, 1000, Ok((200, "windlass"))),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nmany\r\n", 9, Err("a chunk without a size")),
        ("SMTP", 9, Err("invalid HTTP version")),
    ] {
        let address = fake(vec![answer.to_owned()], piece).await;
        let mut connection = Connection::open(address).await.unwrap();
        let request = target(address).request("POST", "/x", "{}");
        // Twice: the connection stays open.
        for _ in 0..2 {
            match (connection.send(&request).await, expected) {
                (Ok(answer), Ok((status, body))) => {
                    assert_eq!((answer.status, answer.body), (status, body.as_bytes()), "{piece}");
                }
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{error} ({part})");
                    break;
                }
                (got, _) => panic!("{answer:?}: {got:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_success_is_an_error_that_says_what_came() {
    let address = fake(vec!["HTTP/1.1 422 No\r\ncontent-length: 4\r\n\r\nwhy?".to_owned()], 99).await;
    let error = target(address).ask("PUT", "/workflows/x", "{}").await.unwrap_err().to_string();
    assert_eq!(error, "PUT /workflows/x: 422 why?");
}

#[tokio::test]
async fn a_loop_counts_right_answers_after_its_warm_up() {
    let failed = "HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"status\":\"failed\"}".to_owned();
    for (answers, until, clients, counted, failures) in [
        (vec![COMPLETED.to_owned()], Until::Counted(40), 1, 40..=40, 0..=0),
        (vec![COMPLETED.to_owned()], Until::Counted(40), 8, 40..=40, 0..=0),
        (vec![failed, COMPLETED.to_owned()], Until::Counted(40), 1, 20..=20, 25..=25),
        (vec![COMPLETED.to_owned()], Until::Elapsed(Duration::from_millis(200)), 8, 1..=1_000_000, 0..=0),
    ] {
        let address = fake(answers, 99).await;
        let request = target(address).request("POST", "/x", "{}").into();
        let expected = load::COMPLETED.into();
        let load = Load { what: "fake".to_owned(), address, request, expected, clients, until, patience: PATIENCE };
        let measured = load::run(load).await.unwrap();
        let count = measured.latencies_us.len();
        assert!(counted.contains(&count), "{count} counted");
        assert!(failures.contains(&measured.failures), "{} failures", measured.failures);
        assert!(measured.requests >= count as u64);
        assert!(measured.latency_ms(0.5) <= measured.latency_ms(0.99));
        assert!(measured.per_second() > 0.0);
    }
}
