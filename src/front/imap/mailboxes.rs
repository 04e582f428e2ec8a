//! CREATE, DELETE, RENAME, SUBSCRIBE, LIST, LSUB, STATUS.

use std::collections::BTreeMap;
use std::ops::Bound;

use posthorn_imap::{Completion, Extended, List, ResponseCode, StatusItem, StatusValue, pattern};
use posthorn_mail::Mailbox;
use posthorn_mail::mailboxes::{DELIMITER, Declined, parents};
use posthorn_model::SpecialUse;

use super::select::mailbox_id;
use super::{Answer, Session};

/// A name that LIST may show.
struct Listed<'l> {
    name: &'l str,
    /// `None` when only a subscription bears the name.
    mailbox: Option<&'l Mailbox>,
    subscribed: bool,
}

impl Session {
    pub(super) async fn create(&mut self, name: &str, uses: &[String]) -> Answer {
        let account = self.user()?.login.account;
        let special_use = match uses {
            [] => None,
            [one] => match SpecialUse::from_attribute(one) {
                Some(special_use) => Some(special_use),
                None => return Ok(Completion::no("That use is not supported").with(ResponseCode::UseAttr)),
            },
            _ => return Ok(Completion::no("A mailbox has one use at most").with(ResponseCode::UseAttr)),
        };
        let name = name.strip_suffix(DELIMITER).unwrap_or(name);
        Ok(match self.mail.create_mailbox(account, name, special_use).await? {
            Ok(id) => Completion::ok("Created").with(ResponseCode::MailboxId(mailbox_id(id))),
            Err(declined) => no(declined),
        })
    }

    pub(super) async fn delete(&mut self, name: &str) -> Answer {
        let account = self.user()?.login.account;
        Ok(match self.mail.delete_mailbox(account, name).await? {
            Ok(()) => {
                self.leave_deleted();
                Completion::ok("Deleted")
            }
            Err(declined) => no(declined),
        })
    }

    /// A client that deletes the mailbox it has selected knows what it did: it goes on without one.
    fn leave_deleted(&mut self) {
        if let Some(user) = self.user.as_deref_mut()
            && user.selected.as_ref().is_some_and(|selected| selected.mailbox.is_gone())
        {
            user.selected = None;
            self.server.out().ok(Some(&ResponseCode::Closed), "The selected mailbox was deleted");
            self.server.unselected();
        }
    }

    pub(super) async fn rename(&mut self, from: &str, to: &str) -> Answer {
        let account = self.user()?.login.account;
        let to = to.strip_suffix(DELIMITER).unwrap_or(to);
        let outcome = self.mail.rename_mailbox(account, from, to).await?;
        Ok(match outcome {
            Ok(()) => {
                self.announce(None);
                Completion::ok("Renamed")
            }
            Err(declined) => no(declined),
        })
    }

    pub(super) async fn subscribe(&mut self, name: &str, subscribed: bool) -> Answer {
        let account = self.user()?.login.account;
        Ok(match self.mail.subscribe(account, name, subscribed).await? {
            Ok(()) => Completion::ok("Done"),
            Err(declined) => no(declined),
        })
    }

    pub(super) async fn list(&mut self, list: List) -> Answer {
        if !list.extended && list.patterns.iter().all(String::is_empty) {
            self.server.out().list(&["\\Noselect"], Some(DELIMITER), "", &[]);
            return Ok(Completion::ok("Done"));
        }
        let account = self.user()?.login.account;
        let mailboxes = self.mail.mailboxes(account).await?;
        let bare = if list.select.subscribed { self.mail.bare_subscriptions(account).await? } else { Vec::new() };
        let append_limit = self.connection.options().max_message_size.octets();
        let all = listed(&mailboxes, &bare);
        let patterns: Vec<String> = list.patterns.iter().map(|one| format!("{}{one}", list.reference)).collect();
        let out = self.server.out();
        for one in all.values() {
            if !patterns.iter().any(|pattern| pattern::matches(pattern, one.name, DELIMITER)) {
                continue;
            }
            let chosen = (one.subscribed || one.mailbox.is_some() && !list.select.subscribed)
                && (!list.select.special_use || one.mailbox.is_some_and(|mailbox| mailbox.special_use.is_some()));
            // RECURSIVEMATCH: a parent is shown for the sake of a child that the patterns do not reach.
            let hidden_child = list.select.recursive_match
                && list.select.subscribed
                && below(&all, one.name).any(|child| {
                    child.subscribed && !patterns.iter().any(|pattern| pattern::matches(pattern, child.name, DELIMITER))
                });
            if !chosen && !hidden_child {
                continue;
            }
            let attributes = attributes(one, &all, list.returns.subscribed || list.select.subscribed);
            let extended: &[Extended<'_>] = if hidden_child { &[Extended::ChildInfoSubscribed] } else { &[] };
            out.list(&attributes, Some(DELIMITER), one.name, extended);
            if let (Some(items), Some(mailbox)) = (&list.returns.status, one.mailbox) {
                let id = mailbox_id(mailbox.id);
                out.status(one.name, &values(mailbox, items, (&id, append_limit)));
            }
        }
        Ok(Completion::ok("Done"))
    }

    pub(super) async fn lsub(&mut self, reference: &str, wanted: &str) -> Answer {
        let account = self.user()?.login.account;
        let mailboxes = self.mail.mailboxes(account).await?;
        let bare = self.mail.bare_subscriptions(account).await?;
        let wanted = format!("{reference}{wanted}");
        let all = listed(&mailboxes, &bare);
        let out = self.server.out();
        for one in all.values() {
            if !pattern::matches(&wanted, one.name, DELIMITER) {
                continue;
            }
            // RFC 3501 §6.3.9: with %, an unsubscribed parent of a subscribed name is shown as \Noselect.
            let below = below(&all, one.name).any(|child| child.subscribed);
            if one.subscribed {
                out.lsub(&[], Some(DELIMITER), one.name);
            } else if wanted.contains('%') && below {
                out.lsub(&["\\Noselect"], Some(DELIMITER), one.name);
            }
        }
        Ok(Completion::ok("Done"))
    }

    pub(super) async fn status(&mut self, name: &str, items: &[StatusItem]) -> Answer {
        let account = self.user()?.login.account;
        let append_limit = self.connection.options().max_message_size.octets();
        let Some(mailbox) = self.mail.find_mailbox(account, name).await? else {
            return Ok(Completion::no("There is no such mailbox").with(ResponseCode::NonExistent));
        };
        let id = mailbox_id(mailbox.id);
        self.server.out().status(name, &values(&mailbox, items, (&id, append_limit)));
        Ok(Completion::ok("Done"))
    }
}

fn listed<'l>(mailboxes: &'l [Mailbox], bare: &'l [String]) -> BTreeMap<&'l str, Listed<'l>> {
    let mut all = BTreeMap::new();
    for name in bare {
        // The levels above may bear nothing but the way to the subscription.
        for above in parents(name) {
            all.entry(above).or_insert(Listed { name: above, mailbox: None, subscribed: false });
        }
        all.insert(name.as_str(), Listed { name, mailbox: None, subscribed: true });
    }
    for mailbox in mailboxes {
        let name = mailbox.name.as_str();
        all.insert(name, Listed { name, mailbox: Some(mailbox), subscribed: mailbox.subscribed });
    }
    all
}

