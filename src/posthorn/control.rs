//! The control socket: commands of this machine steer the server that runs.
//!
//! One request is one line of JSON such as `{"do":"disable","listener":"smtp"}`, one answer one line:
//! `{"ok":true,"answer":…}` or `{"ok":false,"error":"…","kind":"…"}`. Any number of requests may follow each other on a
//! connection. Only root and the server's own user are heard; the kernel says who speaks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use posthorn_config::{Config, ListenAddress};
use posthorn_net::{ControlSocket, EndpointView, Listeners, Shutdown};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::health::Health;
use crate::openmetrics::OpenMetrics;

/// Octets of a request.
const LONGEST: u64 = 64 << 10;
/// Callers that are heard at once; further ones wait.
const CALLERS: usize = 16;
/// How long a caller may be silent, and how long an answer may take to be read.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a command waits for an answer: a reload reads every certificate and the database.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a command asks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Every address that is configured, and its state.
    Listeners,
    /// Close addresses of a listener until they are enabled again.
    Disable {
        /// Its name.
        listener: String,
        /// One of its addresses; none is all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
    /// Open addresses of a listener.
    Enable {
        /// Its name.
        listener: String,
        /// One of its addresses; none is all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
    /// Read the configuration, certificates and secrets anew.
    Reload,
    /// What is counted, as OpenMetrics text.
    Metrics,
    /// Whether all is well.
    Health,
}

/// The server's answer to a request.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Answer {
    /// Whether it was done.
    pub ok: bool,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub answer: Value,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
}

/// What is at fault when something is not done.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The request itself.
    Request,
    /// The configuration: file, line and key are in the text.
    Configuration,
    /// The database is away.
    Database,
    /// Anything else.
    Fault,
}

impl Answer {
    /// It was done.
    #[must_use]
    pub fn done(answer: Value) -> Self {
        Self { ok: true, answer, ..Self::default() }
    }

    /// It was not.
    #[must_use]
    pub fn refused(kind: Kind, error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), kind: Some(kind), ..Self::default() }
    }
}

/// A reload that somebody asked for; done by who holds the appliance.
#[derive(Debug)]
pub struct Order {
    /// The user who asked.
    pub author: String,
    /// Where the outcome goes.
    pub reply: oneshot::Sender<Answer>,
}

/// What requests are answered from. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    /// The addresses.
    pub listeners: Listeners,
    /// Who reloads.
    pub orders: mpsc::Sender<Order>,
    /// What is counted.
    pub metrics: OpenMetrics,
    /// Whether all is well.
    pub health: Health,
}

