//! One connection, from its opening to its end: message after message as long as there are some.

use std::sync::Arc;

use bytes::Bytes;
use posthorn_config::DeliveryPhase as Phase;
use posthorn_mail::Reservation;
use posthorn_mail::convert::{Narrow, Narrowed};
use posthorn_mail::queue::{Body, Outgoing};
use posthorn_model::{BodyType, ByMode, Notify};
use posthorn_net::Called;
use posthorn_smtp::{Dialect, Envelope, Extension, Reply};
use tokio::time::{Duration, sleep, timeout};

use crate::adaptive::Heard;
use crate::conversation::Answer;
use crate::job::{Job, Row};
use crate::limit::Place;
use crate::outcome::Fate;
use crate::reach::{Line, reach};
use crate::settle::{Handover, Settled, Verdict};
use crate::site::{Site, Turn};
use crate::{Office, conversation, envelope};

/// Opens a connection and works until nobody needs it any more. `held` are its places under all limits.
pub(crate) async fn run(office: Arc<Office>, site: Arc<Site>, held: Vec<Place>) {
    let reached = tokio::select! {
        reached = reach(&office, &site) => Some(reached),
        () = office.stopping() => None,
    };
    match reached {
        None => {
            drop(held);
            site.abandoned();
        }
        Some(Err(failure)) => {
            drop(held);
            site.opened(Err(failure));
        }
        Some(Ok(line)) => {
            site.opened(Ok(()));
            Session { office, site: Arc::clone(&site), line, carried: 0 }.work().await;
            drop(held);
            site.closed();
        }
    }
}

struct Session {
    office: Arc<Office>,
    site: Arc<Site>,
    line: Line,
    /// Messages so far.
    carried: u32,
}

/// What is sent.
struct Prepared {
    envelope: Envelope,
    top: Option<Bytes>,
    body: Body,
    /// The memory of a message that was converted.
    held: Option<Reservation>,
}

/// Whether the connection is good for another message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Still {
    Good,
    Over,
}

impl Session {
    async fn work(mut self) {
        let idle = self.site.options.idle.duration();
        while !self.office.is_stopping() && self.office.life.is_valid() {
            let still = match self.site.turn(self.carried, self.office.mail.now()) {
                Turn::Job(job) => {
                    self.carried += 1;
                    self.carry(job).await
                }
                Turn::Leave => break,
                Turn::Idle(free) => {
                    if idle.is_zero() || !self.office.wants_idle(&self.site) {
                        break;
                    }
                    tokio::select! {
                        biased;
                        () = free.ready() => Still::Good,
                        still = watch(&mut self.line) => still,
                        () = sleep(idle) => break,
                        () = self.office.stopping() => break,
                    }
                }
                Turn::Wait(when) => {
                    let wait = (when - self.office.mail.now()).to_std().unwrap_or_default();
                    if wait > idle.max(Duration::from_secs(1)) {
                        self.site.ring_at(when, &self.office);
                        break;
                    }
                    tokio::select! {
                        () = sleep(wait) => Still::Good,
                        still = watch(&mut self.line) => still,
                        () = self.office.stopping() => break,
                    }
                }
            };
            if still == Still::Over {
                return;
            }
        }
        self.line.caller.machine().quit();
        let goodbye = async { while let Called::Event(_) = self.line.caller.next().await {} };
        let _impolite = timeout(QUIT_TIME, goodbye).await;
    }

    /// Sends one message and settles what became of its recipients.
    async fn carry(&mut self, mut job: Job) -> Still {
        let Some(Prepared { envelope, top, body, held }) = self.prepare(&mut job).await else { return Still::Good };
        if !self.office.life.is_valid() {
            // The lease was not renewed in time: nothing is sent before it is.
            self.site.push_back(job);
            return Still::Good;
        }
        let carried = self.site.carry(job.rows.len());
        let said = conversation::send(&mut self.line.caller, &envelope, top, body, &self.office.mail).await;
        drop(carried);
        drop(held);
        let still = if said.over.is_some() { Still::Over } else { Still::Good };
        let rows = std::mem::take(&mut job.rows);
        if let Some(damage) = &said.damage {
            // Trying again would find it again.
            self.set_aside(rows, &job, &format!("its octets: {damage}"));
            return still;
        }
        let (mut settled, mut again, mut elsewhere) = (Vec::with_capacity(rows.len()), Vec::new(), Vec::new());
        let mut heard: Option<(Phase, Reply)> = None;
        for (at, row) in rows.into_iter().enumerate() {
            let answer = said.answer(at);
            let verdict = match answer.fate {
                Fate::Again => {
                    again.push(row);
                    continue;
                }
                Fate::NextHost => {
                    elsewhere.push((row, answer));
                    continue;
                }
                Fate::Deferred => Verdict::Deferred,
                Fate::Delivered => Verdict::Delivered(self.handover(&row, &job.outgoing)),
                Fate::Failed => Verdict::Failed,
            };
            match verdict {
                Verdict::Delivered(_) => self.site.tuned.went_well(),
                // What was said once about many recipients is one hint.
                _ if heard.as_ref().is_some_and(|(_, reply)| *reply == answer.reply) => {}
                _ => {
                    self.heard(&row, &answer, heard.is_some());
                    heard = Some((answer.phase, answer.reply.clone()));
                }
            }
            settled.push(self.settled(&job, row, verdict, answer.reply));
        }
        if let Some((row, answer)) = elsewhere.first() {
            self.site.note_unwell(&self.line.host, self.office.mail.now());
            self.heard(row, answer, heard.is_some());
        }
        let turns = job.turns + 1;
        let more_turns = turns < TURNS;
        let (elsewhere, given_up): (Vec<_>, Vec<_>) = elsewhere.into_iter().partition(|_| more_turns);
        for (row, answer) in given_up {
            settled.push(self.settled(&job, row, Verdict::Deferred, answer.reply));
        }
        self.office.settle(settled);
        if !again.is_empty() {
            self.site.push_back(job.with(again));
        }
        if !elsewhere.is_empty() {
            let rows = elsewhere.into_iter().map(|(row, _)| row).collect();
            self.site.push_back(Job { turns, ..job.with(rows) });
        }
        still
    }