/// What lies below a name: in the order of names that is one stretch.
fn below<'l, 'a>(
    all: &'a BTreeMap<&'l str, Listed<'l>>,
    name: &str,
) -> impl Iterator<Item = &'a Listed<'l>> + use<'l, 'a> {
    let start = format!("{name}{DELIMITER}");
    let behind = all.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded));
    behind.map(|(_, one)| one).take_while(move |one| one.name.starts_with(&start))
}

fn attributes(one: &Listed<'_>, all: &BTreeMap<&str, Listed<'_>>, subscriptions: bool) -> Vec<&'static str> {
    let mut attributes = Vec::new();
    if one.mailbox.is_none() {
        attributes.push("\\NonExistent");
    }
    let has_children = below(all, one.name).any(|child| child.mailbox.is_some());
    attributes.push(if has_children { "\\HasChildren" } else { "\\HasNoChildren" });
    if subscriptions && one.subscribed {
        attributes.push("\\Subscribed");
    }
    attributes.extend(one.mailbox.and_then(|mailbox| mailbox.special_use).map(SpecialUse::attribute));
    attributes
}

fn values<'v>(mailbox: &Mailbox, items: &[StatusItem], (id, append_limit): (&'v str, u64)) -> Vec<StatusValue<'v>> {
    let value = |item: &StatusItem| match item {
        StatusItem::AppendLimit => StatusValue::AppendLimit((append_limit > 0).then_some(append_limit)),
        StatusItem::MailboxId => StatusValue::MailboxId(id),
        StatusItem::Deleted => StatusValue::Number(*item, mailbox.deleted.into()),
        // Octets of deleted messages are not counted; an upper bound would mislead, zero is allowed (RFC 9208 §5.3).
        StatusItem::DeletedStorage | StatusItem::Recent => StatusValue::Number(*item, 0),
        StatusItem::HighestModSeq => StatusValue::Number(*item, mailbox.highest_modseq),
        StatusItem::Messages => StatusValue::Number(*item, mailbox.messages.into()),
        StatusItem::Size => StatusValue::Number(*item, mailbox.bytes),
        StatusItem::UidNext => StatusValue::Number(*item, mailbox.uid_next.into()),
        StatusItem::UidValidity => StatusValue::Number(*item, mailbox.uid_validity.into()),
        StatusItem::Unseen => StatusValue::Number(*item, mailbox.unseen.into()),
    };
    items.iter().map(value).collect()
}

fn no(declined: Declined) -> Completion {
    match declined {
        Declined::AlreadyExists => Completion::no("It exists already").with(ResponseCode::AlreadyExists),
        Declined::Cannot => Completion::no("INBOX cannot be removed").with(ResponseCode::Cannot),
        Declined::HasChildren => Completion::no("It has mailboxes below it").with(ResponseCode::HasChildren),
        Declined::Limit => Completion::no("Too many mailboxes").with(ResponseCode::Limit),
        Declined::UseTaken => Completion::no("Another mailbox has that use").with(ResponseCode::UseAttr),
        Declined::Malformed => Completion::no("Not a mailbox name").with(ResponseCode::Cannot),
        Declined::NonExistent => Completion::no("There is no such mailbox").with(ResponseCode::NonExistent),
    }
}
