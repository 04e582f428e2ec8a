//! Where a recipient's mail goes: aliases, alias domains, catch-all, forwards, details.

use harness::server::{Server, ServerOptions};
use harness::smtp_client::SmtpClient;
use posthorn_config::Speaks;
use posthorn_mail::directory::AccountChange;
use posthorn_model::{Address, Domain};

const MESSAGE: &str = "Subject: hello\r\n\r\nHello.\r\n";

async fn server() -> Server {
    let server = Server::start(ServerOptions::new()).await;
    for name in ["bob", "eve", "joe"] {
        server.mailbox_only(&format!("{name}@example.org")).await;
    }
    server
}

async fn send(server: &Server, to: &[&str]) {
    let reply = server.smtp(Speaks::Smtp).await.deliver("a@example.net", to, MESSAGE).await;
    assert!(reply.starts_with("250 2.0.0"), "{to:?}: {reply}");
}

async fn refused(client: &mut SmtpClient, recipient: &str, code: &str) {
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect(&format!("RCPT TO:<{recipient}>"), code).await;
    client.expect("RSET", "250").await;
}

/// Messages in the INBOXes of bob, eve and joe.
async fn counts(server: &Server) -> [usize; 3] {
    let mut counts = [0; 3];
    for (count, name) in counts.iter_mut().zip(["bob", "eve", "joe"]) {
        *count = server.messages(&format!("{name}@example.org"), "INBOX").await.len();
    }
    counts
}

async fn change(server: &Server, address: &str, change: AccountChange) {
    let address = Address::parse(address).expect("an address");
    server.mail().set_account(&address, change).await.expect("the store works").expect("changed");
}

fn forward(to: &[&str], keep: bool) -> AccountChange {
    let forward_to = Some(to.iter().map(|to| (*to).to_owned()).collect());
    AccountChange { forward_to, forward_keeps_copy: Some(keep), ..Default::default() }
}

#[tokio::test]
async fn an_alias_stands_for_several() {
    let server = server().await;
    server.alias("all@example.org", &["bob@example.org", "eve@example.org", "some@example.org"]).await;
    server.alias("some@example.org", &["eve@example.org", "joe@example.org"]).await;
    send(&server, &["ALL@example.org", "eve@example.org"]).await;
    assert_eq!(counts(&server).await, [1, 1, 1], "one copy each, by however many ways");
    server.mail().remove_alias(&Address::parse("all@example.org").expect("one")).await.expect("works").expect("gone");
    refused(&mut server.smtp(Speaks::Smtp).await, "all@example.org", "550 5.1.1").await;
}

#[tokio::test]
async fn circles_of_aliases_are_refused_not_swallowed() {
    let server = server().await;
    server.alias("a@example.org", &["b@example.org"]).await;
    server.alias("b@example.org", &["a@example.org"]).await;
    server.alias("self@example.org", &["self@example.org"]).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    refused(&mut client, "a@example.org", "550 5.").await;
    refused(&mut client, "self@example.org", "550 5.").await;
    // A circle with a way out goes there.
    server.alias("c@example.org", &["d@example.org", "bob@example.org"]).await;
    server.alias("d@example.org", &["c@example.org"]).await;
    send(&server, &["d@example.org"]).await;
    assert_eq!(counts(&server).await, [1, 0, 0]);
    // Twenty in a row are too many.
    for step in 0..20 {
        server.alias(&format!("s{step}@example.org"), &[&format!("s{}@example.org", step + 1)]).await;
    }
    server.alias("s20@example.org", &["bob@example.org"]).await;
    refused(&mut client, "s0@example.org", "550 5.").await;
    send(&server, &["s15@example.org"]).await;
}

#[tokio::test]
async fn an_alias_that_leads_nowhere_is_refused() {
    let server = server().await;
    server.alias("ghost@example.org", &["nobody@example.org"]).await;
    server.domain("example.com", None).await;
    let example = Domain::parse("example.com").expect("a domain");
    server.mail().set_domain(&example, None, Some(false)).await.expect("the store works").expect("changed");
    server.alias("off@example.org", &["x@example.com"]).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    refused(&mut client, "ghost@example.org", "550 5.").await;
    refused(&mut client, "off@example.org", "550 5.7.1").await;
}

#[tokio::test]
async fn alias_domains_have_the_names_of_their_domain() {
    let server = server().await;
    server.domain("example.com", Some("example.org")).await;
    server.domain("b\u{fc}cher.example", Some("example.org")).await;
    server.alias("team@example.org", &["bob@example.com", "eve@example.org"]).await;
    send(&server, &["bob@example.com"]).await;
    send(&server, &["bob@xn--bcher-kva.example"]).await;
    send(&server, &["team@EXAMPLE.COM"]).await;
    assert_eq!(counts(&server).await, [3, 1, 0]);
    refused(&mut server.smtp(Speaks::Smtp).await, "nobody@example.com", "550 5.1.1").await;
}