    /// What was said about a recipient may match a rule; `repeated` when others of the message were refused before.
    fn heard(&self, row: &Row, answer: &Answer, repeated: bool) {
        let (phase, reply, domain) = (answer.phase, &answer.reply, row.delivery.domain.as_str());
        let tried = row.delivery.attempts > 0;
        self.office.heard(&self.site, Heard { phase, reply, text: "", domain, tried, repeated });
    }

    /// The envelope and the octets; `None` when there is nothing to send: everything is settled then.
    async fn prepare(&mut self, job: &mut Job) -> Option<Prepared> {
        let now = self.office.mail.now();
        // What was claimed in an earlier life belongs to others now.
        let claim = self.office.life.claim();
        job.rows.retain(|row| row.delivery.claim.is_none_or(|of| of == claim));
        let mut sender = match envelope::sender(&job.outgoing, now) {
            Ok(sender) => sender,
            Err(why) => {
                self.set_aside(std::mem::take(&mut job.rows), job, &why);
                return None;
            }
        };
        let mut recipients = Vec::with_capacity(job.rows.len());
        let mut good = Vec::with_capacity(job.rows.len());
        for row in std::mem::take(&mut job.rows) {
            match envelope::recipient(&row.delivery) {
                Ok(recipient) => {
                    recipients.push(recipient);
                    good.push(row);
                }
                Err(why) => {
                    self.set_aside(vec![row], job, &why);
                }
            }
        }
        job.rows = good;
        if recipients.is_empty() {
            return None;
        }
        if !self.fits(job, sender.size.unwrap_or_default()) {
            return None;
        }
        let mut body = self.body(job).await?;
        let mut top = job.outgoing.top.clone().map(Bytes::from);
        let mut held = None;
        if self.is_too_wide(&job.outgoing) {
            let narrow = self.narrow(job, body).await?;
            // RFC 1870 §6: the size is that of what is sent.
            sender.size = Some(narrow.size());
            sender.body = posthorn_smtp::BodyType::SevenBit;
            if !self.fits(job, narrow.size()) {
                return None;
            }
            (body, top, held) = (Body::Whole(narrow.octets), narrow.top, Some(narrow.held));
        }
        let envelope = Envelope { sender, recipients, chunking: self.site.options.chunking };
        Some(Prepared { envelope, top, body, held })
    }

    /// Whether the server takes so many octets; if not, everything is settled.
    fn fits(&mut self, job: &mut Job, size: u64) -> bool {
        if let Some(most) = self.line.caller.machine().capabilities().size.filter(|most| size > *most) {
            // RFC 1870 §6: what is declared too large need not be tried.
            let text = format!("the message has {size} octets, and the server takes no more than {most}");
            let reply = Reply::new(552, 3, 4, text);
            let rows = std::mem::take(&mut job.rows);
            let failed = |row| self.settled(job, row, Verdict::Failed, reply.clone());
            self.office.settle(rows.into_iter().map(failed).collect());
            return false;
        }
        true
    }

    /// The octets; `None` when they cannot be had: everything is settled then.
    async fn body(&self, job: &mut Job) -> Option<Body> {
        if let Some(cargo) = &job.cargo {
            return Some(Body::Whole(cargo.octets.clone()));
        }
        match self.office.mail.queue().body(job.outgoing.message, job.outgoing.size).await {
            Ok(Some(body)) => Some(body),
            Ok(None) => {
                self.set_aside(std::mem::take(&mut job.rows), job, "its octets are lost");
                None
            }
            Err(error) if error.is_damage() => {
                self.set_aside(std::mem::take(&mut job.rows), job, &format!("its octets: {error}"));
                None
            }
            Err(error) => {
                tracing::error!(queue.id = %job.outgoing.id, %error, "a message that leaves could not be read");
                let until = self.office.mail.now() + BODY_AGAIN;
                let rows = std::mem::take(&mut job.rows);
                let put_off = |row| Settled::quiet(&job.outgoing, row, Verdict::PutOff(until));
                self.office.settle(rows.into_iter().map(put_off).collect());
                None
            }
        }
    }

