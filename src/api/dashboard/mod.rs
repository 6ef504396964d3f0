//! The dashboard: what an operator and a campaign manager look at, made on the server.
//!
//! Every page is whole without scripts; with them it reads itself again and shows what
//! has changed. One logs in with an API key, and sees what that key may see: the numbers
//! of its tenant, and the sources that belong to it.
//!
//! Nothing on a page comes from elsewhere, and no script or style stands in one, so that
//! a text of VICIdial's can never become either ([`POLICY`]).

mod board;
mod chart;
mod course;
mod did;
mod overview;
mod page;
mod session;
mod trend;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use maud::{Markup, html};

use super::health::Report;
use super::keys::{self, Denied};
use super::listen::Peer;
use super::turns::Turn;
use super::{Api, answer};
use crate::store::{ApiKey, KeyHolder, SqlStore, StoreError, Tally};

use self::board::{Board, View};
use self::did::Story;
use self::overview::Card;
use self::page::{Frame, number, page};

pub(super) use self::board::Boards;
pub(super) use self::course::{Courses, watch};
pub(super) use self::session::Sessions;

/// What a page may load and do: its own style sheet, script and pictures.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// Days of a sparkline.
const SPARK_DAYS: i64 = 14;

/// Longest address that one is sent to after the login, in bytes.
const NEXT_BYTES_MAX: usize = 512;

/// Every path of the dashboard.
pub(super) fn routes(api: &Api) -> Router<Api> {
    let inside = Router::new()
        .route("/", get(overview))
        .route("/dids/{number}", get(did))
        .route_layer(from_fn_with_state(api.clone(), enter));
    let outside = Router::new()
        .route("/login", get(login_page).post(login))
        .route("/logout", post(logout))
        .route("/assets/{name}", get(asset));
    inside.merge(outside).layer(from_fn(protect))
}

/// The headers of every page.
async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    put_policy(&mut response);
    response
}

fn put_policy(response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Lets in who is logged in, and sends everybody else to the login.
async fn enter(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let now = Instant::now();
    let peer = Peer::of(&request);
    if let Err(seconds) = api.limits.address(peer.address, now) {
        return busy(seconds);
    }
    let token = session::token(request.headers(), is_tls(peer, request.headers()));
    let Some(key) = token.and_then(|token| api.sessions.key(token, now)) else {
        return to_login(request.uri(), token.is_some());
    };
    match keys::recognise(&api, &key, now).await {
        Ok((holder, store)) => {
            request.extensions_mut().insert(holder);
            request.extensions_mut().insert(store);
            next.run(request).await
        }
        Err(Denied::NoKey | Denied::Unknown) => to_login(request.uri(), true),
        Err(denied) => not_now(&denied),
    }
}

/// Why there is no page at this moment.
fn not_now(denied: &Denied) -> Response {
    match denied {
        Denied::TooOften(seconds) => busy(*seconds),
        Denied::Failed(error) => failed(error),
        Denied::NoKey | Denied::Unknown | Denied::Away => away(),
    }
}

/// `GET /`.
async fn overview(
    State(api): State<Api>,
    Extension(holder): Extension<Arc<KeyHolder>>,
    Extension(store): Extension<SqlStore>,
    uri: Uri,
) -> Response {
    let view = View::of(uri.query().unwrap_or_default());
    let now = api.vitals.now();
    let read = async {
        let _turn = turn(&api, &holder).await?;
        // Whoever had the turn before may just have read it.
        let kept = api.boards.kept(&holder.tenant, view.days, Instant::now());
        let board = match kept {
            Some(board) => board,
            None => {
                let read = api.boards.read(&store, &holder.tenant, view.days, now);
                read.await.map_err(refused)?
            }
        };
        let seen = board.seen(&view);
        let ids: Vec<i64> = seen.rows.iter().map(|row| row.did.id).collect();
        let sparks = Sparks::read(&store, &holder.tenant, &ids, &board);
        let sparks = sparks.await.map_err(refused)?;
        let table = overview::dids(&board, &seen, &view, &|did| sparks.of(did), now);
        Ok::<_, Box<Response>>(table)
    };
    let table = match read.await {
        Ok(table) => table,
        Err(response) => return *response,
    };
    let (cards, store_error) = cards(&api, &holder);
    let content = html! {
        h1.hidden { "Overview" }
        (overview::sources(&cards, store_error.as_deref()))
        (overview::asked(&view))
        (table)
    };
    shown("Overview", &holder, &content)
}

/// The right to read the store, or a page that says to come again.
async fn turn<'a>(api: &'a Api, holder: &KeyHolder) -> Result<Turn<'a>, Box<Response>> {
    let turn = api.turn(holder).await;
    turn.map_err(|_| Box::new(busy(1)))
}

