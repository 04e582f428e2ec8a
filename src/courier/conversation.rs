//! One message over one connection: the machine's events become one answer per recipient.

use bytes::Bytes;
use posthorn_config::DeliveryPhase as Phase;
use posthorn_mail::Mail;
use posthorn_mail::queue::Body;
use posthorn_net::{Called, Caller, Parted};
use posthorn_smtp::{Client, ClientEvent, ClientFailure, Envelope, Reply};

use crate::outcome::{Fate, judge};

/// What was said about a message.
#[derive(Debug, Default)]
pub(crate) struct Said {
    sender: Option<Reply>,
    recipients: Vec<Option<Reply>>,
    last: Vec<Option<Reply>>,
    /// How far it came: the body was wanted, and all of it was sent.
    body_began: bool,
    body_ended: bool,
    /// The session ended; a reply of the server's, or of our own that says how.
    pub over: Option<Reply>,
    /// What is wrong with the message: it will never be read to its end.
    pub damage: Option<String>,
}

/// What follows for one recipient.
#[derive(Debug)]
pub(crate) struct Answer {
    pub phase: Phase,
    pub fate: Fate,
    pub reply: Reply,
}

/// Sends a message and hears what is said, until the session is ready for another or over.
pub(crate) async fn send(
    caller: &mut Caller<Client>,
    envelope: &Envelope,
    top: Option<Bytes>,
    body: Body,
    mail: &Mail,
) -> Said {
    let count = envelope.recipients.len();
    let mut said = Said { recipients: vec![None; count], last: vec![None; count], ..Said::default() };
    let mut cargo = Some((top, body));
    caller.machine().send(envelope);
    loop {
        match caller.next().await {
            Called::Event(ClientEvent::BodyWanted) => {
                said.body_began = true;
                let Some((top, body)) = cargo.take() else { continue };
                if let Some(reply) = hand_over(caller, &mut said, top, body, mail).await {
                    said.over = Some(reply);
                    return said;
                }
                // Only what has left us can have been taken.
                while let Some(called) = caller.flush().await {
                    if said.hear(called) {
                        return said;
                    }
                }
                said.body_ended = true;
            }
            called => {
                if said.hear(called) {
                    return said;
                }
            }
        }
    }
}

/// Gives the octets to the machine. A message that cannot be read to its end must not be ended: the connection is then
/// of no more use, which the reply says.
async fn hand_over(
    caller: &mut Caller<Client>,
    said: &mut Said,
    top: Option<Bytes>,
    body: Body,
    mail: &Mail,
) -> Option<Reply> {
    if let Some(top) = top {
        caller.machine().body(top);
    }
    match body {
        Body::Whole(octets) => {
            caller.machine().body(octets.header);
            caller.machine().body(octets.text);
        }
        Body::Parts(mut parts) => {
            caller.machine().body(parts.header.clone());
            loop {
                match parts.next(mail).await {
                    Ok(Some(piece)) => caller.machine().body(piece),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(%error, "a message could not be read while it was sent");
                        said.damage = error.is_damage().then(|| error.to_string());
                        return Some(Reply::new(451, 3, 0, "the message could not be read here"));
                    }
                }
                if let Some(called) = caller.flush().await
                    && said.hear(called)
                {
                    return said.over.clone();
                }
            }
        }
    }
    caller.machine().body_end();
    None
}

impl Said {
    /// Takes an event in; whether nothing more comes.
    fn hear(&mut self, called: Called<ClientEvent>) -> bool {
        match called {
            Called::Event(event) => match event {
                ClientEvent::Sender(reply) => self.sender = Some(reply),
                ClientEvent::Recipient { at, reply } => set(&mut self.recipients, at, reply),
                ClientEvent::Done(results) => {
                    results.into_iter().for_each(|(at, reply)| set(&mut self.last, at, reply));
                }
                ClientEvent::Failed(failure) => self.over = Some(words(&failure)),
                ClientEvent::Ready => return true,
                ClientEvent::AuthChallenge(_) | ClientEvent::Authenticated(_) | ClientEvent::BodyWanted => {}
            },
            Called::Closed(parted) => {
                self.over.get_or_insert_with(|| lost(&parted));
                return true;
            }
        }
        false
    }

