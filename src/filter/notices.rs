//! Letters about what was found: to recipients whom it did not reach, and to administrators. Never to senders: most of
//! them are forged, and whose mail is refused hears of it while connected.

mod letter;
mod ration;

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use posthorn_mail::copies::{Fate, Treatment};
use posthorn_mail::route::Route;
use posthorn_model::Address;
use tokio::sync::Notify;

use self::letter::{ADMINISTRATOR, RECIPIENT, letter};
use self::ration::Ration;
use crate::recipient::Wishes;
use crate::{Case, Category, Filter, Judgement};

/// The most letters that wait to be written.
const MOST_WAITING: usize = 1000;

/// What may have to be told of one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Notices {
    /// Whom, and of which recipients' copies.
    told: Vec<Told>,
    /// Names and values of what is known of the message, for the texts.
    facts: Vec<(&'static str, String)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Told {
    to: String,
    is_recipient: bool,
    /// Places in the envelope.
    of: Vec<usize>,
}

/// Letters on their way.
#[derive(Default)]
pub(crate) struct Waiting {
    letters: Mutex<VecDeque<Letter>>,
    ration: Mutex<Ration>,
    news: Notify,
}

struct Letter {
    to: Address,
    subject: String,
    text: String,
}

/// Gathers, recipient by recipient, whom a message is to be told.
#[derive(Debug, Default)]
pub(crate) struct Gathering(Vec<Told>);

impl Gathering {
    /// What one recipient wants to be told, and have told.
    pub(crate) fn add(&mut self, case: &Case<'_>, at: usize, wishes: &Wishes, category: Category) {
        let recipient = &case.envelope.recipients[at];
        if wishes.warn.of(category) == Some(&true) && matches!(*recipient.route, Route::Local { .. }) {
            self.0.push(Told { to: recipient.address.clone(), is_recipient: true, of: vec![at] });
        }
        // Below the last level there is too much of it to be told.
        let admin = wishes.admin.of(category).filter(|admin| !admin.is_empty() && category != Category::Spammy);
        let Some(admin) = admin else { return };
        match self.0.iter_mut().find(|told| !told.is_recipient && told.to == *admin) {
            Some(told) => told.of.push(at),
            None => self.0.push(Told { to: admin.clone(), is_recipient: false, of: vec![at] }),
        }
    }

    /// What is to be told of the message; `None` when nobody wants to hear.
    pub(crate) fn close(self, case: &Case<'_>) -> Option<Box<Notices>> {
        if self.0.is_empty() {
            return None;
        }
        let header = case.header();
        let field = |name| posthorn_mime::header_text(header, name).next().unwrap_or_default();
        let sender = case.sender();
        let client = case.envelope.client.as_ref().map(|client| client.address);
        let client = client.or(case.inquiry.client.address).map(|address| address.to_string());
        let facts = vec![
            ("sender", if sender.is_empty() { "<>".to_owned() } else { sender }),
            ("author", field("From")),
            ("subject", field("Subject")),
            ("header_id", field("Message-ID")),
            ("client", client.unwrap_or_else(|| "unknown".to_owned())),
        ];
        Some(Box::new(Notices { told: self.0, facts }))
    }
}

impl Filter {
    /// Tells whoever wants to know what became of a message: `treatments` where it was taken, with the names of what is
    /// held; `None` where it was refused for all. Letters are written later, and at most so many to one address in an
    /// hour.
    pub fn tell(&self, judgement: &Judgement, treatments: Option<&[Treatment]>, held: &[String]) {
        let Some(notices) = &judgement.notices else { return };
        let shared = &self.shared;
        let texts = &shared.section.notices;
        for told in &notices.told {
            let fate = |at: &usize| match treatments {
                Some(all) => all.get(*at).map(|treatment| &treatment.fate),
                None => judgement.rulings.get(*at).map(|ruling| &ruling.fate),
            };
            // Who gets it sees it; and what is deferred comes again.
            let is_news = |at: &usize| match fate(at) {
                Some(Fate::Refuse(refusal)) => !refusal.is_temporary(),
                Some(Fate::Hold(_)) => true,
                Some(Fate::Deliver | Fate::Junk) => !told.is_recipient,
                None => false,
            };
            let of: Vec<usize> = told.of.iter().copied().filter(is_news).collect();
            let (Some(first), Ok(to)) = (of.first(), Address::parse(&told.to)) else { continue };
            let Some(ruling) = judgement.rulings.get(*first) else { continue };
            let ration = shared.waiting.ration.lock().take(&told.to, shared.mail.now(), texts.per_hour);
            let Some(left_out) = ration else { continue };
            let (own, usual) = match told.is_recipient {
                true => (&texts.recipient_text, RECIPIENT),
                false => (&texts.administrator_text, ADMINISTRATOR),
            };
            let mut facts = notices.facts.clone();
            let is_held = matches!(fate(first), Some(Fate::Hold(_)));
            facts.extend([
                ("what", letter::what(ruling.category).to_owned()),
                ("why", ruling.why.clone()),
                ("fate", letter::fate(fate(first))),
                (
                    "recipients",
                    of.iter().filter_map(|at| judgement.recipients.get(*at)).cloned().collect::<Vec<_>>().join(", "),
                ),
                ("held", if is_held { held.join(", ") } else { String::new() }),
            ]);
            let text = letter(if own.is_empty() { usual } else { own }, &facts, left_out);
            let subject = letter::subject(ruling.category, &facts);
            let mut letters = shared.waiting.letters.lock();
            if letters.len() < MOST_WAITING {
                letters.push_back(Letter { to, subject, text });
            }
        }
        shared.waiting.news.notify_one();
    }

    /// Writes the letters that wait. Never returns.
    pub(crate) async fn write_letters(&self) {
        loop {
            self.shared.waiting.news.notified().await;
            self.post().await;
        }
    }

    /// Writes all letters that wait now.
    pub(crate) async fn post(&self) {
        let waiting = Arc::clone(&self.shared);
        loop {
            let Some(Letter { to, subject, text }) = waiting.waiting.letters.lock().pop_front() else { return };
            if let Err(error) = waiting.mail.notify(&to, &subject, &text).await {
                tracing::warn!(%error, recipient = %to, "a letter about what was found is lost");
            }
        }
    }
}
