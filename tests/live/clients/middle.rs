//! What stands between the clients and the API: it counts, stops and swallows posts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What stands between the clients and the API.
#[derive(Clone)]
pub(super) enum Way {
    /// Everything passes.
    Open,
    /// It says so and waits, then closes the connection.
    Stopped(Sender<()>, Arc<Mutex<()>>),
    /// The same, behind an answer of the API that the client does not get.
    Swallowed(Sender<()>, Arc<Mutex<()>>),
    /// This is answered, once.
    Said(&'static str),
}

/// A post as it came: its idempotency key, its body, and when.
pub(super) type Post = (String, String, Instant);

/// A port that leads to the API.
pub(super) struct Middle {
    pub(super) address: String,
    way: Arc<Mutex<Way>>,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Middle {
    pub(super) fn new(api: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let way = Arc::new(Mutex::new(Way::Open));
        let posts = Arc::<Mutex<Vec<Post>>>::default();
        let middle = Self {
            address,
            way: Arc::clone(&way),
            posts: Arc::clone(&posts),
        };
        let api = api.to_owned();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let (api, way, posts) = (api.clone(), Arc::clone(&way), Arc::clone(&posts));
                std::thread::spawn(move || {
                    let Some((head, body)) = request(&client) else {
                        return;
                    };
                    posts.lock().expect("a list").push((
                        header(&head, "idempotency-key"),
                        body.clone(),
                        Instant::now(),
                    ));
                    let now = way.lock().expect("a way").clone();
                    match now {
                        Way::Open => drop(client.write_all(passed(&api, &head, &body).as_bytes())),
                        Way::Stopped(here, until) => {
                            here.send(()).expect("a test");
                            drop(until.lock());
                        }
                        Way::Swallowed(here, until) => {
                            let answer = passed(&api, &head, &body);
                            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                            here.send(()).expect("a test");
                            drop(until.lock());
                        }
                        Way::Said(answer) => {
                            *way.lock().expect("a way") = Way::Open;
                            drop(client.write_all(answer.as_bytes()));
                        }
                    }
                });
            }
        });
        middle
    }

    pub(super) fn set(&self, way: Way) {
        *self.way.lock().expect("a way") = way;
    }

    pub(super) fn posts(&self) -> Vec<Post> {
        self.posts.lock().expect("a list").clone()
    }
}

/// Head and body of a request; `None` where the client closed before.
pub(super) fn request(client: &TcpStream) -> Option<(String, String)> {
    let mut from = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut body = vec![0; header(&head, "content-length").parse().unwrap_or(0)];
    from.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

pub(super) fn header(head: &str, name: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    found
        .next()
        .map(|(_, value)| value)
        .unwrap_or_default()
        .to_owned()
}

/// What the API answers, in one connection.
pub(super) fn passed(api: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(api).expect("it answers");
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

/// An address that nobody answers at.
pub(super) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}