    /// Whether the server did not offer to take octets such as the message's.
    fn is_too_wide(&mut self, outgoing: &Outgoing) -> bool {
        let capabilities = self.line.caller.machine().capabilities();
        let offers = |extension| capabilities.offers(extension);
        if outgoing.smtputf8 && !offers(Extension::SmtpUtf8) {
            // It is refused for that.
            return false;
        }
        match outgoing.body_type {
            BodyType::SevenBit => false,
            // RFC 6531 §3.1: who takes UTF-8 takes octets.
            BodyType::EightBit => !offers(Extension::EightBitMime) && !outgoing.smtputf8,
            BodyType::Binary => {
                !(offers(Extension::BinaryMime) && offers(Extension::Chunking) && offers(Extension::Pipelining))
            }
        }
    }

    /// The message for a server that takes seven bits only (RFC 6152 §3); `None` when there is none: everything is settled
    /// then.
    async fn narrow(&self, job: &mut Job, body: Body) -> Option<Narrow> {
        let reply = match self.office.mail.narrow(&job.outgoing, body, &self.line.host).await {
            Ok(Narrowed::Done(narrow)) => return Some(narrow),
            Ok(Narrowed::Impossible(why)) => {
                let text = format!("the server takes seven bits only, and the message cannot be converted: {why}");
                Reply::new(554, 6, 3, text)
            }
            Ok(Narrowed::Busy) => Reply::new(452, 3, 1, "there is no memory at the moment to convert the message"),
            Err(error) if error.is_damage() => {
                self.set_aside(std::mem::take(&mut job.rows), job, &format!("its octets: {error}"));
                return None;
            }
            Err(error) => {
                tracing::error!(queue.id = %job.outgoing.id, %error, "a message that leaves could not be converted");
                Reply::new(451, 3, 0, "the message could not be converted for a server that takes seven bits only")
            }
        };
        let verdict = if reply.code >= 500 { Verdict::Failed } else { Verdict::Deferred };
        let rows = std::mem::take(&mut job.rows);
        let settled = |row| Settled::new(&job.outgoing, row, verdict.clone(), reply.clone());
        self.office.settle(
            rows.into_iter().map(|row| settled(row).at(&self.site, Some(Arc::clone(&self.line.host)))).collect(),
        );
        None
    }

    /// One poisonous row never stops the rest: it waits for somebody who looks at it.
    fn set_aside(&self, rows: Vec<Row>, job: &Job, why: &str) {
        tracing::error!(queue.id = %job.outgoing.id, why, "a delivery is set aside");
        let aside = |row| Settled::quiet(&job.outgoing, row, Verdict::SetAside(why.to_owned()));
        self.office.settle(rows.into_iter().map(aside).collect());
    }

    fn settled(&self, job: &Job, row: Row, verdict: Verdict, reply: Reply) -> Settled {
        let host = Some(Arc::clone(&self.line.host));
        // What nobody reports need not be kept in memory until it is recorded.
        let cargo = job.cargo.as_ref().filter(|_| verdict != Verdict::Delivered(Handover::Passed));
        Settled::new(&job.outgoing, row, verdict, reply).at(&self.site, host).over(&self.line.facts).bearing(cargo)
    }

    /// Who reports that it was delivered.
    fn handover(&mut self, row: &Row, outgoing: &Outgoing) -> Handover {
        let offers_time = self.line.caller.machine().capabilities().offers(Extension::DeliverBy);
        let by_notice = outgoing.deliver_by.is_some_and(|(_, mode)| mode == ByMode::Notify);
        let is_last = self.site.path.dialect == Dialect::Lmtp;
        if by_notice && !offers_time && !is_last && row.delivery.notify != Some(Notify::NEVER) {
            return Handover::Unpromised;
        }
        let wanted = row.delivery.notify.is_some_and(|notify| notify.wants(Notify::SUCCESS));
        if !wanted || self.line.caller.machine().capabilities().offers(Extension::Dsn) {
            Handover::Passed
        } else if self.site.path.dialect == Dialect::Lmtp {
            Handover::Final
        } else {
            Handover::Relayed
        }
    }
}

/// Ends when the other side closes a connection that waits.
async fn watch(line: &mut Line) -> Still {
    loop {
        if let Called::Closed(_) = line.caller.next().await {
            return Still::Over;
        }
    }
}

/// Hosts that are tried at once when one fails in the middle of a transaction.
const TURNS: u32 = 3;
/// How long the answer to QUIT is worth waiting for.
const QUIT_TIME: Duration = Duration::from_secs(5);
/// When a message that could not be read is tried again.
const BODY_AGAIN: chrono::TimeDelta = chrono::TimeDelta::seconds(60);