#[tokio::test]
async fn a_catch_all_gets_what_nobody_else_does() {
    let server = server().await;
    server.domain("example.com", Some("example.org")).await;
    let domain = Domain::parse("example.org").expect("a domain");
    let catch_all = Some(vec!["eve@example.org".to_owned(), "joe@example.org".to_owned()]);
    server.mail().set_domain(&domain, catch_all, None).await.expect("the store works").expect("changed");
    send(&server, &["whoever@example.org"]).await;
    send(&server, &["whoever@example.com"]).await;
    send(&server, &["bob@example.org"]).await;
    assert_eq!(counts(&server).await, [1, 2, 2]);
    // One that leads to itself is no way to lose mail.
    let catch_all = Some(vec!["nobody@example.org".to_owned()]);
    server.mail().set_domain(&domain, catch_all, None).await.expect("the store works").expect("changed");
    refused(&mut server.smtp(Speaks::Smtp).await, "whoever@example.org", "550 5.").await;
}

#[tokio::test]
async fn forwards_with_and_without_a_copy() {
    let server = server().await;
    change(&server, "bob@example.org", forward(&["eve@example.org"], true)).await;
    send(&server, &["bob@example.org"]).await;
    assert_eq!(counts(&server).await, [1, 1, 0]);
    change(&server, "bob@example.org", forward(&["eve@example.org", "joe@example.org"], false)).await;
    send(&server, &["bob@example.org"]).await;
    assert_eq!(counts(&server).await, [1, 2, 1]);
    // Two that forward to one another keep a copy somewhere.
    change(&server, "eve@example.org", forward(&["bob@example.org"], false)).await;
    change(&server, "bob@example.org", forward(&["eve@example.org"], false)).await;
    send(&server, &["bob@example.org"]).await;
    let now = counts(&server).await;
    assert!(now[0] + now[1] > 3, "{now:?}");
    change(&server, "joe@example.org", forward(&["joe@example.org"], false)).await;
    send(&server, &["joe@example.org"]).await;
    assert_eq!(counts(&server).await[2], 2);
}

#[tokio::test]
async fn a_detail_names_a_folder_where_there_is_one() {
    let server = Server::start(ServerOptions::new()).await;
    server.account("bob@example.org", "right horse").await;
    let mut imap = server.imap().await;
    assert!(imap.login("bob@example.org", "right horse").await.is_ok());
    imap.ok("CREATE Shops").await;
    imap.ok("CREATE Shops/Books").await;
    send(&server, &["bob+shops@example.org"]).await;
    send(&server, &["bob+Shops/Books@example.org"]).await;
    send(&server, &["bob+unknown@example.org"]).await;
    send(&server, &["bob+@example.org"]).await;
    for (folder, count) in [("Shops", 1), ("Shops/Books", 1), ("INBOX", 2)] {
        assert_eq!(server.messages("bob@example.org", folder).await.len(), count, "{folder}");
    }
    // A folder that is made or removed counts for the next message.
    imap.ok("CREATE unknown").await;
    imap.ok("DELETE Shops/Books").await;
    send(&server, &["bob+unknown@example.org"]).await;
    send(&server, &["bob+shops/books@example.org"]).await;
    assert_eq!(server.messages("bob@example.org", "unknown").await.len(), 1);
    assert_eq!(server.messages("bob@example.org", "INBOX").await.len(), 3);
    // Somebody whose whole name it is comes first.
    server.mailbox_only("bob+vip@example.org").await;
    send(&server, &["bob+vip@example.org"]).await;
    assert_eq!(server.messages("bob+vip@example.org", "INBOX").await.len(), 1);
}

#[tokio::test]
async fn the_local_part_keeps_its_case() {
    let server = server().await;
    send(&server, &["BoB+Detail@EXAMPLE.org"]).await;
    let stored = server.messages("bob@example.org", "INBOX").await;
    assert!(String::from_utf8_lossy(&stored[0]).contains("Delivered-To: BoB+Detail@example.org\r\n"));
}

#[tokio::test]
async fn hidden_recipients_stay_hidden() {
    let server = server().await;
    send(&server, &["bob@example.org", "eve@example.org"]).await;
    let stored = String::from_utf8_lossy(&server.messages("bob@example.org", "INBOX").await[0]).into_owned();
    assert!(!stored.contains("eve@") && !stored.contains("Delivered-To"), "{stored}");
}