/// Hears callers until the hard stop. Without a socket the server runs on: it is only not steered.
pub async fn hear(path: &Path, desk: Desk, shutdown: Shutdown) {
    let socket = match ControlSocket::bind(path) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "there is no control socket (server.control)");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(CALLERS));
    loop {
        let place = tokio::select! {
            () = shutdown.cutting() => return,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = shutdown.cutting() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, uid)) => {
                let (desk, author) = (desk.clone(), crate::private_postgres::user_name(uid));
                tokio::spawn(async move {
                    let _place = place;
                    if let Err(error) = serve(stream, &desk, &author).await {
                        tracing::debug!(%error, "a caller went away");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket fails");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, desk: &Desk, author: &str) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(line) = timeout(SILENCE, line(&mut read)).await?? {
        let answer = match serde_json::from_slice(&line) {
            Ok(request) => answer(request, desk, author).await,
            Err(error) => Answer::refused(Kind::Request, format!("not a request: {error}")),
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        timeout(SILENCE, write.write_all(&text)).await??;
    }
    Ok(())
}

/// One line without its end; `None` at the end of the stream.
async fn line(read: &mut (impl AsyncBufRead + Unpin)) -> anyhow::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    read.take(LONGEST).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        Some(_) => bail!("a line without an end, or longer than {LONGEST} octets"),
        None => Ok(None),
    }
}

/// Does what is asked.
pub async fn answer(request: Request, desk: &Desk, author: &str) -> Answer {
    match request {
        Request::Listeners => Answer::done(json!(desk.listeners.endpoints().iter().map(shown).collect::<Vec<_>>())),
        Request::Disable { listener, address } => switch(desk, author, (&listener, address.as_deref()), false).await,
        Request::Enable { listener, address } => switch(desk, author, (&listener, address.as_deref()), true).await,
        Request::Reload => {
            let (reply, outcome) = oneshot::channel();
            let order = Order { author: author.to_owned(), reply };
            let stopping = || Answer::refused(Kind::Fault, "the server is stopping");
            if desk.orders.send(order).await.is_err() {
                return stopping();
            }
            outcome.await.unwrap_or_else(|_| stopping())
        }
        Request::Metrics => Answer::done(json!(desk.metrics.text().await)),
        Request::Health => Answer::done(json!(desk.health.ready().await)),
    }
}

/// Opens or closes addresses of a listener.
async fn switch(desk: &Desk, author: &str, (listener, address): (&str, Option<&str>), open: bool) -> Answer {
    let address = match address.map(ListenAddress::parse).transpose() {
        Ok(address) => address,
        Err(error) => return Answer::refused(Kind::Request, error.to_string()),
    };
    let all = desk.listeners.endpoints();
    let of_listener: Vec<_> = all.iter().filter(|endpoint| &*endpoint.listener == listener).collect();
    if of_listener.is_empty() {
        let hint = posthorn_config::nearest(listener, all.iter().map(|endpoint| &*endpoint.listener));
        let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        return Answer::refused(Kind::Request, format!("there is no listener {listener}{hint}"));
    }
    let meant: Vec<_> =
        of_listener.iter().filter(|endpoint| address.as_ref().is_none_or(|wanted| is(endpoint, wanted))).collect();
    if meant.is_empty() {
        let known: Vec<_> = of_listener.iter().map(|endpoint| endpoint.address.to_string()).collect();
        return Answer::refused(Kind::Request, format!("{listener} listens on {}", known.join(", ")));
    }
    for endpoint in &meant {
        let done = match open {
            true => desk.listeners.enable(endpoint.id, author).await,
            false => desk.listeners.disable(endpoint.id, author).await,
        };
        if let Err(error) = done {
            return Answer::refused(Kind::Fault, error.to_string());
        }
        let state = if open { "enabled" } else { "disabled" };
        tracing::warn!(listener, address = %endpoint.address, by = author, "a listener is {state}");
    }
    let ids: Vec<_> = meant.iter().map(|endpoint| endpoint.id).collect();
    let now = desk.listeners.endpoints();
    Answer::done(json!(now.iter().filter(|endpoint| ids.contains(&endpoint.id)).map(shown).collect::<Vec<_>>()))
}

/// Whether an endpoint is meant by its address as configured, or by the one that it really has.
fn is(endpoint: &EndpointView, wanted: &ListenAddress) -> bool {
    endpoint.address == *wanted || endpoint.bound.iter().any(|bound| bound.to_string() == wanted.to_string())
}

/// An address as programs read it.
fn shown(endpoint: &EndpointView) -> Value {
    let state = match (&endpoint.decree, endpoint.open) {
        (Some(decree), false) if !decree.open => "disabled",
        (_, true) => "open",
        (_, false) => "closed",
    };
    let at = |time: std::time::SystemTime| chrono::DateTime::<chrono::Utc>::from(time);
    json!({
        "listener": &*endpoint.listener,
        "speaks": endpoint.speaks.name(),
        "address": endpoint.address.to_string(),
        "bound": endpoint.bound.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "state": state,
        "sessions": endpoint.sessions,
        "by": endpoint.decree.as_ref().map(|decree| &decree.by),
        "since": endpoint.decree.as_ref().map(|decree| at(decree.at)),
    })
}

/// No server answers on the control socket.
#[derive(Debug, thiserror::Error)]
#[error("no server answers on {path}: {why}")]
pub struct NotRunning {
    path: String,
    why: String,
}

/// The server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// What is at fault.
    pub kind: Kind,
    /// What the server said.
    pub why: String,
}

/// Asks the server that runs with this configuration.
///
/// # Errors
/// [`NotRunning`], [`Refused`], or what is wrong with the answer.
pub async fn ask(config: &Config, request: &Request) -> anyhow::Result<Value> {
    let path = config.server.control_socket();
    let stream = UnixStream::connect(&path).await.map_err(|error| {
        // Who may not look into the folder may not steer the server either.
        let why = error.to_string();
        NotRunning { path: path.display().to_string(), why }
    })?;
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    let mut line = Vec::new();
    let asked = async {
        write.write_all(&text).await?;
        BufReader::new(read).read_until(b'\n', &mut line).await
    };
    timeout(PATIENCE, asked).await.context("the server does not answer")?.context("the server went away")?;
    if line.is_empty() {
        let why = "it ended before it answered, or does not hear this user".to_owned();
        return Err(NotRunning { path: path.display().to_string(), why }.into());
    }
    let answer: Answer = serde_json::from_slice(&line).context("the server's answer cannot be read")?;
    match answer.error {
        None if answer.ok => Ok(answer.answer),
        why => {
            let why = why.unwrap_or_else(|| "the server refuses".to_owned());
            Err(Refused { kind: answer.kind.unwrap_or(Kind::Fault), why }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_have_an_end() {
        let mut read: &[u8] = b"one\ntwo\n";
        assert_eq!(line(&mut read).await.expect("a line"), Some(b"one".to_vec()));
        assert_eq!(line(&mut read).await.expect("a line"), Some(b"two".to_vec()));
        assert_eq!(line(&mut read).await.expect("the end"), None);
        let mut cut: &[u8] = b"half";
        assert!(line(&mut cut).await.is_err());
        let long = vec![b'x'; 70_000];
        assert!(line(&mut &long[..]).await.is_err());
    }

    #[test]
    fn requests_are_words() {
        let parsed: Request = serde_json::from_str(r#"{"do":"disable","listener":"smtp"}"#).expect("a request");
        assert_eq!(parsed, Request::Disable { listener: "smtp".to_owned(), address: None });
        assert!(serde_json::from_str::<Request>(r#"{"do":"halt"}"#).is_err());
        assert_eq!(serde_json::to_string(&Request::Reload).expect("JSON"), r#"{"do":"reload"}"#);
    }
}
