//! Engines that say what a script says.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use posthorn_config::{Scanner as Settings, ScannerKind, ScannerShown, ScannerWay, ServiceAddress};
use posthorn_filter::Scanned;
use posthorn_model::policy::Inquiry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::protocol::Protocol;
use crate::question::{Addressee, Question};
use crate::service::Service;

/// What an engine says on each connection.
pub(crate) struct Script {
    greeting: Vec<u8>,
    answers: Vec<Vec<u8>>,
    closes: bool,
    late: Duration,
    when: fn(&[u8]) -> bool,
}

/// An engine that runs.
pub(crate) struct Scripted {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { greeting: Vec::new(), answers: Vec::new(), closes: false, late: Duration::ZERO, when: |_| true }
    }

    /// What it says first.
    pub(crate) fn greeting(self, text: &str) -> Self {
        Self { greeting: text.into(), ..self }
    }

    /// Its answers, one for each question.
    pub(crate) fn session(self, answers: &[&str]) -> Self {
        self.octets(answers.iter().map(|answer| answer.as_bytes().to_vec()).collect())
    }

    pub(crate) fn octets(self, answers: Vec<Vec<u8>>) -> Self {
        Self { answers, ..self }
    }

    /// It closes behind its last answer; otherwise it says no more.
    pub(crate) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    /// It thinks so long before its last answer.
    pub(crate) fn late(self, late: Duration) -> Self {
        Self { late, ..self }
    }

    /// When a question is complete, by everything heard on the connection.
    pub(crate) fn when(self, when: fn(&[u8]) -> bool) -> Self {
        Self { when, ..self }
    }

    pub(crate) async fn serve(self) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let all = Arc::clone(&heard);
        let script = Arc::new(self);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (all, script) = (Arc::clone(&all), Arc::clone(&script));
                tokio::spawn(async move {
                    let at = {
                        let mut all = all.lock();
                        all.push(Vec::new());
                        all.len() - 1
                    };
                    stream.write_all(&script.greeting).await?;
                    let mut answers = script.answers.iter();
                    loop {
                        if answers.len() == 0 && script.closes {
                            return stream.shutdown().await;
                        }
                        let mut buffer = vec![0; 8192];
                        let count = stream.read(&mut buffer).await?;
                        let complete = {
                            let mut all = all.lock();
                            all[at].extend_from_slice(&buffer[..count]);
                            (script.when)(&all[at])
                        };
                        if count == 0 {
                            return Ok(());
                        }
                        if let Some(answer) = answers.next().filter(|_| complete) {
                            if answers.len() == 0 {
                                tokio::time::sleep(script.late).await;
                            }
                            stream.write_all(answer).await?;
                        }
                    }
                });
            }
        });
        Scripted { address, heard }
    }
}

impl Scripted {
    pub(crate) fn address(&self) -> ServiceAddress {
        ServiceAddress::Tcp(self.address)
    }

    /// What it heard, by connection.
    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().clone()
    }

    pub(crate) fn service<P: Protocol>(&self, protocol: P) -> Service<P> {
        service_at(protocol, self.address)
    }
}

/// An engine's service with usual settings.
pub(crate) fn service_at<P: Protocol>(protocol: P, address: SocketAddr) -> Service<P> {
    Service::new(settings(address), protocol)
}

pub(crate) fn settings(address: SocketAddr) -> Settings {
    let settings = Settings::new("engine", ScannerKind::Clamd, ServiceAddress::Tcp(address));
    Settings { shown: ScannerShown::Message, ..settings }
}

pub(crate) fn message(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

static INQUIRY: LazyLock<Inquiry> = LazyLock::new(|| {
    let mut inquiry = Inquiry { helo: Some("client.example".to_owned()), ..Inquiry::default() };
    inquiry.client.address = Some([192, 0, 2, 7].into());
    inquiry.protocol = "ESMTP".to_owned();
    inquiry
});

/// A question about a message from Ann to Bob.
pub(crate) fn question(octets: &Bytes) -> Question<'_> {
    Question {
        way: ScannerWay::Inbound,
        inquiry: &INQUIRY,
        sender: "ann@origin.example".to_owned(),
        recipients: vec![Addressee { address: "bob@here.example", notify: None, orcpt: None }],
        octets,
        eight_bit: false,
        smtputf8: false,
        ret: None,
        envid: None,
    }
}

/// The same, also to Carol.
pub(crate) fn two(octets: &Bytes) -> Question<'_> {
    let mut question = question(octets);
    question.recipients.push(Addressee { address: "carol@here.example", notify: None, orcpt: None });
    question
}

pub(crate) async fn said<P: Protocol>(service: &Service<P>, question: &Question<'_>) -> Scanned {
    service.ask(question).await.expect("an answer")
}

pub(crate) async fn failure<P: Protocol>(service: &Service<P>, question: &Question<'_>) -> String {
    service.ask(question).await.expect_err("no answer").text
}
