//! An engine as the filter sees it: which mail it looks at, which address is asked, and what its silence means.

use std::sync::atomic::{AtomicUsize, Ordering};

use posthorn_config::{Scanner as Settings, ScannerFailure, ScannerShown};
use posthorn_filter::{Case, Fault, Scan, Scanned, Scanner};
use tokio::time::Instant;

use crate::pieces::Pieces;
use crate::place::{Place, Silence};
use crate::protocol::Protocol;
use crate::question::Question;
use crate::remembered::{Key, Remembered};

/// One engine, at one address or several.
pub(crate) struct Service<P: Protocol> {
    settings: Settings,
    protocol: P,
    places: Vec<Place<P::Connection>>,
    backup: Vec<Place<P::Connection>>,
    turn: AtomicUsize,
    remembered: Option<Remembered>,
}

impl<P: Protocol> Service<P> {
    pub(crate) fn new(settings: Settings, protocol: P) -> Self {
        let places = settings.address.iter().map(|address| Place::new(address, &settings)).collect();
        let backup = settings.backup.iter().map(|address| Place::new(address, &settings)).collect();
        let remembered = settings.remember.limit().filter(|_| P::REMEMBERED).map(Remembered::new);
        Self { settings, protocol, places, backup, turn: AtomicUsize::new(0), remembered }
    }

    /// What the engine says of a message. Ends within the configured time, and as much again for the answer of who may have
    /// taken the message over.
    pub(crate) async fn ask(&self, question: &Question<'_>) -> Result<Scanned, Fault> {
        if !self.settings.ways.contains(&question.way) {
            return Ok(Scanned::default());
        }
        let size = question.octets.len() as u64;
        if size > self.settings.max_size.octets() {
            let why = format!("{}: {size} octets are more than it is shown", self.settings.name);
            return Ok(Scanned { unchecked: Some(why), ..Scanned::default() });
        }
        let deadline = Instant::now() + self.settings.time.duration();
        let pieces = match self.settings.shown {
            ScannerShown::Parts if P::TAKES_PARTS => Pieces::of(question.octets),
            _ => None,
        };
        let Some(pieces) = pieces else {
            return self.ask_unless_known(question, deadline, || Remembered::key(question.octets)).await;
        };
        let mut all = Scanned::default();
        for piece in pieces.iter() {
            let asked = Question { octets: &piece, ..question.clone() };
            let said = self.ask_unless_known(&asked, deadline, || Remembered::key_of_part(&piece)).await?;
            if !said.viruses.is_empty() {
                return Ok(said);
            }
            // Behind what it cannot look into there may be a virus all the same.
            all.unchecked = all.unchecked.or(said.unchecked);
        }
        Ok(all)
    }

    async fn ask_unless_known(
        &self,
        question: &Question<'_>,
        deadline: Instant,
        key: impl FnOnce() -> Key,
    ) -> Result<Scanned, Fault> {
        let key = self.remembered.as_ref().map(|remembered| (remembered, key()));
        if let Some(known) = key.as_ref().and_then(|(remembered, key)| remembered.look_up(key)) {
            return Ok(known);
        }
        match self.ask_in_turn(question, deadline).await {
            Ok(said) => {
                if let Some((remembered, key)) = key {
                    remembered.learn(key, &said);
                }
                Ok(said)
            }
            // It may be on its way already: what passed now would come twice, whatever is configured.
            Err(Silence { why, handed: true }) => Err(self.fault(&why, true)),
            Err(Silence { why, .. }) => {
                Err(self.fault(&why, self.settings.failure(question.way) == ScannerFailure::Defer))
            }
        }
    }

    /// Each address once, the backup last, until one may have taken the message over; what rests is left out.
    async fn ask_in_turn(&self, question: &Question<'_>, deadline: Instant) -> Result<Scanned, Silence> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.places.len().max(1);
        let (behind, ahead) = self.places.split_at(first.min(self.places.len()));
        let places: Vec<_> = ahead.iter().chain(behind).chain(&self.backup).filter(|place| !place.rests()).collect();
        let mut reasons = Vec::new();
        for (at, place) in places.iter().enumerate() {
            // A silent address must leave time for the next one.
            let now = Instant::now();
            let share = (deadline - now) / u32::try_from(places.len() - at).unwrap_or(u32::MAX);
            match place.ask(&self.protocol, question, now + share).await {
                Ok(said) => return Ok(said),
                Err(Silence { why, handed }) => {
                    reasons.push(why);
                    if handed {
                        return Err(Silence { why: reasons.join("; "), handed });
                    }
                }
            }
        }
        if reasons.is_empty() {
            reasons.push("not asked: it did not answer a moment ago".to_owned());
        }
        Err(Silence { why: reasons.join("; "), handed: false })
    }

    fn fault(&self, why: &str, closed: bool) -> Fault {
        Fault { text: format!("{}: {why}", self.settings.name), closed }
    }
}

impl<P: Protocol> Scanner for Service<P> {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn looks_for_viruses(&self) -> bool {
        P::LOOKS_FOR_VIRUSES
    }

    fn takes_over(&self) -> bool {
        self.settings.kind.takes_over()
    }

