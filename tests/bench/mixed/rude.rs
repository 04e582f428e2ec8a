//! What broken programs and strangers do. However the server answers is right, as long as it can be reached.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use super::Stage;
use crate::imap::quoted;

/// How long a rude client waits for something to be said.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
enum Port {
    Smtp,
    Lmtp,
    Imap,
}

/// What no client should say.
const MALFORMED: [(Port, &[u8]); 14] = [
    (Port::Smtp, b"EHLO\r\nMAIL FROM:<\r\nRCPT TO:<u0@example.org>\r\nDATA\r\nQUIT\r\n"),
    (Port::Smtp, b"GET / HTTP/1.1\r\nHost: mx\r\n\r\n"),
    (Port::Smtp, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    (
        Port::Smtp,
        b"MAIL FROM:<a@b.example> SIZE=99999999999999999999\r\nMAIL FROM:<> FOO=1\r\nVRFY \xff\xfe\r\nQUIT\r\n",
    ),
    (
        Port::Smtp,
        b"MAIL FROM:<>\r\nRCPT TO:<u0@example.org>\r\nDATA\r\nSubject: x\n\n\0\r\n.\n.\r\nNOOP\r\n.\r\nQUIT\r\n",
    ),
    (Port::Smtp, b"STARTTLS\r\nMAIL FROM:<a@b.example>\r\n"),
    (Port::Smtp, b"MAIL FROM:<>\r\nRCPT TO:<u0@example.org>\r\nBDAT 99999999 LAST\r\nshort"),
    (Port::Lmtp, b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<nobody-here@example.org>\r\nDATA\r\nRSET\r\nQUIT\r\n"),
    (Port::Imap, b"* BAD\r\n\r\na b c d\r\na LOGIN {99999999999}\r\n"),
    (Port::Imap, b"a AUTHENTICATE PLAIN !!!!\r\na SELECT INBOX\r\na FETCH 1 (BODY[\r\n"),
    (Port::Imap, b"GET / HTTP/1.0\r\n\r\n"),
    (Port::Imap, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    (Port::Imap, b"a STARTTLS\r\nb LOGIN x y\r\n"),
    (Port::Imap, b"a APPEND INBOX {1073741824}\r\nb NOOP\r\n"),
];

/// Says something malformed, or far too much of it, and listens until nothing more is said.
pub(super) async fn malformed(stage: Rc<Stage>) -> anyhow::Result<()> {
    let (port, words) = *stage.one(&MALFORMED);
    // Some do not wait until they are greeted.
    let mut stream =
        if stage.below(4) == 0 { connect(&stage, port, None).await? } else { greeted(&stage, port).await? };
    let long;
    let words = if stage.below(5) == 0 {
        long = vec![*stage.one(b"a\0\xff("); 100_000];
        &long
    } else {
        words
    };
    // A server that has heard enough closes, and what is still written is refused.
    let _refused = stream.write_all(words).await;
    listen(&mut stream).await;
    Ok(())
}

/// Tries a wrong password, from an address that nobody else uses.
pub(super) async fn guess(stage: Rc<Stage>) -> anyhow::Result<()> {
    let user = stage.user();
    let from = Ipv4Addr::from([127, 66, 1 + low_octet(stage.below(200)), 1 + low_octet(stage.below(200))]);
    let source = SocketAddr::new(from.into(), 0);
    match stage.options.submission_port.filter(|_| stage.below(2) == 0) {
        Some(port) => {
            let mut stream = dial(&stage, port, Some(source)).await?;
            hear(&mut stream).await;
            let _refused = stream.write_all(b"EHLO x\r\n").await;
            hear(&mut stream).await;
            // NUL u0@example.org NUL wrong, in base64.
            let _refused = stream.write_all(b"AUTH PLAIN AHUwQGV4YW1wbGUub3JnAHdyb25n\r\nQUIT\r\n").await;
            listen(&mut stream).await;
        }
        None => {
            let mut stream = connect(&stage, Port::Imap, Some(source)).await?;
            let login = format!("a LOGIN {} wrong-{}\r\nb LOGOUT\r\n", quoted(&user), stage.below(1000));
            let _refused = stream.write_all(login.as_bytes()).await;
            listen(&mut stream).await;
        }
    }
    Ok(())
}

/// Begins something sensible and is gone in the middle of it.
pub(super) async fn vanish(stage: Rc<Stage>) -> anyhow::Result<()> {
    let user = stage.user();
    let mut body = Vec::new();
    stage.people.write(&stage, &mut body);
    let (port, start) = match stage.below(4) {
        0 => (Port::Smtp, format!("MAIL FROM:<>\r\nRCPT TO:<{user}>\r\nDATA\r\n")),
        1 => (Port::Lmtp, format!("MAIL FROM:<>\r\nRCPT TO:<{user}>\r\nDATA\r\n")),
        2 => (Port::Imap, format!("{}c APPEND INBOX {{{}+}}\r\n", opening(&stage, &user), body.len())),
        _ => (Port::Imap, format!("{}c UID FETCH 1:* (UID FLAGS BODY.PEEK[])\r\n", opening(&stage, &user))),
    };
    let whole = [start.as_bytes(), &body].concat();
    let mut stream = greeted(&stage, port).await?;
    let _refused = stream.write_all(&whole[..stage.below(whole.len())]).await;
    sleep(Duration::from_millis(u64::try_from(stage.below(400))?)).await;
    Ok(())
}

/// Sends a message octet by octet; some give up.
pub(super) async fn send_slowly(stage: Rc<Stage>) -> anyhow::Result<()> {
    let user = stage.user();
    let mut stream = greeted(&stage, Port::Smtp).await?;
    let start = format!("MAIL FROM:<>\r\nRCPT TO:<{user}>\r\nDATA\r\n");
    stream.write_all(start.as_bytes()).await.context("a slow sender")?;
    for octet in b"Subject: from far away\r\n\r\nword by word\r\n".iter().take(10 + stage.below(60)) {
        sleep(Duration::from_millis(300)).await;
        stream.write_all(&[*octet]).await.context("a slow sender")?;
    }
    let _refused = stream.write_all(if stage.below(2) == 0 { b"\r\n.\r\nQUIT\r\n" } else { b"half a li" }).await;
    listen(&mut stream).await;
    Ok(())
}

/// Asks for everything and reads it a little at a time, then is gone.
pub(super) async fn read_slowly(stage: Rc<Stage>) -> anyhow::Result<()> {
    let mut stream = connect(&stage, Port::Imap, None).await?;
    let words = format!("{}c UID FETCH 1:* (UID BODY.PEEK[])\r\n", opening(&stage, &stage.user()));
    stream.write_all(words.as_bytes()).await.context("a slow reader")?;
    let mut space = [0; 2048];
    for _ in 0..200 {
        sleep(Duration::from_millis(100)).await;
        match timeout(PATIENCE, stream.read(&mut space)).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
    }
    Ok(())
}

/// LOGIN and SELECT, in one write.
fn opening(stage: &Stage, user: &str) -> String {
    format!("a LOGIN {} {}\r\nb SELECT INBOX\r\n", quoted(user), quoted(&stage.options.target.password))
}

/// A connection on which the greetings have been exchanged.
async fn greeted(stage: &Stage, port: Port) -> anyhow::Result<TcpStream> {
    let mut stream = connect(stage, port, None).await?;
    hear(&mut stream).await;
    let hello: &[u8] = match port {
        Port::Smtp => b"EHLO x\r\n",
        Port::Lmtp => b"LHLO x\r\n",
        Port::Imap => return Ok(stream),
    };
    let _refused = stream.write_all(hello).await;
    hear(&mut stream).await;
    Ok(stream)
}

/// Waits for something to be said.
async fn hear(stream: &mut TcpStream) {
    let _silent = timeout(PATIENCE, stream.read(&mut [0; 4096])).await;
}

/// Reads until the server closes or says nothing more.
async fn listen(stream: &mut TcpStream) {
    let mut space = [0; 4096];
    while let Ok(Ok(1..)) = timeout(PATIENCE, stream.read(&mut space)).await {}
}

async fn connect(stage: &Stage, port: Port, source: Option<SocketAddr>) -> anyhow::Result<TcpStream> {
    let target = &stage.options.target;
    let port = match port {
        Port::Smtp => target.smtp_port,
        Port::Lmtp => target.lmtp_port,
        Port::Imap => target.imap_port,
    };
    dial(stage, port, source).await
}

/// Connects with little room for what comes back, from a source address where server and source are on this machine.
async fn dial(stage: &Stage, port: u16, source: Option<SocketAddr>) -> anyhow::Result<TcpStream> {
    let host = stage.options.target.host.as_str();
    let server = lookup_host((host, port)).await?.next().with_context(|| format!("{host} has no address"))?;
    let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_recv_buffer_size(8192)?;
    if let (IpAddr::V4(ip), Some(source)) = (server.ip(), source)
        && ip.is_loopback()
    {
        socket.bind(source)?;
    }
    socket.connect(server).await.with_context(|| format!("{server} cannot be reached"))
}

fn low_octet(number: usize) -> u8 {
    u8::try_from(number % 256).unwrap_or(0)
}
