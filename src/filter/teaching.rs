//! Showing the classifier what is spam and what is not, and asking for points without a consequence.

use std::time::Duration;

use bytes::Bytes;
use posthorn_contents::{Contents, Limits};
use posthorn_mail::envelope::Envelope;
use posthorn_mail::opinions::Opinion;
use posthorn_model::policy::Inquiry;
use posthorn_store::filter::words::EVERYBODY;

use crate::engine::walk;
use crate::score::{Memo, Scored};
use crate::{Case, Evidence, Filter, Way};

/// Opinions that are taken up at one time.
const TAKEN: usize = 100;
/// How long what cannot be read, or taken up, waits.
const PAUSE: Duration = Duration::from_millis(500);

impl Filter {
    /// What a message scores. Changes nothing; asks the lists in the DNS.
    pub async fn points(&self, case: &Case<'_>) -> Scored {
        let contents = Contents::of(case.octets, &Limits::default());
        self.shared.scoring.score(&Evidence { case, contents: &contents }).await
    }

    /// A message that was judged is accepted: what is to be remembered of it is.
    pub fn accepted(&self, memo: &Memo) {
        self.shared.scoring.remember(memo);
    }

    /// Learns a message at once, for everybody. Returns whether it was new, or was held to be the contrary.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn teach(&self, octets: &Bytes, is_spam: bool) -> posthorn_mail::Result<bool> {
        self.learn(octets, &[EVERYBODY], is_spam).await;
        let mut connection = self.shared.mail.store().acquire().await?;
        let learned = self.shared.scoring.write_lessons(&mut connection, self.shared.mail.now()).await?;
        Ok(learned > 0)
    }

    /// What should have been learned and was not, because too much waited.
    #[must_use]
    pub fn untaught(&self) -> u64 {
        self.shared.scoring.untaught() + self.shared.mail.opinions().dropped()
    }

    /// Learns from what people do with their messages. Never returns.
    pub(crate) async fn listen(&self) {
        let classifier = &self.shared.section.classifier;
        if !(self.shared.section.enable && classifier.enable && classifier.learn_from_moves) {
            return std::future::pending().await;
        }
        let mut told = 0;
        loop {
            for opinion in self.shared.mail.opinions().next(TAKEN).await {
                while let Err(error) = self.hear_out(&opinion).await {
                    tracing::warn!(%error, "a message that somebody judged cannot be read, trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            let untaught = self.untaught();
            if untaught > told {
                tracing::warn!(untaught, "people judge more messages than can be learned; some were left out");
                told = untaught;
            }
        }
    }

    async fn hear_out(&self, opinion: &Opinion) -> posthorn_mail::Result<()> {
        let Opinion { account, message, is_spam } = *opinion;
        let mail = &self.shared.mail;
        while !self.shared.scoring.has_room() {
            tokio::time::sleep(PAUSE).await;
        }
        let size = mail.messages(&[message.0]).await?.get(&message).map(|message| message.size);
        if size.is_none_or(|size| size > self.shared.section.score_up_to.octets()) {
            return Ok(());
        }
        let Some(octets) = mail.bodies(&[message.0]).await?.remove(&message) else { return Ok(()) };
        let accounts = [account.0, EVERYBODY];
        let shared = usize::from(self.shared.section.classifier.share_moves);
        self.learn(&octets.whole, &accounts[..1 + shared], is_spam).await;
        Ok(())
    }

    /// Takes a message to be learned. It is written behind, and what was learned already counts once.
    async fn learn(&self, octets: &Bytes, accounts: &[i64], is_spam: bool) {
        let (inquiry, envelope) = (Inquiry::default(), Envelope::default());
        let now = self.shared.mail.now();
        let case = Case { way: Way::Inbound, inquiry: &inquiry, envelope: &envelope, octets, checked: None, now };
        let contents = walk(octets).await;
        let evidence = Evidence { case: &case, contents: &contents };
        self.shared.scoring.learn(&evidence, accounts.iter().copied(), is_spam);
    }
}