    /// What follows for the recipient at this place.
    pub(crate) fn answer(&self, at: usize) -> Answer {
        let of =
            |phase, reply: &Reply, earlier| Answer { phase, fate: judge(phase, reply, earlier), reply: reply.clone() };
        let refused = |reply: &&Reply| !reply.is_positive();
        if let Some(reply) = self.sender.as_ref().filter(refused) {
            return of(Phase::Mail, reply, false);
        }
        let own = self.recipients.get(at).and_then(Option::as_ref);
        if let Some(reply) = own.filter(refused) {
            let earlier = self.recipients[..at].iter().flatten().any(Reply::is_positive);
            return of(Phase::Rcpt, reply, earlier);
        }
        if let Some(reply) = self.last.get(at).and_then(Option::as_ref) {
            return of(if self.body_began { Phase::Body } else { Phase::Data }, reply, false);
        }
        let phase = match (&self.sender, own, self.body_began) {
            (None, ..) => Phase::Mail,
            (Some(_), None, _) => Phase::Rcpt,
            (Some(_), Some(_), false) => Phase::Data,
            (Some(_), Some(_), true) => Phase::Body,
        };
        match &self.over {
            Some(reply) if reply.code == 421 => of(phase, reply, false),
            // RFC 5321 §4.5.3.2.6, RFC 1047: it may have been taken. Trying again at once would make a second copy more
            // probable, not trying again could lose it.
            Some(reply) if self.body_ended => {
                let text = format!("{}; whether the message was taken is not known", reply.text);
                Answer { phase, fate: Fate::Deferred, reply: Reply { text: text.into(), ..reply.clone() } }
            }
            Some(reply) => Answer { phase, fate: Fate::NextHost, reply: reply.clone() },
            None => Answer {
                phase,
                fate: Fate::Deferred,
                reply: Reply::new(451, 5, 0, "the server said nothing about this recipient"),
            },
        }
    }
}

fn set(replies: &mut [Option<Reply>], at: usize, reply: Reply) {
    if let Some(place) = replies.get_mut(at) {
        *place = Some(reply);
    }
}

/// A failure of the session as a reply: the server's own, or ours about it.
pub(crate) fn words(failure: &ClientFailure) -> Reply {
    match failure {
        ClientFailure::Injection => Reply::new(451, 5, 0, "the server spoke without being asked"),
        ClientFailure::Malformed => Reply::new(451, 5, 0, "the server said something that is no SMTP reply"),
        ClientFailure::Refused(reply) => reply.clone(),
        ClientFailure::Silent => Reply::new(451, 4, 2, "the server did not answer in time"),
        ClientFailure::TooLong => Reply::new(451, 5, 0, "its reply is too long"),
        ClientFailure::TlsNotOffered => Reply::new(451, 7, 4, "TLS is required, and the server does not offer it"),
    }
}

/// The end of a connection as a reply of ours.
pub(crate) fn lost(parted: &Parted) -> Reply {
    match parted {
        Parted::Tls(failure) => Reply::new(451, 7, 5, failure.to_string()),
        Parted::Injected => Reply::new(451, 7, 5, parted.to_string()),
        other => Reply::new(451, 4, 2, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sender: u16, recipients: &[u16], last: &[(usize, u16)]) -> Said {
        let reply = |code: &u16| Some(Reply::plain(*code, "x"));
        let mut said = Said {
            sender: reply(&sender),
            recipients: recipients.iter().map(reply).collect(),
            last: vec![None; recipients.len()],
            ..Said::default()
        };
        for (at, code) in last {
            said.body_began = true;
            said.last[*at] = reply(code);
        }
        said
    }

    fn fates(said: &Said) -> Vec<(Phase, Fate)> {
        (0..said.recipients.len()).map(|at| said.answer(at)).map(|answer| (answer.phase, answer.fate)).collect()
    }

    #[test]
    fn each_recipient_has_its_own_answer() {
        let all = said(250, &[250, 550, 450], &[(0, 250)]);
        let expected = [(Phase::Body, Fate::Delivered), (Phase::Rcpt, Fate::Failed), (Phase::Rcpt, Fate::Deferred)];
        assert_eq!(fates(&all), expected);
        let refused = said(550, &[503, 503], &[]);
        assert_eq!(fates(&refused), [(Phase::Mail, Fate::Failed); 2], "what came before all else counts");
        let lmtp = said(250, &[250, 250], &[(0, 250), (1, 452)]);
        assert_eq!(fates(&lmtp), [(Phase::Body, Fate::Delivered), (Phase::Body, Fate::Deferred)]);
    }

    #[test]
    fn too_many_recipients_follow_later() {
        let some = said(250, &[250, 452, 452], &[(0, 250)]);
        let expected = [(Phase::Body, Fate::Delivered), (Phase::Rcpt, Fate::Again), (Phase::Rcpt, Fate::Again)];
        assert_eq!(fates(&some), expected);
    }

    #[test]
    fn a_lost_connection_is_judged_by_how_far_it_came() {
        let mut before = said(250, &[250], &[]);
        before.over = Some(lost(&Parted::Eof));
        assert_eq!(fates(&before), [(Phase::Data, Fate::NextHost)]);
        before.body_began = true;
        assert_eq!(fates(&before), [(Phase::Body, Fate::NextHost)]);
        before.body_ended = true;
        assert_eq!(fates(&before), [(Phase::Body, Fate::Deferred)]);
        assert!(before.answer(0).reply.text.contains("not known"));
        before.over = Some(Reply::plain(421, "going down"));
        assert_eq!(fates(&before), [(Phase::Body, Fate::NextHost)]);
        let mut partly = said(250, &[250, 250], &[(0, 250)]);
        (partly.over, partly.body_ended) = (Some(lost(&Parted::Eof)), true);
        assert_eq!(fates(&partly), [(Phase::Body, Fate::Delivered), (Phase::Body, Fate::Deferred)]);
    }
}
