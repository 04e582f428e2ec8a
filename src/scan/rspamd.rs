//! rspamd: HTTP, `POST /checkv2` (its documentation of the protocol).

mod answer;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use posthorn_filter::Scanned;
use posthorn_net::egress::Link;

use crate::protocol::{Handed, Protocol};
use crate::question::Question;

/// The protocol of rspamd.
pub(crate) struct Rspamd {
    /// What we call ourselves.
    pub(crate) host: String,
}

/// A connection that moves its octets only while somebody waits for an answer.
pub(crate) struct Session {
    sender: SendRequest<Full<Bytes>>,
    connection: Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>,
}

/// A message may show hundreds of symbols, each with options.
const ANSWER: usize = 4 << 20;
const HEADER: usize = 64 << 10;
/// More recipients than these are not named.
const RECIPIENTS: usize = 100;

impl Protocol for Rspamd {
    type Connection = Session;

    const LOOKS_FOR_VIRUSES: bool = false;
    const REMEMBERED: bool = false;

    async fn open(&self, link: Link) -> Result<Session, String> {
        let made = Builder::new().max_buf_size(HEADER).handshake(TokioIo::new(link)).await;
        let (sender, connection) = made.map_err(|error| error.to_string())?;
        Ok(Session { sender, connection: Box::pin(connection) })
    }

    async fn ask(
        &self,
        mut session: Session,
        question: &Question<'_>,
        _: &Handed,
    ) -> Result<(Scanned, Option<Session>), String> {
        let request = self.request(question)?;
        let Session { sender, connection } = &mut session;
        let answered = {
            let answer = async {
                sender.ready().await?;
                read(sender.send_request(request).await?).await
            };
            tokio::pin!(answer);
            tokio::select! {
                biased;
                answered = &mut answer => answered,
                // It may end before the answer is read.
                ended = connection => match ended {
                    Ok(()) => answer.await,
                    Err(error) => Err(error.into()),
                },
            }
        };
        let (status, again, body) = answered.map_err(|error| error.to_string())?;
        if status != StatusCode::OK {
            return Err(format!("it answered {status}"));
        }
        Ok((answer::read(&body)?, again.then_some(session)))
    }
}

impl Rspamd {
    fn request(&self, question: &Question<'_>) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::post("/checkv2")
            .header(HOST, "rspamd")
            .header(USER_AGENT, "posthorn")
            .header(CONNECTION, "keep-alive")
            .header(CONTENT_TYPE, "application/octet-stream");
        let mut tell = |name: &'static str, value: &str| {
            // What cannot stand in a header field is not told.
            if let (Some(headers), Ok(value)) = (request.headers_mut(), HeaderValue::from_bytes(value.as_bytes())) {
                headers.append(HeaderName::from_static(name), value);
            }
        };
        tell("from", &question.sender);
        question.recipients.iter().take(RECIPIENTS).for_each(|one| tell("rcpt", one.address));
        if let Some(address) = question.address() {
            tell("ip", &address.to_string());
        }
        if let Some(name) = question.name() {
            tell("hostname", name);
        }
        if let Some(helo) = question.helo() {
            tell("helo", helo);
        }
        if let Some(login) = question.login() {
            tell("user", login);
        }
        if let Some(id) = &question.inquiry.queue_id {
            tell("queue-id", id);
        }
        if let Some(encryption) = &question.inquiry.encryption {
            tell("tls-version", &encryption.protocol);
            tell("tls-cipher", &encryption.cipher);
        }
        tell("mta-name", &self.host);
        request.body(Full::new(question.octets.clone())).map_err(|error| error.to_string())
    }
}

type Answered = (StatusCode, bool, Bytes);

async fn read(response: Response<Incoming>) -> Result<Answered, Box<dyn std::error::Error + Send + Sync>> {
    let status = response.status();
    let closes =
        response.headers().get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    let body = Limited::new(response.into_body(), ANSWER).collect().await?.to_bytes();
    Ok((status, !closes, body))
}

#[cfg(test)]
mod tests {
    use posthorn_filter::Point;

    use super::*;
    use crate::rig::{Script, failure, message, question, said};

    fn http(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\r\n{body}", body.len())
    }

    fn rspamd() -> Rspamd {
        Rspamd { host: "mx.example.org".to_owned() }
    }

    #[tokio::test]
    async fn one_connection_serves_many_messages() {
        let spam = http(r#"{"score":7.5,"action":"add header","symbols":{"BAD":{"name":"BAD","score":7.5}}}"#);
        let ham = http(r#"{"score":0,"action":"no action","symbols":{}}"#);
        let script = Script::new().session(&[&spam, &ham]);
        let server = script.when(|heard| heard.ends_with(b"body\r\n")).serve().await;
        let service = server.service(rspamd());
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let asked = question(&octets);
        assert_eq!(said(&service, &asked).await.points, [Point::new("BAD", 7.5, "")]);
        assert_eq!(said(&service, &asked).await, Scanned::default());
        let heard = server.heard();
        assert_eq!(heard.len(), 1, "one connection");
        let heard = String::from_utf8_lossy(&heard[0]);
        for line in [
            "POST /checkv2 HTTP/1.1\r\n",
            "from: ann@origin.example\r\n",
            "rcpt: bob@here.example\r\n",
            "ip: 192.0.2.7\r\n",
            "helo: client.example\r\n",
            "\r\n\r\nSubject: x\r\n\r\nbody\r\n",
        ] {
            assert_eq!(heard.matches(line).count(), 2, "{line}: {heard}");
        }
    }

    #[tokio::test]
    async fn malformed_answers_are_no_verdicts() {
        for answer in [
            "nonsense\r\n\r\n".to_owned(),
            "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}".to_owned(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX),
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(HEADER + 1)),
            http("no json"),
            http("{}"),
        ] {
            let script = Script::new().session(&[&answer]).closing();
            let server = script.when(|heard| heard.ends_with(b"body\r\n")).serve().await;
            let octets = message("Subject: x\r\n\r\nbody\r\n");
            failure(&server.service(rspamd()), &question(&octets)).await;
        }
    }
}
