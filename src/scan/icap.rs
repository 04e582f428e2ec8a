//! ICAP (RFC 3507): messages are shown to a service as the answer to a request that nobody made (RESPMOD), or as its body
//! (REQMOD), first as much of them as the service wants for a look.
//!
//! What it wants changed is not changed: such a service is asked whether a message may pass, no more.

mod answer;

use bytes::Bytes;
use posthorn_filter::Scanned;
use posthorn_net::egress::Link;

use crate::exchange::exchange;
use crate::protocol::{Handed, Protocol};
use crate::question::Question;

use self::answer::Answer;

/// The protocol of ICAP servers.
pub(crate) struct Icap {
    /// What we call ourselves.
    pub(crate) host: String,
    /// The service's name.
    pub(crate) service: String,
}

/// A connection whose service has said what it takes.
pub(crate) struct Session {
    link: Link,
    takes: Takes,
}

/// What OPTIONS said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Takes {
    method: Method,
    /// How much it wants for a look; `None`: everything at once.
    preview: Option<usize>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Method {
    Reqmod,
    Respmod,
}

/// An answer without the message in it.
const ANSWER: usize = 64 << 10;
/// Octets of one chunk.
const CHUNK: usize = 256 << 10;
/// The longest look.
const PREVIEW: usize = 1 << 20;

impl Protocol for Icap {
    type Connection = Session;

    const LOOKS_FOR_VIRUSES: bool = true;
    const REMEMBERED: bool = true;

    async fn open(&self, mut link: Link) -> Result<Session, String> {
        let request = format!("{}Encapsulated: null-body=0\r\n\r\n", self.line("OPTIONS"));
        let heard = exchange(&mut link, [Bytes::from(request)], ANSWER, answer::end).await?;
        let said = Answer::read(&heard.answer)?;
        if said.status != 200 || !heard.in_order {
            return Err(format!("it answered OPTIONS with {}", said.status));
        }
        let methods = said.field("Methods").unwrap_or_default().to_ascii_uppercase();
        let has = |name: &str| methods.split([',', ' ']).any(|method| method == name);
        let method = match (has("RESPMOD"), has("REQMOD")) {
            (true, _) => Method::Respmod,
            (false, true) => Method::Reqmod,
            (false, false) => return Err("its service modifies neither requests nor responses".to_owned()),
        };
        let preview = said.field("Preview").and_then(|text| text.parse::<usize>().ok()).map(|most| most.min(PREVIEW));
        Ok(Session { link, takes: Takes { method, preview } })
    }

    async fn ask(
        &self,
        mut session: Session,
        question: &Question<'_>,
        _: &Handed,
    ) -> Result<(Scanned, Option<Session>), String> {
        let octets = question.octets;
        let most = octets.len() + ANSWER;
        let head = self.head(session.takes, question);
        // RFC 3507 §4.5: the end of a message that fits into the look is told with it.
        let look = session.takes.preview.map(|preview| preview.min(octets.len()));
        let first = octets.slice(..look.unwrap_or(octets.len()));
        let end: &'static [u8] = match look {
            Some(look) if look == octets.len() => b"0; ieof\r\n\r\n",
            _ => LAST,
        };
        let pieces = std::iter::once(head).chain(chunks(&first)).chain([Bytes::from_static(end)]);
        let mut heard = exchange(&mut session.link, pieces, most, answer::end).await?;
        if answer::goes_on(&heard.answer) {
            if look.is_none_or(|look| look == octets.len()) || !heard.in_order {
                return Err("it wants more than there is".to_owned());
            }
            let rest = octets.slice(first.len()..);
            let pieces = chunks(&rest).chain([Bytes::from_static(LAST)]);
            heard = exchange(&mut session.link, pieces, most, answer::end).await?;
        }
        let said = Answer::read(&heard.answer)?;
        let again = heard.in_order && !said.closes();
        Ok((said.verdict(octets)?, again.then_some(session)))
    }
}

/// The end of a message.
const LAST: &[u8] = b"0\r\n\r\n";

impl Icap {
    /// The request line, and the fields that all requests have.
    fn line(&self, method: &str) -> String {
        let Self { host, service } = self;
        format!("{method} icap://{host}/{service} ICAP/1.0\r\nHost: {host}\r\nUser-Agent: posthorn\r\n")
    }

    /// Everything in front of the message.
    fn head(&self, takes: Takes, question: &Question<'_>) -> Bytes {
        let octets = question.octets.len();
        let what = format!("Content-Type: message/rfc822\r\nContent-Length: {octets}\r\n\r\n");
        let (method, request, response) = match takes.method {
            Method::Respmod => (
                "RESPMOD",
                "GET /message HTTP/1.1\r\nHost: mail\r\n\r\n".to_owned(),
                format!("HTTP/1.1 200 OK\r\n{what}"),
            ),
            Method::Reqmod => ("REQMOD", format!("POST /message HTTP/1.1\r\nHost: mail\r\n{what}"), String::new()),
        };
        let mut head = self.line(method);
        // §4.6: without it a service that changes nothing sends the message back.
        head.push_str("Allow: 204\r\n");
        if let Some(preview) = takes.preview {
            head.push_str(&format!("Preview: {}\r\n", preview.min(octets)));
        }
        if let Some(address) = question.address() {
            head.push_str(&format!("X-Client-IP: {address}\r\n"));
        }
        let places = match takes.method {
            Method::Respmod => {
                format!("req-hdr=0, res-hdr={}, res-body={}", request.len(), request.len() + response.len())
            }
            Method::Reqmod => format!("req-hdr=0, req-body={}", request.len()),
        };
        head.push_str(&format!("Encapsulated: {places}\r\n\r\n{request}{response}"));
        Bytes::from(head)
    }
}

