//! Our own SMTP asks before it says yes: its engine, and policy servers of others, at every stage.

use std::time::{Duration, Instant};

use harness::server::{Server, ServerOptions};
use harness::smtp_client::SmtpClient;
use posthorn_config::{Config, Speaks};
use posthorn_mail::queue::{Entry, Order, Selection};
use posthorn_mail::trace::TraceOf;
use posthorn_model::{DeliveryState, QueueOrigin};

use crate::policy_service::{PolicyService, Request};

const MESSAGE: &str = "From: a@example.net\r\nMessage-ID: <m1@example.net>\r\nSubject: hello\r\n\r\nHello.\r\n";

/// Every stage of a session, and what else a service is told.
const EVERYWHERE: &str = "stages = ['connect', 'helo', 'mail', 'rcpt', 'data', 'end-of-message']";

/// A server with bob and eve that asks one service, and sends what leaves to where nobody listens.
async fn server(service: &PolicyService, lines: &str) -> Server {
    configured(&format!("[[policy.service]]\nname = 'other'\naddress = '{}'\n{lines}\n", service.address)).await
}

async fn configured(text: &str) -> Server {
    let given: Config = toml::from_str(text).expect("a configuration");
    let server = Server::start(ServerOptions::new().with(move |config| {
        config.policy = given.policy;
        config.route = toml::from_str::<Config>("[[route]]\nto = 'smtp://127.0.0.1:1'").expect("a route").route;
    }))
    .await;
    server.account("bob@example.org", "right horse").await;
    server.mailbox_only("eve@example.org").await;
    server
}

async fn stranger(server: &Server) -> SmtpClient {
    server.smtp(Speaks::Smtp).await
}

async fn bob(server: &Server) -> SmtpClient {
    let mut client = server.smtp(Speaks::Submissions).await;
    let reply = client.login("bob@example.org", "right horse").await;
    assert!(reply.starts_with("235 2.7.0"), "{reply}");
    client
}

async fn inbox(server: &Server, name: &str) -> Vec<String> {
    let stored = server.messages(name, "INBOX").await;
    stored.iter().map(|octets| String::from_utf8_lossy(octets).into_owned()).collect()
}

async fn queued(server: &Server) -> Vec<Entry> {
    server.mail().queue().list(&Selection::default(), None, 1000).await.expect("the store works")
}

/// What one message to eve comes to when the service says this at a stage.
async fn to_eve(stage: &'static str, action: &'static str) -> (Server, String) {
    let service = PolicyService::saying(stage, action).await;
    let server = server(&service, EVERYWHERE).await;
    let reply = stranger(&server).await.deliver("a@example.net", &["eve@example.org"], MESSAGE).await;
    (server, reply)
}

fn of_stage<'r>(requests: &'r [Request], stage: &str) -> Vec<&'r Request> {
    requests.iter().filter(|request| request["protocol_state"] == stage).collect()
}

