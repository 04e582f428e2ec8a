//! A message that comes again because somebody had to wait: who was served by then is left out.

use bytes::Bytes;
use posthorn_filter::Errand;
use posthorn_mail::Intake;
use posthorn_model::Refusal;
use posthorn_smtp::Recipient;
use tokio::sync::OnceCell;

use super::passage::{Passage, Reached};

/// What is known of earlier tries with a message, and noted for later ones.
#[derive(Default)]
pub(super) struct Tries {
    /// Read when somebody asks, which is seldom.
    errand: OnceCell<Errand>,
    served_some: bool,
}

impl Tries {
    /// Whether some recipients have it since an earlier try.
    pub(super) fn served_some(&self) -> bool {
        self.served_some
    }
}

/// All recipients, each with what was said of it if it was served at an earlier try.
pub(super) type Before = Vec<(Recipient, Option<String>)>;

impl Passage {
    /// Leaves those out who were served at an earlier try.
    pub(super) async fn leave_out_served(&mut self, body: &mut Intake) -> Before {
        let served = self.shared.engine.served();
        let mut said = vec![None; self.recipients.len()];
        if !served.is_empty() {
            let errand = self.errand(&body.show()).await;
            said = self.recipients.iter().map(|one| served.find(errand, &one.target.to_string())).collect();
        }
        let whole: Before = std::mem::take(&mut self.recipients).into_iter().zip(said).collect();
        self.recipients = whole.iter().filter(|(_, said)| said.is_none()).map(|(one, _)| one.clone()).collect();
        let left_out = whole.len() - self.recipients.len();
        if left_out > 0 {
            tracing::info!(session.id = %self.session, "{left_out} recipients have the message since an earlier try");
            self.tries.served_some = true;
        }
        whole
    }

    /// Puts those who were left out back in their places. Once the mail server hears that they are served, they need not be
    /// remembered; where it has hung up, they are all the more.
    pub(super) fn with_served(&mut self, before: Before, passed: Result<Vec<Reached>, Refusal>) -> Vec<Reached> {
        let (whole, said): (Vec<Recipient>, Vec<Option<String>>) = before.into_iter().unzip();
        let for_all = passed.is_err() && !self.each_alone;
        let rest = passed.unwrap_or_else(|refusal| vec![Err(refusal); whole.len()]);
        self.recipients = whole;
        if for_all || self.attendance.is_left() {
            return rest;
        }
        if let Some(errand) = self.tries.errand.get() {
            let addresses: Vec<String> = self.recipients.iter().map(|one| one.target.to_string()).collect();
            self.shared.engine.served().forget(errand, addresses.iter().map(String::as_str));
        }
        let mut rest = rest.into_iter();
        said.into_iter().filter_map(|said| said.map(Ok).or_else(|| rest.next())).collect()
    }

    /// Notes who was served while something may still fail, upon which the message comes again for all; so it does when the
    /// mail server has hung up. `at_once`: there is nothing else to do.
    pub(super) async fn note_served(&self, octets: &Bytes, at_once: bool, places: &[usize], all: &[Reached]) {
        if at_once && !self.attendance.is_left() && places.iter().all(|at| all[*at].is_ok()) {
            return;
        }
        for at in places {
            if let Ok(said) = &all[*at] {
                let errand = self.errand(octets).await;
                self.shared.engine.served().note(errand, &self.recipients[*at].target.to_string(), said);
            }
        }
    }

    async fn errand(&self, octets: &Bytes) -> &Errand {
        let sender = self.sender.path.as_ref().map(ToString::to_string).unwrap_or_default();
        let hop = self.hop.as_ref().map(ToString::to_string).unwrap_or_default();
        self.tries.errand.get_or_init(|| async move { Errand::of(octets, &sender, &hop).await }).await
    }
}