/// A body in chunks, without its end.
fn chunks(octets: &Bytes) -> impl Iterator<Item = Bytes> {
    (0..octets.len()).step_by(CHUNK).flat_map(|at| {
        let chunk = octets.slice(at..octets.len().min(at + CHUNK));
        [Bytes::from(format!("{:x}\r\n", chunk.len())), chunk, Bytes::from_static(b"\r\n")]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::{Script, failure, message, question, said};

    const OPTIONS: &str = "ICAP/1.0 200 OK\r\nMethods: RESPMOD, REQMOD\r\nISTag: \"a\"\r\nPreview: 10\r\nAllow: 204\r\n\
        Encapsulated: null-body=0\r\n\r\n";
    const WHOLE: &str = "ICAP/1.0 200 OK\r\nMethods: REQMOD\r\nISTag: \"a\"\r\nEncapsulated: null-body=0\r\n\r\n";
    const FINE: &str = "ICAP/1.0 204 No modifications needed\r\nISTag: \"a\"\r\nEncapsulated: null-body=0\r\n\r\n";

    fn icap() -> Icap {
        Icap { host: "mail.here.example".to_owned(), service: "avscan".to_owned() }
    }

    /// A whole request, or the rest of a message behind a look.
    fn complete(heard: &[u8]) -> bool {
        heard.ends_with(b"0\r\n\r\n") || heard.ends_with(b"ieof\r\n\r\n")
    }

    #[tokio::test]
    async fn a_look_is_enough_or_the_rest_follows_on_one_connection() {
        let go_on = "ICAP/1.0 100 Continue\r\n\r\n";
        let server = Script::new().session(&[OPTIONS, FINE, go_on, FINE]).when(complete).serve().await;
        let service = server.service(icap());
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        assert_eq!(said(&service, &question(&octets)).await, Scanned::default());
        let other = message("Subject: y\r\n\r\nbody\r\n");
        assert_eq!(said(&service, &question(&other)).await, Scanned::default());
        let heard = server.heard();
        assert_eq!(heard.len(), 1, "one connection");
        let heard = String::from_utf8_lossy(&heard[0]).into_owned();
        assert!(heard.starts_with("OPTIONS icap://mail.here.example/avscan ICAP/1.0\r\nHost: mail.here.example\r\n"));
        assert!(heard.contains("\r\nAllow: 204\r\nPreview: 10\r\nX-Client-IP: 192.0.2.7\r\n"), "{heard}");
        assert!(heard.contains("Encapsulated: req-hdr=0, res-hdr=37, res-body=106\r\n\r\nGET /message"), "{heard}");
        assert!(heard.ends_with("\r\n\r\na\r\nSubject: y\r\n0\r\n\r\na\r\n\r\n\r\nbody\r\n\r\n0\r\n\r\n"), "{heard}");
    }

    #[tokio::test]
    async fn what_fits_into_the_look_says_so_and_all_goes_where_none_is_wanted() {
        let small = OPTIONS.replace("Preview: 10", "Preview: 1024");
        let server = Script::new().session(&[&small, FINE]).when(complete).serve().await;
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        assert_eq!(said(&server.service(icap()), &question(&octets)).await, Scanned::default());
        let heard = String::from_utf8_lossy(&server.heard()[0]).into_owned();
        assert!(heard.contains("Preview: 20\r\n") && heard.ends_with("body\r\n\r\n0; ieof\r\n\r\n"), "{heard}");

        let server = Script::new().session(&[WHOLE, FINE]).when(complete).serve().await;
        assert_eq!(said(&server.service(icap()), &question(&octets)).await, Scanned::default());
        let heard = String::from_utf8_lossy(&server.heard()[0]).into_owned();
        assert!(heard.contains("REQMOD icap://") && heard.contains("Encapsulated: req-hdr=0, req-body="), "{heard}");
        assert!(!heard.contains("Preview") && heard.ends_with("body\r\n\r\n0\r\n\r\n"), "{heard}");
    }

    #[tokio::test]
    async fn what_it_finds_has_a_name() {
        let found = "ICAP/1.0 200 OK\r\nX-Infection-Found: Type=0; Resolution=2; Threat=Eicar.Test;\r\n\
            Encapsulated: res-hdr=0, res-body=24\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n3\r\nno!\r\n0\r\n\r\n";
        let found = found.replace("res-body=24", "res-body=26");
        let server = Script::new().session(&[WHOLE, &found]).when(complete).serve().await;
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        assert_eq!(said(&server.service(icap()), &question(&octets)).await.viruses, ["Eicar.Test"]);
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_or_stops_is_no_verdict() {
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let none = "ICAP/1.0 404 ICAP Service not found\r\nEncapsulated: null-body=0\r\n\r\n";
        let neither = WHOLE.replace("Methods: REQMOD", "Methods: LOOK");
        let again = "ICAP/1.0 100 Continue\r\n\r\n";
        for (answers, why) in [
            (vec![none], "404"),
            (vec![&neither[..]], "neither"),
            (vec![WHOLE, "ICAP/1.0 500 Server error\r\n\r\n"], "500"),
            (vec![WHOLE, again], "more than there is"),
            (vec![WHOLE, "HTTP/1.1 200 OK\r\n\r\n"], "no ICAP"),
        ] {
            let server = Script::new().session(&answers).when(complete).closing().serve().await;
            let said = failure(&server.service(icap()), &question(&octets)).await;
            assert!(said.contains(why), "{why}: {said}");
        }
    }
}