/// The last days of some DIDs.
struct Sparks {
    names: Vec<String>,
    of_dids: BTreeMap<(i64, String), Tally>,
}

impl Sparks {
    async fn read(
        store: &SqlStore,
        tenant: &str,
        dids: &[i64],
        board: &Board,
    ) -> Result<Self, StoreError> {
        let name = |ago| board::back(board.last_day, ago).to_string();
        let names: Vec<String> = (0..SPARK_DAYS).rev().map(name).collect();
        let first = names.first().map_or("", String::as_str);
        let days = store.days_of(tenant, dids, first).await?;
        let of_dids = days.into_iter().map(|day| ((day.did, day.day), day.tally));
        let of_dids = of_dids.collect();
        Ok(Self { names, of_dids })
    }

    fn of(&self, did: i64) -> Vec<Tally> {
        let of_day = |name: &String| self.of_dids.get(&(did, name.clone())).copied();
        let tallies = self.names.iter().map(of_day);
        tallies.map(Option::unwrap_or_default).collect()
    }
}

/// How the sources of a tenant are, and why the store cannot be used.
fn cards(api: &Api, holder: &KeyHolder) -> (Vec<Card>, Option<String>) {
    let Report {
        sources,
        store_error,
        ..
    } = Report::of(&api.vitals);
    let own: Vec<&str> = api.desk.sources_of(&holder.tenant).collect();
    let own = sources
        .into_iter()
        .filter(|report| own.contains(&report.source.as_str()));
    let card = |report: super::SourceReport| {
        let vitals = api.vitals.sources().iter();
        let mut vitals = vitals.filter(|vitals| vitals.name() == report.source);
        let event_age = vitals.next().and_then(|vitals| vitals.event_age());
        Card {
            minutes: api.courses.of(&report.source),
            event_age: event_age.map(|age| age.as_secs()),
            report,
        }
    };
    (own.map(card).collect(), store_error)
}

