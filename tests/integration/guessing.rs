//! Wrong credentials are slowed, limited, and told nothing.

use std::time::{Duration, Instant};

use harness::server::{Server, ServerOptions};
use posthorn_config::{Span, Speaks};

async fn server(alter: impl FnOnce(&mut posthorn_config::Auth) + 'static) -> Server {
    let options = ServerOptions::new().with(|config| {
        config.auth.slow_down = Span::from_millis(1);
        config.auth.slow_down_limit = Span::from_millis(2);
        alter(&mut config.auth);
    });
    let server = Server::start(options).await;
    server.account("bob@example.org", "right horse").await;
    server
}

async fn attempt(server: &Server, user: &str, password: &str) -> String {
    server.smtp(Speaks::Submissions).await.login(user, password).await
}

#[tokio::test]
async fn the_words_are_the_same_whichever_half_was_wrong() {
    let server = server(|_| {}).await;
    let wrong = attempt(&server, "bob@example.org", "wrong").await;
    assert!(wrong.starts_with("535 5.7.8"), "{wrong}");
    for user in ["nobody@example.org", "bob@example.net", "bob", ""] {
        assert_eq!(attempt(&server, user, "wrong").await.split(' ').next(), wrong.split(' ').next());
    }
    assert_eq!(attempt(&server, "nobody@example.org", "wrong").await, wrong);
    server.mailbox_only("locked@example.org").await;
    assert_eq!(attempt(&server, "locked@example.org", "").await.get(..3), Some("535"));

    let imap = |user: &'static str| {
        let server = &server;
        async move { server.imap().await.login(user, "wrong").await.tagged }
    };
    assert!(imap("bob@example.org").await.starts_with("NO [AUTHENTICATIONFAILED]"));
    assert_eq!(imap("bob@example.org").await, imap("nobody@example.org").await);
}

#[tokio::test]
async fn an_account_is_closed_to_guessers_for_a_while() {
    let server = server(|auth| auth.failures_per_account = 3).await;
    for _ in 0..3 {
        assert!(attempt(&server, "bob@example.org", "wrong").await.starts_with("535"));
    }
    // Now even the right password must wait, in each protocol's words, and in any spelling of the name.
    assert!(attempt(&server, "bob@example.org", "right horse").await.starts_with("454 4.7.0"));
    assert!(attempt(&server, "BOB@Example.Org", "right horse").await.starts_with("454 4.7.0"));
    assert!(attempt(&server, "\"b\\ob\"@example.org", "right horse").await.starts_with("454 4.7.0"), "quoted");
    let told = server.imap().await.login("bob@example.org", "right horse").await.tagged;
    assert!(told.starts_with("NO [UNAVAILABLE]") || told.starts_with("NO [LIMIT]"), "{told}");
    // Somebody who does not exist is treated alike.
    for _ in 0..3 {
        assert!(attempt(&server, "nobody@example.org", "wrong").await.starts_with("535"));
    }
    assert!(attempt(&server, "nobody@example.org", "wrong").await.starts_with("454 4.7.0"));
}

#[tokio::test]
async fn an_address_that_guesses_many_names_must_wait() {
    let server = server(|auth| auth.failures_per_address = 4).await;
    for number in 0..4 {
        assert!(attempt(&server, &format!("u{number}@example.org"), "wrong").await.starts_with("535"));
    }
    assert!(attempt(&server, "bob@example.org", "right horse").await.starts_with("454 4.7.0"));
}

#[tokio::test]
async fn each_failure_takes_longer() {
    let server = server(|auth| {
        auth.slow_down = Span::from_millis(100);
        auth.slow_down_limit = Span::from_millis(400);
    })
    .await;
    let mut times = Vec::new();
    for _ in 0..3 {
        let mut client = server.smtp(Speaks::Submissions).await;
        let began = Instant::now();
        assert!(client.login("bob@example.org", "wrong").await.starts_with("535"));
        times.push(began.elapsed());
    }
    for (time, least) in times.iter().zip([100, 200, 400]) {
        assert!(*time >= Duration::from_millis(least), "{times:?}");
    }
}

#[tokio::test]
async fn three_failures_end_a_session() {
    let server = server(|_| {}).await;
    let mut client = server.smtp(Speaks::Submissions).await;
    assert!(client.login("bob@example.org", "1").await.starts_with("535"));
    assert!(client.login("bob@example.org", "2").await.starts_with("535"));
    assert!(client.login("bob@example.org", "3").await.starts_with("421 4.7.0"));
    assert_eq!(client.reply().await, "");
}

#[tokio::test]
async fn a_right_password_forgives_its_account() {
    let server = server(|auth| auth.failures_per_account = 3).await;
    for _ in 0..3 {
        assert!(attempt(&server, "bob@example.org", "wrong").await.starts_with("535"));
        assert!(attempt(&server, "bob@example.org", "wrong").await.starts_with("535"));
        assert!(attempt(&server, "bob@example.org", "right horse").await.starts_with("235"));
    }
}

#[tokio::test]
async fn a_changed_password_counts_at_once() {
    let server = server(|_| {}).await;
    assert!(attempt(&server, "bob@example.org", "right horse").await.starts_with("235"));
    let password = posthorn_mail::directory::PasswordSource::Plain(posthorn_sasl::Secret::new("new".to_owned()));
    let change = posthorn_mail::directory::AccountChange { password: Some(password), ..Default::default() };
    let bob = posthorn_model::Address::parse("bob@example.org").expect("an address");
    server.mail().set_account(&bob, change).await.expect("the store works").expect("changed");
    assert!(attempt(&server, "bob@example.org", "right horse").await.starts_with("535"));
    assert!(attempt(&server, "bob@example.org", "new").await.starts_with("235"));
}

#[tokio::test]
async fn a_barred_guesser_learns_nothing_and_locks_nobody_out() {
    let server = server(|auth| auth.failures_per_account = 3).await;
    // The owner's program logs in at home, which is remembered.
    assert!(attempt(&server, "bob@example.org", "right horse").await.starts_with("235"));
    let elsewhere = async |password: &str| {
        let stream = crate::rows::stream_from(9, server.port(Speaks::Submissions)).await;
        let mut client = harness::smtp_client::SmtpClient::over(stream.secure(server.tls()).await, server.tls());
        client.reply().await;
        client.hello("EHLO").await;
        client.login("bob@example.org", password).await
    };
    for _ in 0..3 {
        assert!(elsewhere("wrong").await.starts_with("535"));
    }
    // From here on right and wrong guesses look alike.
    assert_eq!(elsewhere("wrong").await, elsewhere("right horse").await);
    assert!(elsewhere("right horse").await.starts_with("454 4.7.0"));
    assert!(attempt(&server, "bob@example.org", "right horse").await.starts_with("235"));
}
