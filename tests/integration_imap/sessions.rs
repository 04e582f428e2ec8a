//! Greeting, capabilities, login, and how sessions end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::imap_client::ImapClient;
use harness::server::row;
use posthorn_config::Speaks;
use posthorn_model::Address;
use posthorn_sasl::Secret;
use posthorn_sasl::client::{Binding, Scram};

use crate::rig::{PASSWORD, Rig, USER, done, hear, idle, inbox, message, put, refused, says, user};

async fn capabilities(client: &mut ImapClient) -> Vec<String> {
    let line = client.ok("CAPABILITY").await.find("* CAPABILITY ").expect("a list");
    line.split(' ').skip(2).map(str::to_owned).collect()
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|listed| listed == word)
}

#[tokio::test]
async fn capabilities_follow_tls_and_login() {
    let rig = Rig::new().await;
    let mut client = rig.server.imap_plain().await;
    let clear = capabilities(&mut client).await;
    assert!(has(&clear, "STARTTLS") && has(&clear, "LOGINDISABLED") && has(&clear, "IMAP4rev2"), "{clear:?}");
    assert!(!clear.iter().any(|word| word.starts_with("AUTH=")), "{clear:?}");
    refused(&client.login(USER, PASSWORD).await, "NO [PRIVACYREQUIRED]");
    refused(&client.ask("AUTHENTICATE PLAIN AGEAYg==").await, "NO [PRIVACYREQUIRED]");

    let mut client = client.starttls().await;
    let secured = capabilities(&mut client).await;
    assert!(!has(&secured, "STARTTLS") && !has(&secured, "LOGINDISABLED"), "{secured:?}");
    for word in ["AUTH=PLAIN", "AUTH=SCRAM-SHA-256", "AUTH=SCRAM-SHA-256-PLUS", "SASL-IR", "LITERAL+", "ID", "ENABLE"] {
        assert!(has(&secured, word), "{word}: {secured:?}");
    }
    refused(&client.ask("STARTTLS").await, "BAD");

    let welcome = client.login(USER, PASSWORD).await;
    refused(&welcome, "OK [CAPABILITY IMAP4rev1 IMAP4rev2 ");
    let list = capabilities(&mut client).await;
    for word in "IDLE NAMESPACE CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE UIDPLUS MOVE UNSELECT \
                 ESEARCH SEARCHRES CONDSTORE QRESYNC STATUS=SIZE UTF8=ACCEPT BINARY MULTIAPPEND OBJECTID SAVEDATE PREVIEW \
                 QUOTA"
        .split_whitespace()
    {
        assert!(has(&list, word) && welcome.tagged.contains(word), "{word}: {list:?}");
    }
    assert!(list.iter().any(|word| word.starts_with("APPENDLIMIT=")));
    refused(&client.ask("STARTTLS").await, "BAD");
}

#[tokio::test]
async fn commands_wait_for_their_state() {
    let rig = Rig::new().await;
    let mut client = rig.server.imap().await;
    for command in ["SELECT INBOX", "LIST \"\" *", "STATUS INBOX (MESSAGES)", "IDLE", "ENABLE QRESYNC", "FETCH 1 UID"] {
        refused(&client.ask(command).await, "BAD");
    }
    client.ok("NOOP").await;
    says(
        &client.ok("ID (\"name\" \"test\" \"version\" NIL)").await,
        &format!("* ID (\"name\" \"Posthorn\" \"version\" \"{}\")", env!("CARGO_PKG_VERSION")),
    );
    client.ok("ID NIL").await;
    client.login(USER, PASSWORD).await;
    refused(&client.login(USER, PASSWORD).await, "BAD");
    for command in
        ["FETCH 1 UID", "CLOSE", "UNSELECT", "EXPUNGE", "UID SEARCH ALL", "COPY 1 Trash", "CHECK", "NONSENSE"]
    {
        refused(&client.ask(command).await, "BAD");
    }
    client.ok("SELECT INBOX").await;
    for command in ["CHECK", "NOOP", "UNSELECT"] {
        client.ok(command).await;
    }
    refused(&client.ask("CHECK").await, "BAD");
    let gone = client.ok("LOGOUT").await;
    says(&gone, "* BYE Logging out");
    assert_eq!(client.line().await, None);
}

#[tokio::test]
async fn every_mechanism_logs_in_and_wrong_passwords_do_not() {
    let rig = Rig::new().await;
    let mut client = rig.server.imap().await;
    let wrong = client.login(USER, "wrong").await;
    let unknown = client.login("nobody@example.org", "wrong").await;
    refused(&wrong, "NO [AUTHENTICATIONFAILED]");
    assert_eq!(wrong, unknown, "which half was wrong is not told");

    let initial = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
    client.ok(&format!("AUTHENTICATE PLAIN {initial}")).await;

    let mut client = rig.server.imap().await;
    let tag = client.send(b"AUTHENTICATE PLAIN").await;
    assert_eq!(client.line().await.as_deref(), Some(&b"+ "[..]));
    client.stream.send(format!("{initial}\r\n")).await;
    assert!(client.answer(&tag).await.is_ok());

    let mut client = rig.server.imap().await;
    let tag = client.send(b"AUTHENTICATE PLAIN").await;
    client.line().await;
    client.stream.send(b"*\r\n").await;
    refused(&client.answer(&tag).await, "BAD");

    let mut client = rig.server.imap().await;
    assert!(scram(&mut client, PASSWORD, false).await);
    client.ok("SELECT INBOX").await;
    let mut client = rig.server.imap().await;
    assert!(scram(&mut client, PASSWORD, true).await);
    let mut client = rig.server.imap().await;
    assert!(!scram(&mut client, "wrong", false).await);
}