/// `GET /dids/{number}`.
async fn did(
    State(api): State<Api>,
    Extension(holder): Extension<Arc<KeyHolder>>,
    Extension(store): Extension<SqlStore>,
    number: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Response {
    let days = View::of(uri.query().unwrap_or_default()).days;
    let asked = number.map(|Path(number)| number).unwrap_or_default();
    let normal = api.phones().normalise(&asked);
    let _turn = match turn(&api, &holder).await {
        Ok(turn) => turn,
        Err(refused) => return *refused,
    };
    let read = async {
        let now = api.vitals.now();
        let last_day = board::read_last_day(&store, &holder.tenant, now).await?;
        let row = store.did_named(&holder.tenant, &asked, normal.as_deref());
        let Some(row) = row.await? else {
            return Ok(None);
        };
        let story = Story::read(&store, &holder.tenant, row, (days, last_day));
        story.await.map(Some)
    };
    match read.await {
        Ok(Some(story)) => shown(&story.row.phone_number, &holder, &story.content(days)),
        Ok(None) => no_did(&holder),
        Err(error) => failed(&error),
    }
}

/// A page that says that there is none, for whoever asks.
pub(super) fn no_page() -> Response {
    let content = html! {
        h1 { "No such page" }
        p { a href="/" { "All DIDs" } }
    };
    let frame = Frame {
        title: "No such page",
        tenant: None,
        is_live: false,
    };
    let mut response = written(StatusCode::NOT_FOUND, &page(frame, &content));
    put_policy(&mut response);
    response
}

fn no_did(holder: &KeyHolder) -> Response {
    let content = html! {
        h1 { "No such DID" }
        p { "Nothing was ever dialled from it, and nobody has imported it. " a href="/" { "All DIDs" } }
    };
    let frame = Frame {
        title: "No such DID",
        tenant: Some(&holder.tenant),
        is_live: false,
    };
    written(StatusCode::NOT_FOUND, &page(frame, &content))
}

/// `GET /login`.
async fn login_page(uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default().as_bytes();
    let next = asked_next(query);
    let mut fields = url::form_urlencoded::parse(query);
    let has_ended = fields.any(|(name, _)| name == "ended");
    let why = has_ended.then_some(
        "You are logged out: your key was revoked, didtail was started again, or twelve \
         hours are over. Log in again.",
    );
    written(StatusCode::OK, &login_form(&next, why))
}

/// `POST /login`: begins a session of who has the key.
async fn login(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let now = Instant::now();
    let next = asked_next(&body);
    let refuse = |status, why| written(status, &login_form(&next, Some(why)));
    if !session::is_of_this_site(&headers) {
        return refuse(
            StatusCode::FORBIDDEN,
            "This came from a page of another site. Log in here.",
        );
    }
    let mut fields = url::form_urlencoded::parse(&body);
    let key = fields.find(|(name, _)| name == "key");
    let key = key.map(|(_, key)| key.into_owned()).unwrap_or_default();
    let hash = ApiKey::hash_of(key.trim());
    match keys::admit(&api, Some(&hash), peer.address, now).await {
        Ok(_) => {}
        Err(Denied::NoKey | Denied::Unknown) => {
            return refuse(
                StatusCode::UNAUTHORIZED,
                "This key is unknown, or was revoked.",
            );
        }
        Err(denied) => return not_now(&denied),
    }
    let token = api.sessions.begin(hash, now);
    let cookie = token.and_then(|token| session::cookie(Some(&token), is_tls(peer, &headers)));
    match cookie {
        Some(cookie) => sent_to(&next, Some(cookie)),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `POST /logout`: ends the session.
async fn logout(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    if !session::is_of_this_site(&headers) {
        return written(StatusCode::FORBIDDEN, &login_form("/", None));
    }
    if let Some(token) = session::token(&headers, is_tls(peer, &headers)) {
        api.sessions.end(token);
    }
    sent_to("/login", session::cookie(None, is_tls(peer, &headers)))
}

/// Whether the browser speaks TLS, to this server or to a proxy before it. Who claims
/// it falsely gets a cookie that a browser does not take.
fn is_tls(peer: Peer, headers: &HeaderMap) -> bool {
    let proxied = headers.get("x-forwarded-proto");
    peer.is_tls || proxied.is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// Where one wants to go after the login: a path of this server, whatever was asked.
fn asked_next(query: &[u8]) -> String {
    let mut fields = url::form_urlencoded::parse(query);
    let next = fields.find(|(name, _)| name == "next");
    let next = next.map(|(_, next)| next.into_owned()).unwrap_or_default();
    let is_page = next.starts_with("/?") || next.starts_with("/dids/");
    let is_path = is_page
        && next.len() <= NEXT_BYTES_MAX
        // Browsers take a backslash for a slash, and drop what is no character.
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_path { next } else { "/".to_owned() }
}

fn login_form(next: &str, wrong: Option<&str>) -> Markup {
    let content = html! {
        section.login {
            h1 { "Log in" }
            @if let Some(wrong) = wrong { p.banner.bad role="alert" { (wrong) } }
            form method="post" action="/login" {
                input type="hidden" name="next" value=(next);
                label for="key" { "API key" }
                input #key type="password" name="key" required autofocus
                    autocomplete="current-password" spellcheck="false" maxlength="256";
                button type="submit" { "Log in" }
            }
            p.note { "A key is made on the server: " code { "didtail api-key create --label NAME" } }
        }
    };
    let frame = Frame {
        title: "Log in",
        tenant: None,
        is_live: false,
    };
    page(frame, &content)
}

/// Sends somebody to the login, who comes back here then; `has_ended`: whose session is
/// over.
fn to_login(asked: &Uri, has_ended: bool) -> Response {
    let asked = asked.path_and_query().map_or("/", |asked| asked.as_str());
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if has_ended {
        query.append_pair("ended", "1");
    }
    if asked != "/" {
        query.append_pair("next", asked);
    }
    let query = query.finish();
    match query.is_empty() {
        true => sent_to("/login", None),
        false => sent_to(&format!("/login?{query}"), None),
    }
}

fn sent_to(path: &str, cookie: Option<HeaderValue>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    if let Ok(path) = HeaderValue::from_str(path) {
        headers.insert(header::LOCATION, path);
    }
    if let Some(cookie) = cookie {
        headers.insert(header::SET_COOKIE, cookie);
    }
    response
}

/// A page of who is logged in.
fn shown(title: &str, holder: &KeyHolder, content: &Markup) -> Response {
    let frame = Frame {
        title,
        tenant: Some(&holder.tenant),
        is_live: true,
    };
    written(StatusCode::OK, &page(frame, content))
}

fn written(status: StatusCode, page: &Markup) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (status, kind, page.0.clone()).into_response()
}

/// A page that says why there is none, and when to come again.
fn later(status: StatusCode, why: &str, seconds: u64) -> Response {
    let content = html! { h1 { "Not now" } p { (why) } };
    let frame = Frame {
        title: "Not now",
        tenant: None,
        is_live: true,
    };
    let mut response = written(status, &page(frame, &content));
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn busy(seconds: u64) -> Response {
    later(
        StatusCode::TOO_MANY_REQUESTS,
        "Too many requests. This page comes back by itself.",
        seconds,
    )
}

fn away() -> Response {
    later(
        StatusCode::SERVICE_UNAVAILABLE,
        "The store cannot be used at this moment. Nothing is lost: didtail goes on where it \
         stopped, and this page comes back by itself.",
        answer::STORE_AWAY_SECONDS,
    )
}

fn failed(error: &StoreError) -> Response {
    answer::tell(error);
    away()
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: StoreError) -> Box<Response> {
    Box::new(failed(&error))
}

/// `GET /assets/{name}`: what the pages load; compiled in.
async fn asset(asked: HeaderMap, name: Result<Path<String>, PathRejection>) -> Response {
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let (kind, text) = match name.as_str() {
        "dashboard.css" => (
            "text/css; charset=utf-8",
            include_str!("assets/dashboard.css"),
        ),
        "dashboard.js" => (
            "text/javascript; charset=utf-8",
            include_str!("assets/dashboard.js"),
        ),
        "icon.svg" => ("image/svg+xml", include_str!("assets/icon.svg")),
        _ => return answer::refusal(StatusCode::NOT_FOUND, "no such path"),
    };
    answer::tagged_as(&asked, kind, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_sent_to_pages_of_this_server_alone() {
        for (asked, next) in [
            ("next=%2Fdids%2F%252B1312", "/dids/%2B1312"),
            ("next=%2F%3Fsort%3Dcalls", "/?sort=calls"),
            ("next=/logout", "/"),
            ("next=https://evil.example/", "/"),
            ("next=//evil.example/", "/"),
            ("next=/%5Cevil.example/", "/"),
            ("next=/%09/evil.example/", "/"),
            ("next=/a%0d%0aSet-Cookie:x", "/"),
            ("", "/"),
        ] {
            assert_eq!(asked_next(asked.as_bytes()), next, "{asked}");
        }
    }
}
