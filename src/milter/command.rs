//! What an MTA says to a filter.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::packet::{Malformed, put, string, strings, until_nul};

/// Whom the MTA talks to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Peer {
    /// Over TCP.
    Internet(SocketAddr),
    /// Through a Unix socket of this name.
    Local(Bytes),
    /// The MTA does not say, or a program handed the message over.
    Unknown,
}

/// A step of the MTA's conversation with its client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// A client connected.
    Connect {
        /// Its name, or its address in brackets.
        host: Bytes,
        /// Its address.
        peer: Peer,
    },
    /// HELO or EHLO.
    Helo(Bytes),
    /// MAIL: the path in angle brackets and its parameters.
    Mail(Vec<Bytes>),
    /// RCPT: likewise.
    Rcpt(Vec<Bytes>),
    /// DATA.
    Data,
    /// A header field. Lines are parted by LF; a leading space is there only when that was agreed on.
    Header {
        /// Its name.
        name: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// The header's end.
    EndOfHeaders,
    /// A piece of the body, with its CRLFs.
    Body(Bytes),
    /// The message's end, perhaps with the last piece of its body.
    EndOfMessage(Bytes),
    /// The message is given up; the session goes on.
    Abort,
    /// A command that the MTA does not know.
    Unknown(Bytes),
    /// The end.
    Quit,
    /// The end of this session; another follows on the same connection.
    QuitForNext,
}

impl Command {
    /// Reads a packet; macros and the negotiation are not commands.
    pub(crate) fn read(letter: u8, mut data: Bytes) -> Result<Self, Malformed> {
        Ok(match letter {
            b'C' => {
                let host = string(&mut data)?;
                Self::Connect { host, peer: peer(data)? }
            }
            b'H' => Self::Helo(string(&mut data)?),
            b'M' => Self::Mail(path(data)?),
            b'R' => Self::Rcpt(path(data)?),
            b'T' => Self::Data,
            b'L' => {
                let name = string(&mut data)?;
                Self::Header { name, value: string(&mut data)? }
            }
            b'N' => Self::EndOfHeaders,
            b'B' => Self::Body(data),
            b'E' => Self::EndOfMessage(data),
            b'A' => Self::Abort,
            b'U' => Self::Unknown(string(&mut data)?),
            b'Q' => Self::Quit,
            b'K' => Self::QuitForNext,
            _ => return Err(Malformed("a command that no MTA has")),
        })
    }

    /// The packet of it.
    pub(crate) fn write(&self) -> Bytes {
        match self {
            Self::Connect { host, peer } => {
                let host = until_nul(host);
                match peer {
                    Peer::Unknown => put(b'C', &[host, b"\0U"]),
                    Peer::Local(path) => put(b'C', &[host, b"\0L\0\0", until_nul(path), b"\0"]),
                    Peer::Internet(address) => {
                        let family: &[u8] = if address.is_ipv4() { b"\x004" } else { b"\x006" };
                        let ip = match address.ip() {
                            IpAddr::V4(ip) => ip.to_string(),
                            // As libmilter writes it.
                            IpAddr::V6(ip) => format!("IPv6:{ip}"),
                        };
                        put(b'C', &[host, family, &address.port().to_be_bytes(), ip.as_bytes(), b"\0"])
                    }
                }
            }
            Self::Helo(name) => put(b'H', &[until_nul(name), b"\0"]),
            Self::Mail(words) => terminated(b'M', words),
            Self::Rcpt(words) => terminated(b'R', words),
            Self::Data => put(b'T', &[]),
            Self::Header { name, value } => put(b'L', &[until_nul(name), b"\0", until_nul(value), b"\0"]),
            Self::EndOfHeaders => put(b'N', &[]),
            Self::Body(octets) => put(b'B', &[octets]),
            Self::EndOfMessage(octets) => put(b'E', &[octets]),
            Self::Abort => put(b'A', &[]),
            Self::Unknown(line) => put(b'U', &[until_nul(line), b"\0"]),
            Self::Quit => put(b'Q', &[]),
            Self::QuitForNext => put(b'K', &[]),
        }
    }
}

fn terminated(letter: u8, words: &[Bytes]) -> Bytes {
    let pieces: Vec<&[u8]> = words.iter().flat_map(|word| [until_nul(word), b"\0"]).collect();
    put(letter, &pieces)
}

fn path(data: Bytes) -> Result<Vec<Bytes>, Malformed> {
    let words = strings(data);
    if words.is_empty() {
        return Err(Malformed("a path that is not there"));
    }
    Ok(words)
}

fn peer(mut data: Bytes) -> Result<Peer, Malformed> {
    let Some(family) = data.first().copied() else { return Err(Malformed("a connection without its family")) };
    if family == b'U' {
        return Ok(Peer::Unknown);
    }
    if data.len() < 3 {
        return Err(Malformed("a connection without its port"));
    }
    let port = u16::from_be_bytes([data[1], data[2]]);
    let mut rest = data.split_off(3);
    let address = string(&mut rest)?;
    match family {
        b'L' => Ok(Peer::Local(address)),
        b'4' | b'6' => {
            let text = std::str::from_utf8(&address).map_err(|_| Malformed("an address that is none"))?;
            let bare = text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")).map_or(text, |_| &text[5..]);
            let ip: IpAddr = bare.parse().map_err(|_| Malformed("an address that is none"))?;
            Ok(Peer::Internet(SocketAddr::new(ip, port)))
        }
        _ => Err(Malformed("a family that nobody has")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::take;
    use bytes::BytesMut;

    fn again(command: &Command) -> Command {
        let mut wire = BytesMut::from(&command.write()[..]);
        let (letter, data) = take(&mut wire, 1 << 20).expect("sound").expect("whole");
        assert!(wire.is_empty());
        Command::read(letter, data).expect("readable")
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let b = Bytes::from_static;
        let v6 = SocketAddr::new("2001:db8::1".parse().expect("an address"), 25);
        let v4 = SocketAddr::new("192.0.2.1".parse().expect("an address"), 40000);
        for command in [
            Command::Connect { host: b(b"mx.example.org"), peer: Peer::Internet(v4) },
            Command::Connect { host: b(b"[IPv6:2001:db8::1]"), peer: Peer::Internet(v6) },
            Command::Connect { host: b(b"localhost"), peer: Peer::Local(b(b"/run/x")) },
            Command::Connect { host: b(b"localhost"), peer: Peer::Unknown },
            Command::Helo(b(b"client")),
            Command::Mail(vec![b(b"<anna@example.org>"), b(b"SIZE=1")]),
            Command::Rcpt(vec![b(b"<bob@example.org>")]),
            Command::Data,
            Command::Header { name: b(b"Subject"), value: b(b"one\n two") },
            Command::EndOfHeaders,
            Command::Body(b(b"Hello\0.\r\n")),
            Command::EndOfMessage(Bytes::new()),
            Command::Abort,
            Command::Unknown(b(b"XYZZY")),
            Command::Quit,
            Command::QuitForNext,
        ] {
            assert_eq!(again(&command), command);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (letter, data) in [
            (b'C', &b"host"[..]),
            (b'C', b"host\0"),
            (b'C', b"host\x004\0"),
            (b'C', b"host\x004\0\x19not an address\0"),
            (b'C', b"host\x009\0\x19192.0.2.1\0"),
            (b'H', b"no end"),
            (b'M', b""),
            (b'L', b"Subject\0no end"),
            (b'z', b""),
        ] {
            assert!(Command::read(letter, Bytes::copy_from_slice(data)).is_err(), "{} {data:?}", char::from(letter));
        }
    }
}
