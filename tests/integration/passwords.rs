//! Hashes of other systems are accepted on import and replaced at the next login.

use harness::server::{Server, ServerOptions};
use posthorn_config::Speaks;
use posthorn_mail::directory::{NewAccount, PasswordSource, Unfit};
use posthorn_model::Address;

/// "right horse", hashed by crypt(3) and by Python's hashlib.
const IMPORTS: [&str; 5] = [
    "{SHA512-CRYPT}$6$saltsaltsaltsalt$Xlrh4Vzk1Y6kNhrT5SSaxLpw.6tJg5y83ogVjMiBYpbt974LNZumLr7H4c3haJgHdDzPA4y4oV1fOR8IEZvR8/",
    "{SSHA512}w+hTe6bHZceVTAVCtGuzL09iZJQgIGgpaHS1NSvIyhE8rdViVpD0p9QxmYtrpspstrnjgaz3ElZ+qf4IwRzVznNhbHRzYWx0",
    "{SSHA}9+cGu9BeIfIesfgCD54w0IpkC1tzYWx0c2FsdA==",
    "{BLF-CRYPT}$2b$05$abcdefghijklmnopqrstuuB05BVy0V7KomGh8K56xgiHLq3Wkqh46",
    "{PBKDF2-SHA256}$pbkdf2-sha256$5000$MDEyMzQ1Njc4OWFiY2RlZg$V5jk.fqmLvIDTjc8jT9fEK8sMVEaRJqG4D8duKNi8ok",
];

async fn stored(server: &Server, local: &str) -> (String, Option<String>) {
    let mut connection = server.mail().store().acquire().await.expect("the store works");
    sqlx::query_as("select password, scram from account where local = $1")
        .bind(local)
        .fetch_one(&mut *connection)
        .await
        .expect("an account")
}

#[tokio::test]
async fn every_scheme_logs_in_and_is_upgraded() {
    let options = ServerOptions::new().with(|config| config.auth.slow_down = posthorn_config::Span::from_millis(1));
    let server = Server::start(options).await;
    for (number, hash) in IMPORTS.into_iter().enumerate() {
        let name = format!("u{number}");
        let address = format!("{name}@example.org");
        server.account_from(&address, PasswordSource::Hashed(hash.to_owned())).await;
        let mut client = server.smtp(Speaks::Submissions).await;
        assert!(client.login(&address, "wrong horse").await.starts_with("535"), "{hash}");
        assert_eq!(stored(&server, &name).await, (hash.to_owned(), None), "a wrong password changes nothing");
        assert!(client.login(&address, "right horse").await.starts_with("235"), "{hash}");
        let (upgraded, scram) = stored(&server, &name).await;
        assert!(upgraded.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{upgraded}");
        assert!(scram.is_some(), "{hash}");
        let mut client = server.smtp(Speaks::Submissions).await;
        assert!(client.login(&address, "right horse").await.starts_with("235"));
        assert_eq!(stored(&server, &name).await.0, upgraded, "once is enough");
    }
}

#[tokio::test]
async fn other_schemes_are_refused_at_import() {
    let server = Server::start(ServerOptions::new()).await;
    for hash in ["{PLAIN}right horse", "right horse", "{MD5-CRYPT}$1$x$y", "{SSHA}!"] {
        let new = NewAccount { password: Some(PasswordSource::Hashed(hash.to_owned())), ..NewAccount::default() };
        let address = Address::parse("bob@example.org").expect("an address");
        let refused = server.mail().add_account(&address, new).await.expect("the store works");
        assert!(matches!(refused, Err(Unfit::Password(_))), "{hash}: {refused:?}");
    }
    assert!(server.mail().accounts(None).await.expect("the store works").is_empty());
}