    fn scan<'a>(&'a self, case: &'a Case<'a>) -> Scan<'a> {
        Box::pin(async move {
            match Question::of(case) {
                Some(question) => self.ask(&question).await,
                None => Ok(Scanned::default()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use posthorn_config::{ScannerWay, ServiceAddress, Size, Span};

    use super::*;
    use crate::clamd::Clamd;
    use crate::rig::{Script, message, question, said, settings};

    /// An address where nobody listens.
    async fn nobody() -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("bound")
    }

    fn found(answer: &str) -> Script {
        Script::new().session(&[answer]).when(|heard| heard.ends_with(&[0; 4]))
    }

    #[tokio::test]
    async fn the_backup_is_asked_when_nobody_else_answers() {
        let server = found("1: stream: Backup FOUND\0").serve().await;
        let mut settings = settings(nobody().await);
        settings.backup = vec![server.address()];
        let service = Service::new(settings, Clamd::default());
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        assert_eq!(said(&service, &question(&octets)).await.viruses, ["Backup"]);
    }

    #[tokio::test]
    async fn silence_takes_no_longer_than_it_may_and_leaves_time_for_others() {
        let silent = Script::new().when(|_| false).serve().await;
        let server = found("1: stream: Second FOUND\0").serve().await;
        let mut settings = settings(nobody().await);
        settings.address = vec![silent.address(), server.address()];
        settings.time = Span::from_millis(600);
        let service = Service::new(settings.clone(), Clamd::default());
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        assert_eq!(said(&service, &question(&octets)).await.viruses, ["Second"]);
        settings.address = vec![silent.address()];
        let service = Service::new(settings, Clamd::default());
        let began = std::time::Instant::now();
        let fault = service.ask(&question(&octets)).await.expect_err("no answer");
        assert!(fault.text.contains("no answer in time") && fault.closed, "{fault:?}");
        assert!(began.elapsed() < Duration::from_secs(3));
    }

    #[tokio::test]
    async fn who_fails_three_times_rests() {
        let server = Script::new().session(&["nonsense\0"]).when(|heard| heard.ends_with(&[0; 4])).serve().await;
        let mut settings = settings(nobody().await);
        settings.address = vec![server.address()];
        settings.on_failure_originating = Some(ScannerFailure::Pass);
        let service = Service::new(settings, Clamd::default());
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let mut asked = question(&octets);
        asked.way = ScannerWay::Originating;
        for _ in 0..3 {
            let fault = service.ask(&asked).await.expect_err("no answer");
            assert!(fault.text.contains("nonsense") && !fault.closed, "{fault:?}");
        }
        let fault = service.ask(&asked).await.expect_err("no answer");
        assert!(fault.text.contains("a moment ago"), "{fault:?}");
        assert_eq!(server.heard().len(), 3);
    }

    #[tokio::test]
    async fn behind_a_rest_one_tries_and_the_others_go_on() {
        let silent = Script::new().when(|_| false).serve().await;
        let mut settings = settings(nobody().await);
        settings.address = vec![silent.address()];
        settings.time = Span::from_millis(200);
        let service = Service::new(settings, Clamd::default());
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        for _ in 0..3 {
            service.ask(&question(&octets)).await.expect_err("no answer");
        }
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(11)).await;
        tokio::time::resume();
        let (one, other) = (question(&octets), question(&octets));
        let (one, other) = tokio::join!(service.ask(&one), service.ask(&other));
        let texts = [one, other].map(|answer| answer.expect_err("no answer").text);
        assert!(texts[0].contains("no answer in time") && texts[1].contains("a moment ago"), "{texts:?}");
    }

    #[tokio::test]
    async fn parts_are_asked_about_one_by_one_and_remembered_by_themselves() {
        let script = Script::new().session(&["1: stream: OK\0", "2: stream: OK\0", "3: stream: Bad FOUND\0"]);
        let server = script.when(|heard| heard.ends_with(&[0; 4])).serve().await;
        let settings = Settings { shown: ScannerShown::Parts, ..settings(([127, 0, 0, 1], 1).into()) };
        let settings = Settings { address: vec![server.address()], ..settings };
        let service = Service::new(settings, Clamd::default());
        let octets = message(
            "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n\
             --b\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n",
        );
        assert_eq!(said(&service, &question(&octets)).await, Scanned::default());
        // Another message with a part that was seen, and with one more.
        let other = message(
            "Subject: y\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nhello\r\n--c\r\n\r\nmore\r\n--c--\r\n",
        );
        assert_eq!(said(&service, &question(&other)).await.viruses, ["Bad"]);
        let piece = |text: &str| {
            let length = u8::try_from(text.len()).expect("short");
            [b"zINSTREAM\0\0\0\0".as_slice(), &[length], text.as_bytes(), &[0; 4]].concat()
        };
        let expected = [b"zIDSESSION\0".to_vec(), piece("text"), piece("hello"), piece("more")].concat();
        assert_eq!(server.heard(), [expected]);
    }

    #[tokio::test]
    async fn what_it_is_not_shown_is_unchecked_or_nothing() {
        let mut settings = settings(nobody().await);
        settings.address = vec![ServiceAddress::Unix("/nowhere".into())];
        settings.max_size = Size::bytes(10);
        settings.ways = vec![ScannerWay::Inbound];
        let service = Service::new(settings, Clamd::default());
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let mut asked = question(&octets);
        assert!(said(&service, &asked).await.unchecked.is_some_and(|why| why.contains("octets")));
        asked.way = ScannerWay::List;
        assert_eq!(said(&service, &asked).await, Scanned::default());
    }
}
