//! GETQUOTA and GETQUOTAROOT (RFC 9208): one root, the empty name, for the whole account.

use posthorn_imap::{Completion, Quota, ResponseCode};

use super::{Answer, Session, Stop};

impl Session {
    pub(super) async fn get_quota(&mut self, root: &str) -> Answer {
        if !root.is_empty() {
            return Ok(Completion::no("There is no such quota root").with(ResponseCode::NonExistent));
        }
        self.tell_quota().await?;
        Ok(Completion::ok("Done"))
    }

    pub(super) async fn get_quota_root(&mut self, mailbox: &str) -> Answer {
        let account = self.user()?.login.account;
        if self.mail.find_mailbox(account, mailbox).await?.is_none() {
            return Ok(Completion::no("There is no such mailbox").with(ResponseCode::NonExistent));
        }
        self.server.out().quota_root(mailbox, &[""]);
        self.tell_quota().await?;
        Ok(Completion::ok("Done"))
    }

    async fn tell_quota(&mut self) -> Result<(), Stop> {
        let state = self.mail.state(self.user()?.login.account).await?;
        let mut resources = Vec::new();
        if let Some(limit) = state.quota_bytes {
            // STORAGE counts in units of 1024 octets (RFC 9208 §5.1); what is begun counts whole.
            let usage = state.used_bytes.cast_unsigned().div_ceil(1024);
            resources.push(Quota { resource: "STORAGE", usage, limit: limit.cast_unsigned() / 1024 });
        }
        if let Some(limit) = state.quota_messages {
            let usage = state.used_messages.cast_unsigned();
            resources.push(Quota { resource: "MESSAGE", usage, limit: limit.cast_unsigned() });
        }
        self.server.out().quota("", &resources);
        Ok(())
    }
}