/// AUTHENTICATE with SCRAM; whether it went well on both sides.
async fn scram(client: &mut ImapClient, password: &str, plus: bool) -> bool {
    let exported = client.stream.channel_binding.clone().expect("TLS 1.3");
    let binding = if plus { Binding::Exporter(&exported) } else { Binding::Unsupported };
    let mut scram = Scram::new(USER, Secret::new(password.to_owned()), binding, [7; 18]).expect("a name");
    let command = format!("AUTHENTICATE {} {}", scram.mechanism().name(), STANDARD.encode(scram.first()));
    let tag = client.send(command.as_bytes()).await;
    let challenge = |line: Vec<u8>| line.strip_prefix(b"+ ").map(|text| STANDARD.decode(text).expect("base64"));
    let first = challenge(client.line().await.expect("an answer")).expect("a challenge");
    let response = scram.respond(&first).expect("a sound challenge");
    client.stream.send(format!("{}\r\n", STANDARD.encode(response))).await;
    let Some(last) = challenge(client.line().await.expect("an answer")) else { return false };
    let proven = scram.confirm(&last).is_ok();
    client.stream.send(b"\r\n").await;
    client.answer(&tag).await.is_ok() && proven
}

#[tokio::test]
async fn sessions_of_an_account_are_counted() {
    let rig = Rig::with(|config| config.imap.sessions_per_account = 2).await;
    let (one, _two) = (rig.user().await, rig.user().await);
    let mut third = rig.server.imap().await;
    refused(&third.login(USER, PASSWORD).await, "NO [LIMIT]");
    drop(one);
    for _ in 0..100 {
        if third.login(USER, PASSWORD).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the seat was not given back");
}

#[tokio::test]
async fn a_graceful_stop_says_goodbye_to_everybody() {
    let rig = Rig::new().await;
    let (mut greeted, mut selected, mut idling) = (rig.server.imap().await, rig.inbox().await, rig.inbox().await);
    put(&mut selected, "INBOX", message("kept", "x")).await;
    let _tag = idle(&mut idling).await;
    rig.server.stop().await;
    for client in [&mut greeted, &mut selected, &mut idling] {
        let heard = hear(client, "* BYE").await;
        assert!(heard.last().is_some_and(|last| last.contains("shutting down")), "{heard:?}");
        assert_eq!(client.line().await, None);
    }
}

#[tokio::test]
async fn an_account_that_is_removed_ends_its_sessions() {
    let rig = Rig::new().await;
    let twin = rig.twin().await;
    let (mut busy, mut idling, mut elsewhere) = (rig.inbox().await, rig.inbox().await, inbox(&twin).await);
    let _tag = idle(&mut idling).await;
    let _other = idle(&mut elsewhere).await;
    let address = Address::parse(USER).expect("an address");
    rig.server.mail().remove_account(&address).await.expect("the store works").expect("it was there");
    hear(&mut idling, "* BYE The account was removed").await;
    hear(&mut elsewhere, "* BYE The account was removed").await;
    let answer = busy.append("INBOX", message("late", "x").as_bytes()).await;
    assert!(!answer.is_ok(), "{answer:?}");
    hear(&mut busy, "* BYE The account was removed").await;
    rig.sound().await;
}

#[tokio::test]
async fn bytes_behind_starttls_are_never_commands() {
    let rig = Rig::new().await;
    let mut client = rig.server.imap_plain().await;
    client.stream.send(b"a STARTTLS\r\nb NOOP\r\n").await;
    assert!(client.line().await.expect("an answer").starts_with(b"a OK"));
    let rest = client.line().await;
    assert!(rest.as_deref().is_none_or(|line| !line.starts_with(b"b ")), "{rest:?}");
}

#[tokio::test]
async fn too_many_faults_end_a_session() {
    let rig = Rig::with(|config| config.imap.max_errors = 3).await;
    let mut client = rig.user().await;
    refused(&client.ask("NONSENSE").await, "BAD");
    refused(&client.ask("FETCH").await, "BAD");
    client.ok("NOOP").await;
    for _ in 0..3 {
        refused(&client.ask("NONSENSE").await, "BAD");
    }
    hear(&mut client, "* BYE Too many faulty commands").await;
}

#[tokio::test]
async fn a_silent_session_is_ended() {
    let rig = Rig::with(|config| {
        config.imap.login_time = posthorn_config::Span::from_secs(1);
        row(config, Speaks::Imap).options.require_tls = Some(false);
    })
    .await;
    let mut client = rig.server.imap_plain().await;
    hear(&mut client, "* BYE").await;
    let mut patient = user(&rig.server).await;
    let tag = idle(&mut patient).await;
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    done(&mut patient, &tag).await;
}