#[tokio::test]
async fn every_stage_is_asked_about_with_everything_that_is_known() {
    let service = PolicyService::start(|_| Some("DUNNO".to_owned())).await;
    let server = server(&service, &format!("{EVERYWHERE}\ncontext = 'incoming'")).await;
    let mut client = stranger(&server).await;
    client.expect("MAIL FROM:<a@example.net> SIZE=77", "250").await;
    client.expect("RCPT TO:<nobody@example.org>", "550 5.1.1").await;
    client.expect("RCPT TO:<bob@example.org>", "250").await;
    client.expect("RCPT TO:<eve@example.org>", "250").await;
    assert!(client.data(MESSAGE).await.starts_with("250 "));
    assert!(client.deliver("", &["eve@example.org"], MESSAGE).await.starts_with("250 "));
    let requests = service.requests();
    let stages: Vec<&str> = requests.iter().map(|request| request["protocol_state"].as_str()).collect();
    let first = ["CONNECT", "EHLO", "MAIL", "RCPT", "RCPT", "DATA", "END-OF-MESSAGE"];
    assert_eq!(stages, [&first[..], &["MAIL", "RCPT", "DATA", "END-OF-MESSAGE"]].concat());
    for request in &requests {
        assert_eq!(request.len(), 32, "every attribute of Postfix 3.12 is there: {request:?}");
        assert_eq!(request["request"], "smtpd_access_policy");
        assert_eq!(request["client_address"], "127.0.0.1");
        assert_eq!(request["server_port"], server.port(Speaks::Smtp).to_string());
        assert_eq!((request["policy_context"].as_str(), request["sasl_username"].as_str()), ("incoming", ""));
        assert_ne!(request["client_port"], "0");
    }
    let whole = |text: &str| requests.iter().position(|request| request["protocol_state"] == text).expect("asked");
    assert_eq!(requests[whole("CONNECT")]["helo_name"], "");
    assert_eq!(requests[whole("EHLO")]["helo_name"], "client.example.net");
    assert_eq!(requests[whole("MAIL")]["size"], "77");
    assert_eq!(requests[whole("MAIL")]["recipient"], "");
    let recipients: Vec<&str> =
        of_stage(&requests, "RCPT").iter().map(|request| request["recipient"].as_str()).collect();
    assert_eq!(
        recipients,
        ["bob@example.org", "eve@example.org", "eve@example.org"],
        "whom nobody is, nobody is asked"
    );
    for stage in ["DATA", "END-OF-MESSAGE"] {
        let [two, one] = of_stage(&requests, stage)[..] else { panic!("one for each message") };
        assert_eq!((two["recipient_count"].as_str(), two["recipient"].as_str()), ("2", ""));
        assert_eq!((one["recipient_count"].as_str(), one["recipient"].as_str()), ("1", "eve@example.org"));
        assert_eq!((two["sender"].as_str(), one["sender"].as_str()), ("a@example.net", ""));
        assert_ne!(two["instance"], one["instance"]);
    }
    let size = MESSAGE.len().to_string();
    assert!(of_stage(&requests, "END-OF-MESSAGE").iter().all(|request| request["size"] == size));
    let instances = &requests[2..7];
    assert!(instances.iter().all(|request| request["instance"] == instances[0]["instance"]));
    assert_eq!(service.connections(), 1, "one connection is enough");
}

#[tokio::test]
async fn people_are_asked_about_where_that_is_wanted() {
    let service = PolicyService::saying("EHLO", "REJECT a bad name").await;
    let spared = server(&service, EVERYWHERE).await;
    let reply = bob(&spared).await.deliver("bob@example.org", &["eve@example.org"], MESSAGE).await;
    assert!(reply.starts_with("250 "), "who logs in may call itself what it likes: {reply}");
    let service = PolicyService::start(|_| Some("DUNNO".to_owned())).await;
    let spared = server(&service, "stages = ['rcpt']").await;
    assert!(bob(&spared).await.deliver("bob@example.org", &["eve@example.org"], MESSAGE).await.starts_with("250 "));
    assert_eq!(service.requests().len(), 0);
    let asked = server(&service, "stages = ['rcpt']\nask_about_all = true").await;
    assert!(bob(&asked).await.deliver("bob@example.org", &["eve@example.org"], MESSAGE).await.starts_with("250 "));
    let requests = service.requests();
    assert_eq!((requests[0]["sasl_username"].as_str(), requests.len()), ("bob@example.org", 1));
    assert_eq!(requests[0]["sasl_method"], "PLAIN");
    assert!(requests[0]["encryption_protocol"].starts_with("TLSv1."), "{:?}", requests[0]);
    assert!(["128", "256"].contains(&requests[0]["encryption_keysize"].as_str()));
}

#[tokio::test]
async fn refusals_are_told_with_their_codes() {
    for (stage, action, expected) in [
        ("RCPT", "REJECT", "554 5.7.1 refused by policy"),
        ("RCPT", "REJECT 5.7.23 SPF says no", "554 5.7.23 SPF says no"),
        ("RCPT", "DEFER", "450 4.7.1 try again later"),
        ("RCPT", "451 4.7.0 greylisted", "451 4.7.0 greylisted"),
        ("RCPT", "DEFER_IF_PERMIT greylisted", "450 4.7.1 greylisted"),
        ("RCPT", "reject", "554 5.7.1 refused by policy"),
        ("RCPT", "reject_rbl_client", "451 4.3.5 policy service problem"),
        ("MAIL", "550 no", "550 5.7.1 no"),
        ("MAIL", "DEFER_IF_PERMIT not yet", "450 4.7.1 not yet"),
        ("EHLO", "REJECT a bad name", "554 5.7.1 a bad name"),
        ("DATA", "REJECT too many", "554 5.7.1 too many"),
        ("END-OF-MESSAGE", "REJECT too large", "554 5.7.1 too large"),
        ("END-OF-MESSAGE", "DEFER_IF_PERMIT full", "450 4.7.1 full"),
    ] {
        let (server, reply) = to_eve(stage, action).await;
        assert!(reply.starts_with(expected), "{stage} {action}: {reply}");
        assert_eq!(inbox(&server, "eve@example.org").await.len(), 0);
    }
}

