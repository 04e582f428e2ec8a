//! The PROXY protocol, versions 1 and 2, read from a stream without taking one byte too many.
//!
//! What follows the header may be a TLS handshake, so nothing is read ahead.

use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader, SslInfo, Tlv};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a proxy told about the client beyond its address (PROXY protocol version 2, type-length-values).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProxyNote {
    /// The host name that the client asked the proxy for.
    pub authority: Option<String>,
    /// The client's TLS towards the proxy, such as `TLSv1.3`.
    pub tls_version: Option<String>,
    /// The suite of that TLS session.
    pub tls_cipher: Option<String>,
    /// The common name of the client's certificate, only if the proxy verified it.
    pub certificate_name: Option<String>,
    /// The proxy's own name for the connection, in hexadecimal.
    pub unique_id: Option<String>,
}

/// What a PROXY header says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proxied {
    /// Client and destination as the proxy saw them; `None` for LOCAL, UNKNOWN and families that are not IP.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// What else was told.
    pub note: ProxyNote,
}

/// Reads one PROXY header, version 1 or 2, and nothing behind it. Listeners do this by themselves for the peers that
/// are to send one.
///
/// # Errors
/// `InvalidData` when this is not a header or one longer than 4 KiB; otherwise what the stream says.
pub async fn read_proxy_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Proxied> {
    let mut header = Vec::with_capacity(128);
    // The shortest version 1 header has 15 octets, the version 2 signature 12: read no further before knowing which.
    while header.len() < SIGNATURE.len() {
        let more = (SIGNATURE.len() - header.len()) as u64;
        if (&mut *stream).take(more).read_buf(&mut header).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let start = header.len().min(GREETING.len());
        if !SIGNATURE.starts_with(&header) && header[..start] != GREETING[..start] {
            return Err(malformed());
        }
    }
    if header == SIGNATURE {
        rest_of_v2(stream, &mut header).await?
    } else {
        rest_of_v1(stream, &mut header).await?
    }
    let (parsed, used) = ProxyHeader::parse(&header, ParseConfig::default()).map_err(|_| malformed())?;
    if used != header.len() {
        return Err(malformed());
    }
    let addresses = parsed.proxied_address().map(|pair| (pair.source, pair.destination));
    Ok(Proxied { addresses, note: note(&parsed) })
}

