//! PLAIN (RFC 4616).

use crate::{Failure, Secret, Step, preparation};

/// Reads `[authzid] NUL authcid NUL passwd`.
pub(crate) fn parse(message: &[u8]) -> Result<Step, Failure> {
    let text = std::str::from_utf8(message).map_err(|_| Failure::Malformed)?;
    let mut parts = text.split('\0');
    let (Some(authorization), Some(username), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::Malformed);
    };
    if password.is_empty() {
        return Err(Failure::Malformed);
    }
    let authorization = match authorization {
        "" => None,
        name => Some(preparation::name(name).ok_or(Failure::Malformed)?),
    };
    let username = preparation::name(username).ok_or(Failure::Malformed)?;
    Ok(Step::Verify { authorization, username, password: Secret::from(password) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_are_read() {
        assert_eq!(
            parse(b"\0tim@example.org\0tanstaaftanstaaf"),
            Ok(Step::Verify {
                authorization: None,
                username: "tim@example.org".to_owned(),
                password: Secret::from("tanstaaftanstaaf"),
            })
        );
        assert_eq!(
            parse("Ursel\0K\u{2168}rt\0xipj3plmq \u{2168}".as_bytes()),
            Ok(Step::Verify {
                authorization: Some("Ursel".to_owned()),
                username: "KIXrt".to_owned(),
                password: Secret::from("xipj3plmq \u{2168}"),
            })
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for message in [
            &b""[..],
            b"\0",
            b"user\0password",
            b"\0user\0",
            b"\0\0password",
            b"\0user\0pass\0word",
            b"\0us\x07er\0password",
            b"\x07\0user\0password",
            b"\0user\0p\xe4ssword",
        ] {
            assert_eq!(parse(message), Err(Failure::Malformed), "{message:?}");
        }
    }
}
