//! 250 means stored: group commit, one body for many, counters that agree.

use std::collections::HashSet;

use harness::dice::Dice;
use harness::server::{Server, ServerOptions};
use posthorn_config::Speaks;

const MESSAGE: &str = "Subject: hello\r\n\r\nHello.\r\n";

async fn number(server: &Server, question: &'static str) -> i64 {
    let mut connection = server.mail().store().acquire().await.expect("the store works");
    sqlx::query_scalar(question).fetch_one(&mut *connection).await.expect("a number")
}

#[tokio::test]
async fn one_body_serves_all_recipients() {
    let server = Server::start(ServerOptions::new()).await;
    let names: Vec<String> = (0..20).map(|number| format!("u{number}@example.org")).collect();
    for name in &names {
        server.mailbox_only(name).await;
    }
    let to: Vec<&str> = names.iter().map(String::as_str).collect();
    let reply = server.smtp(Speaks::Smtp).await.deliver("a@example.net", &to, MESSAGE).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(number(&server, "select count(*) from message").await, 1);
    assert_eq!(number(&server, "select count(*) from body").await, 1);
    assert_eq!(number(&server, "select count(*) from membership").await, 20);
    // Mailboxes, quota and the change log moved with it.
    assert_eq!(number(&server, "select sum(messages)::bigint from mailbox").await, 20);
    assert_eq!(number(&server, "select sum(used_messages)::bigint from mail_state").await, 20);
    assert_eq!(number(&server, "select count(*) from change where kind = 1").await, 20);
    assert_eq!(number(&server, "select count(distinct xmin::text) from membership").await, 1);
    assert!(server.check().await.is_empty());
    // The same by LMTP, where each has a reply.
    let mut lmtp = server.smtp(Speaks::Lmtp).await;
    lmtp.expect("MAIL FROM:<a@example.net>", "250").await;
    for name in &names {
        lmtp.expect(&format!("RCPT TO:<{name}>"), "250").await;
    }
    assert!(lmtp.data(MESSAGE).await.starts_with("250 2.0.0"));
    for _ in 1..20 {
        assert!(lmtp.reply().await.starts_with("250 2.0.0"));
    }
    assert_eq!(number(&server, "select count(*) from body").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_sessions_at_once_are_stored_exactly_once() {
    let server = Server::start(ServerOptions::new()).await;
    for name in ["bob", "eve", "joe"] {
        server.mailbox_only(&format!("{name}@example.org")).await;
    }
    let mut sessions = tokio::task::JoinSet::new();
    for session in 0..50 {
        let mut client = server.smtp(Speaks::Smtp).await;
        sessions.spawn(async move {
            for round in 0..4 {
                let to: &[&str] = match (session + round) % 3 {
                    0 => &["bob@example.org"],
                    1 => &["bob@example.org", "eve@example.org"],
                    _ => &["joe@example.org", "bob@example.org", "eve@example.org"],
                };
                let message = format!("X-Number: {session}-{round}\r\n\r\nHello.\r\n");
                let reply = client.deliver("a@example.net", to, &message).await;
                assert!(reply.starts_with("250 2.0.0"), "{reply}");
            }
        });
    }
    sessions.join_all().await;
    let stored = server.messages("bob@example.org", "INBOX").await;
    let numbers: HashSet<String> = stored.iter().map(|octets| number_of(octets)).collect();
    assert_eq!((stored.len(), numbers.len()), (200, 200));
    assert!(server.check().await.is_empty());
    assert!(number(&server, "select count(distinct xmin::text) from membership").await < 200, "no commit was shared");
}

fn number_of(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets).into_owned();
    text.split_once("X-Number: ").expect("ours").1.lines().next().expect("a line").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_cannot_be_stored_fails_alone() {
    let server = Server::start(ServerOptions::new()).await;
    for name in ["bob", "eve"] {
        server.mailbox_only(&format!("{name}@example.org")).await;
    }
    // The database itself refuses what is for eve, as a bug or a full disk would.
    let mut connection = server.mail().store().acquire().await.expect("the store works");
    sqlx::raw_sql(
        "create function refuse() returns trigger language plpgsql as $$ begin
             if new.envelope::text like '%' || encode('poison', 'hex') || '%' then raise exception 'no room'; end if;
             return new;
         end $$;
         create trigger refuse before insert on message for each row execute function refuse()",
    )
    .execute(&mut *connection)
    .await
    .expect("a trigger");
    drop(connection);
    let mut sessions = tokio::task::JoinSet::new();
    for session in 0..30 {
        let mut client = server.smtp(Speaks::Smtp).await;
        sessions.spawn(async move {
            let poisoned = session % 10 == 3;
            let subject = if poisoned { "poison" } else { "bread" };
            let message = format!("Subject: {subject}\r\nX-Number: {session}\r\n\r\nHello.\r\n");
            let reply = client.deliver("a@example.net", &["bob@example.org", "eve@example.org"], &message).await;
            assert_eq!(&reply[..3], if poisoned { "451" } else { "250" }, "{reply}");
        });
    }
    sessions.join_all().await;
    for name in ["bob@example.org", "eve@example.org"] {
        assert_eq!(server.messages(name, "INBOX").await.len(), 27);
    }
    assert!(server.check().await.is_empty());
}

#[tokio::test]
async fn a_thousand_recipients_with_a_history_get_their_mail() {
    let server = Server::start(ServerOptions::new()).await;
    let mut connection = server.mail().store().acquire().await.expect("the store works");
    server.mailbox_only("first@example.org").await;
    sqlx::raw_sql(
        "insert into account (domain_id, local, folded) select d.id, 'u' || n, 'u' || n from domain d, generate_series(1, 900) n;
         insert into mail_state (account_id, modseq) select id, 100000000000 + id from account where local like 'u%';
         insert into mailbox (account_id, id, name, uid_validity, highest_modseq)
             select id, id, 'INBOX', 1, 1 from account where local like 'u%'",
    )
    .execute(&mut *connection)
    .await
    .expect("accounts");
    drop(connection);
    let names: Vec<String> = (1..=900).map(|number| format!("u{number}@example.org")).collect();
    let to: Vec<&str> = names.iter().map(String::as_str).collect();
    let reply = server.smtp(Speaks::Smtp).await.deliver("a@example.net", &to, MESSAGE).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(number(&server, "select count(*) from membership").await, 900);
}

#[tokio::test]
async fn nothing_is_found_after_random_traffic() {
    let server = Server::start(ServerOptions::new()).await;
    let names = ["bob", "eve", "joe"].map(|name| format!("{name}@example.org"));
    for name in &names {
        server.account(name, "right horse").await;
    }
    let mut dice = Dice::new(20_260_102);
    let mut smtp = server.smtp(Speaks::Smtp).await;
    let mut imaps = Vec::new();
    for name in &names {
        let mut imap = server.imap().await;
        assert!(imap.login(name, "right horse").await.is_ok());
        imap.ok("CREATE Other").await;
        imap.ok("SELECT INBOX").await;
        imaps.push(imap);
    }
    for step in 0..150 {
        let who = dice.below(3);
        match dice.below(9) {
            0..=2 => {
                let to: Vec<&str> = names.iter().filter(|_| dice.below(2) == 0).map(String::as_str).collect();
                let to = if to.is_empty() { vec![names[who].as_str()] } else { to };
                let detail = if dice.below(3) == 0 { "+other" } else { "" };
                let to: Vec<String> = to.iter().map(|name| name.replace('@', &format!("{detail}@"))).collect();
                let to: Vec<&str> = to.iter().map(String::as_str).collect();
                let message = format!("Subject: {step}\r\n\r\n{}\r\n", "x".repeat(dice.below(900)));
                assert!(smtp.deliver("a@example.net", &to, &message).await.starts_with("250"));
            }
            3 => {
                imaps[who].ask("UID STORE 1:* +FLAGS (\\Seen)").await;
            }
            4 => {
                let uid = dice.below(20) + 1;
                imaps[who].ask(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted \\Flagged)")).await;
            }
            5 => {
                imaps[who].ok("EXPUNGE").await;
            }
            6 => {
                let uid = dice.below(20) + 1;
                imaps[who].ok(&format!("UID COPY {uid} Other")).await;
            }
            7 => {
                let uid = dice.below(20) + 1;
                imaps[who].ok(&format!("UID MOVE {uid} Archive")).await;
            }
            _ => {
                let answer = imaps[who].append("Other", b"Subject: mine\r\n\r\nHello.\r\n").await;
                assert!(answer.is_ok(), "{answer:?}");
            }
        }
        if step % 40 == 39 {
            imaps[who].ask("DELETE Other").await;
            imaps[who].ask("CREATE Other").await;
        }
    }
    let findings = server.check().await;
    assert!(findings.is_empty(), "{findings:?}");
}

#[tokio::test]
async fn damage_is_found() {
    let server = Server::start(ServerOptions::new()).await;
    server.mailbox_only("bob@example.org").await;
    let damages = [
        "update mailbox set messages = messages + 1 where name = 'INBOX'",
        "update mailbox set uid_next = 1 where name = 'INBOX'",
        "update mail_state set used_bytes = 0",
        "update mail_state set modseq = 1",
        "delete from body",
        "delete from message",
    ];
    for damage in damages {
        assert!(server.smtp(Speaks::Smtp).await.deliver("", &["bob@example.org"], MESSAGE).await.starts_with("250"));
        assert!(server.check().await.is_empty(), "before: {damage}");
        let mut connection = server.mail().store().acquire().await.expect("the store works");
        sqlx::raw_sql(damage).execute(&mut *connection).await.expect("damaged");
        drop(connection);
        assert!(!server.check().await.is_empty(), "not seen: {damage}");
        let mut connection = server.mail().store().acquire().await.expect("the store works");
        for place in 0..posthorn_store::check::invariants().len() {
            posthorn_store::check::repair(&mut connection, place).await.expect("repaired");
        }
        drop(connection);
        let left = server.check().await;
        assert!(left.is_empty(), "after {damage}: {left:?}");
    }
    assert!(server.smtp(Speaks::Smtp).await.deliver("", &["bob@example.org"], MESSAGE).await.starts_with("250"));
}