#[tokio::test]
async fn a_refused_client_is_told_at_once() {
    let service = PolicyService::saying("CONNECT", "521 5.7.1 not you").await;
    let server = server(&service, EVERYWHERE).await;
    let mut client = SmtpClient::raw(server.port(Speaks::Smtp), server.tls()).await;
    assert_eq!(client.reply().await, "521 5.7.1 not you");
}

#[tokio::test]
async fn what_is_deferred_if_permitted_is_refused_for_good_where_something_else_says_so() {
    let service = PolicyService::saying("MAIL", "DEFER_IF_PERMIT not yet").await;
    let one = server(&service, EVERYWHERE).await;
    let mut client = stranger(&one).await;
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect("RCPT TO:<nobody@example.org>", "550 5.1.1").await;
    client.expect("RCPT TO:<eve@example.org>", "450 4.7.1 not yet").await;
    client.expect("RCPT TO:<bob@example.org>", "450 4.7.1 not yet").await;
    let service = PolicyService::saying("MAIL", "DEFER_IF_REJECT we are moving").await;
    let other = server(&service, EVERYWHERE).await;
    let mut client = stranger(&other).await;
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect("RCPT TO:<nobody@example.org>", "450 4.7.1 we are moving").await;
    client.expect("RCPT TO:<x@example.com>", "450 4.7.1 we are moving").await;
    client.expect("RCPT TO:<eve@example.org>", "250").await;
}

#[tokio::test]
async fn permission_never_relays() {
    for action in ["OK", "permit", "1", "DUNNO", "REDIRECT eve@example.org"] {
        let service = PolicyService::start(move |_| Some(action.to_owned())).await;
        let server = server(&service, EVERYWHERE).await;
        let mut client = stranger(&server).await;
        client.expect("MAIL FROM:<a@example.net>", "250").await;
        client.expect("RCPT TO:<x@example.com>", "550 5.7.1 relaying denied").await;
    }
}

#[tokio::test]
async fn fields_go_on_top() {
    let (server, reply) = to_eve("RCPT", "PREPEND X-Greylist: delayed 300 seconds").await;
    assert!(reply.starts_with("250 "), "{reply}");
    let text = &inbox(&server, "eve@example.org").await[0];
    let (before, behind) = text.split_once("X-Greylist: delayed 300 seconds\r\n").expect("the field");
    assert!(before.contains("Delivered-To: ") && behind.starts_with("Received: "), "{text}");
    let checks = checks(&server).await;
    assert!(checks.contains("other: PREPEND X-Greylist: delayed 300 seconds"), "{checks}");
}

/// What the trace of the message says of its checks.
async fn checks(server: &Server) -> String {
    server.mail().store().chronicle().flush().await;
    let found = server.mail().trace(&TraceOf::Header("m1@example.net".to_owned()), 9).await.expect("the store works");
    found[0].entries[0].detail.clone()
}

#[tokio::test]
async fn warnings_go_into_the_trace() {
    let (server, reply) = to_eve("RCPT", "WARN looks odd").await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(checks(&server).await.contains("other: WARN looks odd"));
}