async fn rest_of_v1(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> io::Result<()> {
    while header.last() != Some(&b'\n') {
        if header.len() == V1_LIMIT {
            return Err(malformed());
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

async fn rest_of_v2(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> io::Result<()> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    header.extend_from_slice(&fixed);
    let rest = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if rest > V2_LIMIT {
        return Err(malformed());
    }
    let from = header.len();
    header.resize(from + rest, 0);
    stream.read_exact(&mut header[from..]).await?;
    Ok(())
}

fn note(header: &ProxyHeader<'_>) -> ProxyNote {
    let mut note = ProxyNote::default();
    // A malformed value ends the list; what came before it stands.
    for value in header.tlvs().map_while(Result::ok) {
        match value {
            Tlv::Authority(name) => note.authority = Some(printable(&name)),
            Tlv::Ssl(tls) => read_tls(&tls, &mut note),
            Tlv::UniqueId(id) => note.unique_id = Some(id.iter().take(128).map(|b| format!("{b:02x}")).collect()),
            _ => {}
        }
    }
    note
}

fn read_tls(tls: &SslInfo<'_>, note: &mut ProxyNote) {
    if tls.client_ssl() {
        note.tls_version = tls.version().map(printable);
        note.tls_cipher = tls.cipher().map(printable);
        let presented = tls.client_cert_conn() || tls.client_cert_sess();
        note.certificate_name = tls.cn().filter(|_| presented && tls.verify() == 0).map(printable);
    }
}

fn printable(text: &str) -> String {
    text.chars().take(255).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a PROXY header")
}

const GREETING: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_LIMIT: usize = 107;
const V2_LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use proxy_header::ProxiedAddress;

    use super::*;

    async fn check(bytes: &[u8]) -> (io::Result<Proxied>, Vec<u8>) {
        let mut rest = bytes;
        let read = read_proxy_header(&mut rest).await;
        (read, rest.to_vec())
    }

    fn pair(header: &Proxied) -> (String, String) {
        let (source, destination) = header.addresses.expect("addresses");
        (source.to_string(), destination.to_string())
    }

    #[tokio::test]
    async fn v1_is_read_to_its_end_and_no_further() {
        let (read, rest) = check(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\r\n\x16\x03\x01").await;
        assert_eq!(pair(&read.expect("header")), ("192.0.2.7:4711".into(), "10.0.0.1:25".into()));
        assert_eq!(rest, b"\x16\x03\x01");
        let (read, rest) = check(b"PROXY TCP6 2001:db8::7 ::1 4711 25\r\nEHLO").await;
        assert_eq!(pair(&read.expect("header")).0, "[2001:db8::7]:4711");
        assert_eq!(rest, b"EHLO");
        let (read, rest) = check(b"PROXY UNKNOWN\r\nEHLO").await;
        assert_eq!((read.expect("header"), rest), (Proxied::default(), b"EHLO".to_vec()));
        let (read, _) = check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n").await;
        assert_eq!(read.expect("header").addresses, None);
    }

    #[tokio::test]
    async fn v2_carries_values() {
        let addresses = ProxiedAddress::stream(
            "[2001:db8::7]:4711".parse().expect("address"),
            "[::1]:25".parse().expect("address"),
        );
        let mut header = ProxyHeader::with_address(addresses);
        let mut tls = SslInfo::new(true, true, false, 0);
        tls.append_tlv(Tlv::SslVersion("TLSv1.3".into()));
        tls.append_tlv(Tlv::SslCn("client\n.example".into()));
        header.append_tlv(Tlv::Ssl(tls));
        header.append_tlv(Tlv::UniqueId((&[0xab, 0x01][..]).into()));
        let mut bytes = Vec::new();
        header.encode_v2(&mut bytes).expect("encodes");
        bytes.extend_from_slice(b"\x16\x03");
        let (read, rest) = check(&bytes).await;
        let read = read.expect("header");
        assert_eq!(pair(&read).0, "[2001:db8::7]:4711");
        assert_eq!(read.note.tls_version.as_deref(), Some("TLSv1.3"));
        assert_eq!(read.note.certificate_name.as_deref(), Some("client?.example"));
        assert_eq!(read.note.unique_id.as_deref(), Some("ab01"));
        assert_eq!(rest, b"\x16\x03");
    }

    #[tokio::test]
    async fn v2_local_keeps_the_socket_address() {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[0x20, 0, 0, 0]);
        assert_eq!(check(&bytes).await.0.expect("header"), Proxied::default());
    }

    #[tokio::test]
    async fn everything_else_is_refused_early() {
        let mut long = SIGNATURE.to_vec();
        long.extend_from_slice(&[0x21, 0x11, 0xff, 0xff]);
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for bytes in [
            b"EHLO client.example\r\n".as_slice(),
            b"PROXX",
            b"PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            b"\r\n\r\n\0\r\nQUIX",
            b"\x16\x03\x01\x02\x00",
            &long,
            &endless,
        ] {
            assert_eq!(check(bytes).await.0.expect_err("refused").kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
        assert_eq!(check(b"PROXY").await.0.expect_err("short").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn damaged_headers_are_refused_or_read_and_never_more() {
        let mut v2 = SIGNATURE.to_vec();
        v2.extend_from_slice(&[0x21, 0x11, 0, 24, 192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 25]);
        v2.extend_from_slice(&[0x20, 0, 5, 1, 0, 0, 0, 0, 5, 0, 1, b'x']);
        let v1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\r\n".to_vec();
        assert!(check(&v2).await.0.is_ok() && check(&v1).await.0.is_ok());
        for whole in [v1, v2] {
            for at in 0..whole.len() {
                for value in [0, 1, b' ', b'\r', b'\n', b'9', 0x7f, 0x80, 0xff, whole[at] ^ 1] {
                    let mut damaged = whole.clone();
                    damaged[at] = value;
                    let _ = check(&damaged).await;
                }
                assert!(check(&whole[..at]).await.0.is_err(), "a part of a header is not a header");
            }
        }
    }
}