#[tokio::test]
async fn a_discarded_message_leaves_a_trace_and_nothing_else() {
    for stage in ["MAIL", "RCPT", "END-OF-MESSAGE"] {
        let (server, reply) = to_eve(stage, "DISCARD a known nuisance").await;
        assert!(reply.starts_with("250 2.0.0 taken as "), "{reply}");
        assert_eq!(inbox(&server, "eve@example.org").await.len(), 0);
        assert_eq!(queued(&server).await.len(), 0);
        let id = reply.rsplit(' ').next().expect("an id").to_owned();
        server.mail().store().chronicle().flush().await;
        let traces = server.mail().trace(&TraceOf::Header("m1@example.net".to_owned()), 9).await.expect("it works");
        assert_eq!(traces.len(), 1, "{id}");
        assert_eq!(traces[0].entries[0].kind, "discarded");
        assert!(traces[0].entries[0].detail.contains("a known nuisance"));
    }
}

#[tokio::test]
async fn a_held_message_waits_for_an_operator() {
    let (server, reply) = to_eve("RCPT", "HOLD look at it").await;
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    assert_eq!(inbox(&server, "eve@example.org").await.len(), 0);
    let entries = queued(&server).await;
    assert_eq!((entries.len(), entries[0].outgoing.origin), (1, QueueOrigin::Local));
    assert_eq!(entries[0].delivery.state, DeliveryState::Held);
    assert_eq!(entries[0].delivery.note.as_deref(), Some("look at it"));
    server.mail().queue().order(&Selection::default(), &Order::Release, false, 0).await.expect("the store works");
    for _ in 0..250 {
        if !inbox(&server, "eve@example.org").await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(inbox(&server, "eve@example.org").await.len(), 1, "released");
    for _ in 0..250 {
        if queued(&server).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is still queued");
}

#[tokio::test]
async fn mail_that_leaves_is_held_and_sent_another_way() {
    for (action, state) in [("HOLD", DeliveryState::Held), ("FILTER smtp:[127.0.0.1]:2", DeliveryState::Due)] {
        let service = PolicyService::saying("END-OF-MESSAGE", action).await;
        let server = server(&service, "stages = ['end-of-message']\nask_about_all = true").await;
        let reply = bob(&server).await.deliver("bob@example.org", &["x@example.com"], MESSAGE).await;
        assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
        let entries = queued(&server).await;
        assert_eq!((entries.len(), entries[0].delivery.state), (1, state));
        let route = (state == DeliveryState::Due).then_some("smtp://127.0.0.1:2");
        assert_eq!(entries[0].delivery.route.as_deref(), route);
    }
}

#[tokio::test]
async fn recipients_are_replaced_and_added() {
    let (server, reply) = to_eve("RCPT", "REDIRECT bob@example.org").await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(inbox(&server, "eve@example.org").await.len(), 0);
    assert_eq!(inbox(&server, "bob@example.org").await.len(), 1);
    let (server, _) = to_eve("DATA", "BCC bob@example.org").await;
    assert_eq!(inbox(&server, "eve@example.org").await.len(), 1);
    let copies = inbox(&server, "bob@example.org").await;
    assert_eq!(copies.len(), 1);
    assert!(!copies[0].contains("eve@example.org"), "one recipient is not told of another: {}", copies[0]);
    let (server, reply) = to_eve("RCPT", "REDIRECT nobody@example.org").await;
    assert!(reply.starts_with("451 4.3.5"), "nothing is lost: {reply}");
    assert_eq!(inbox(&server, "eve@example.org").await.len(), 0);
    let (server, reply) = to_eve("RCPT", "BCC nobody@example.org").await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(inbox(&server, "eve@example.org").await.len(), 1);
}

#[tokio::test]
async fn what_is_redirected_elsewhere_has_a_sender_that_passes() {
    let (server, reply) = to_eve("RCPT", "REDIRECT x@example.com").await;
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    let entries = queued(&server).await;
    assert_eq!(entries[0].delivery.recipient, "x@example.com");
    let sender = entries[0].outgoing.sender.as_deref().unwrap_or_default();
    assert!(sender.starts_with("SRS0="), "{sender}");
}

#[tokio::test]
async fn without_an_answer_the_default_holds() {
    let dead = PolicyService::start(|_| None).await;
    for (lines, expected) in
        [("", "451 4.3.5"), ("default_action = 'DUNNO'", "250 "), ("default_action = 'REJECT'", "554")]
    {
        let server = server(&dead, lines).await;
        let reply = stranger(&server).await.deliver("a@example.net", &["eve@example.org"], MESSAGE).await;
        assert!(reply.starts_with(expected), "{lines}: {reply}");
    }
    assert_eq!(dead.requests().len(), 6, "each asked a second time");
}

#[tokio::test]
async fn silence_keeps_nobody_waiting_for_long() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("an address");
    let text = format!(
        "[[policy.service]]\nname = 'silent'\naddress = '{address}'\ntime = '300 ms'\ndefault_action = 'DUNNO'\n"
    );
    let server = configured(&text).await;
    let mut client = stranger(&server).await;
    let begun = Instant::now();
    for _ in 0..10 {
        assert!(client.deliver("a@example.net", &["eve@example.org"], MESSAGE).await.starts_with("250 "));
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900), "it was asked: {took:?}");
    assert!(took < Duration::from_millis(4000), "after three times it is left alone: {took:?}");
}

#[tokio::test]
async fn rules_of_our_own_come_first() {
    let service = PolicyService::start(|_| Some("DUNNO".to_owned())).await;
    let text = format!(
        "[[policy.service]]\nname = 'other'\naddress = '{}'\n\
         [[policy.rule]]\nname = 'no'\nsource = ['@bad.example']\naction = 'REJECT not from there'\n\
         [[policy.rule]]\nname = 'big'\nstage = 'end-of-message'\nlarger = '1 KiB'\naction = 'HOLD large'\n",
        service.address
    );
    let server = configured(&text).await;
    let mut client = stranger(&server).await;
    client.expect("MAIL FROM:<a@bad.example>", "250").await;
    client.expect("RCPT TO:<eve@example.org>", "554 5.7.1 not from there").await;
    client.expect("RSET", "250").await;
    assert_eq!(service.requests().len(), 0, "what is refused is not asked about");
    let large = format!("{MESSAGE}{}", "0123456789\r\n".repeat(200));
    assert!(client.deliver("a@example.net", &["eve@example.org"], &large).await.starts_with("250 2.0.0 queued as "));
    assert_eq!(queued(&server).await[0].delivery.note.as_deref(), Some("large"));
    assert!(client.deliver("a@example.net", &["eve@example.org"], MESSAGE).await.starts_with("250 2.0.0 stored as "));
}

#[tokio::test]
async fn lmtp_and_a_policy_that_is_off_ask_nobody() {
    let service = PolicyService::start(|_| Some("REJECT".to_owned())).await;
    let on = server(&service, EVERYWHERE).await;
    let mut client = on.smtp(Speaks::Lmtp).await;
    assert!(client.deliver("a@example.net", &["eve@example.org"], MESSAGE).await.starts_with("250 "));
    let text = format!("[policy]\nenable = false\n[[policy.service]]\nname = 'a'\naddress = '{}'\n", service.address);
    let off = configured(&text).await;
    assert!(stranger(&off).await.deliver("a@example.net", &["eve@example.org"], MESSAGE).await.starts_with("250 "));
    assert_eq!(service.requests().len(), 0);
}

#[tokio::test]
async fn a_front_end_speaks_for_another_client() {
    let service = PolicyService::start(|request| {
        let bad = request["protocol_state"] == "CONNECT" && request["client_address"] == "192.0.2.66";
        Some(if bad { "REJECT known" } else { "DUNNO" }.to_owned())
    })
    .await;
    let text = format!("[[policy.service]]\nname = 'other'\naddress = '{}'\n{EVERYWHERE}\n", service.address);
    let given: Config = toml::from_str(&text).expect("a configuration");
    let server = Server::start(ServerOptions::new().with(move |config| {
        config.policy = given.policy;
        let row = harness::server::row(config, Speaks::Smtp);
        row.peer = crate::rows::peers(&["network = '127.0.0.0/8'\nxclient = true", "network = '192.0.2.0/24'"]);
    }))
    .await;
    server.mailbox_only("eve@example.org").await;
    let mut client = stranger(&server).await;
    client.expect("XCLIENT ADDR=192.0.2.66 NAME=bad.example", "220").await;
    client.hello("EHLO").await;
    client.expect("MAIL FROM:<a@example.net>", "554 5.7.1 known").await;
    let requests = service.requests();
    let last = requests.last().expect("asked");
    assert_eq!((last["client_address"].as_str(), last["client_name"].as_str()), ("192.0.2.66", "bad.example"));
}
