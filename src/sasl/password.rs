//! Passwords at rest: argon2id for our own, and the schemes that directories elsewhere left behind.
//!
//! Scheme names in braces are read in any case; what follows them is base64 with padding where not said otherwise,
//! never hexadecimal. Costs are bounded, so that no imported hash can hold a login up for minutes.

mod argon;
mod bcrypt;
mod digest;
mod pbkdf2;
mod sha_crypt;

use zeroize::Zeroizing;

use crate::{Secret, preparation};

pub use self::digest::Digest;

/// A hash in today's parameters that no password has: what [`verify`] is given for an account that does not exist,
/// so that the time it takes tells nothing.
pub const DECOY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$cG9zdGhvcm4gZGVjb3khIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What can be imported. Every scheme but argon2id with the parameters of [`hash`] is
/// [outdated](Verdict::outdated) and replaced at the next login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// The PHC form `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, alone or behind `{ARGON2ID}`; up to 1 GiB, and up to 4
    /// GiB over all passes.
    Argon2id,
    /// `$2a$`, `$2b$` or `$2y$`, alone or behind `{BLF-CRYPT}` or `{CRYPT}`; cost up to 16.
    Bcrypt,
    /// `$pbkdf2-sha256$rounds$salt$hash`, alone or behind `{PBKDF2-SHA256}`, or `{PBKDF2-SHA256}rounds$salt$hash`;
    /// base64 without padding and with `.` or `+` for the 63rd digit; up to 10,000,000 rounds.
    Pbkdf2Sha256,
    /// `{SSHA}`, `{SSHA256}`, `{SSHA512}`: digest of password and salt, then the salt.
    SaltedSha(Digest),
    /// `{SHA}`, `{SHA1}`, `{SHA256}`, `{SHA512}`: a digest without salt.
    Sha(Digest),
    /// `$5$` or `$6$`, alone or behind `{SHA256-CRYPT}`, `{SHA512-CRYPT}` or `{CRYPT}`; up to 10,000,000 rounds.
    /// Passwords beyond 1024 octets never match, because each round would read them.
    ShaCrypt(Digest),
}

/// What came of a comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The password is the right one.
    pub matches: bool,
    /// The stored hash is not what [`hash`] makes of the password today: hash again if it matches.
    pub outdated: bool,
}

/// Why a stored hash is of no use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnknownScheme {
    /// A known scheme, but what follows is not its form.
    #[error("malformed password hash")]
    Malformed,
    /// Parameters beyond what a login may cost; see [`Scheme`].
    #[error("password hash is too costly to check")]
    TooCostly,
    /// No scheme that is accepted; passwords in the clear are none.
    #[error("unknown password scheme")]
    Unknown,
}

/// Hashes a password, prepared with SASLprep, with argon2id: 19,456 KiB, two passes, one lane. `salt` is fresh.
///
/// Takes some 30 milliseconds of processor time and 19 MiB: call it where blocking is allowed.
#[must_use]
pub fn hash(password: &Secret, salt: &[u8; 16]) -> String {
    argon::hash(preparation::password(password.expose()).as_bytes(), salt)
}

/// Compares a password with a stored hash. The same advice as for [`hash`]: this takes time.
///
/// Tries the password prepared with SASLprep and, where that differs, as it was typed: imported hashes may be of
/// either.
///
/// # Errors
/// [`UnknownScheme`], never for what [`recognise`] accepts.
pub fn verify(stored: &str, password: &Secret) -> Result<Verdict, UnknownScheme> {
    let stored = Stored::parse(stored)?;
    let prepared = Zeroizing::new(preparation::password(password.expose()).into_owned());
    if stored.is_of(prepared.as_bytes()) {
        return Ok(Verdict { matches: true, outdated: !stored.is_present() });
    }
    let matches = *prepared != password.expose() && stored.is_of(password.expose().as_bytes());
    Ok(Verdict { matches, outdated: matches || !stored.is_present() })
}

/// Tells which scheme a stored hash is of, without checking anything, so that an import can refuse early.
///
/// # Errors
/// [`UnknownScheme`] says why it could not be checked.
pub fn recognise(stored: &str) -> Result<Scheme, UnknownScheme> {
    Ok(match Stored::parse(stored)? {
        Stored::Argon(_) => Scheme::Argon2id,
        Stored::Bcrypt(_) => Scheme::Bcrypt,
        Stored::Pbkdf2(_) => Scheme::Pbkdf2Sha256,
        Stored::Sha(sha) if sha.is_salted() => Scheme::SaltedSha(sha.digest()),
        Stored::Sha(sha) => Scheme::Sha(sha.digest()),
        Stored::ShaCrypt(crypt) => Scheme::ShaCrypt(crypt.digest()),
    })
}

/// A stored hash, read: nothing in it can fail or exceed its bounds any more.
enum Stored<'a> {
    Argon(argon::Argon),
    Bcrypt(bcrypt::Bcrypt),
    Pbkdf2(pbkdf2::Pbkdf2),
    Sha(digest::Sha),
    ShaCrypt(sha_crypt::ShaCrypt<'a>),
}

impl<'a> Stored<'a> {
    fn parse(text: &'a str) -> Result<Self, UnknownScheme> {
        let Some((name, rest)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) else {
            return Self::parse_modular(text);
        };
        let name = name.to_ascii_uppercase();
        if let Some(sha) = digest::Sha::parse(&name, rest) {
            return Ok(Self::Sha(sha?));
        }
        match name.as_str() {
            "ARGON2ID" | "BLF-CRYPT" | "CRYPT" | "SHA256-CRYPT" | "SHA512-CRYPT" => {}
            "PBKDF2-SHA256" if !rest.starts_with('$') => return pbkdf2::Pbkdf2::parse(rest).map(Self::Pbkdf2),
            "PBKDF2-SHA256" => {}
            _ => return Err(UnknownScheme::Unknown),
        }
        let stored = Self::parse_modular(rest)?;
        let agrees = match (&stored, name.as_str()) {
            (Self::Argon(_), "ARGON2ID") | (Self::Bcrypt(_), "BLF-CRYPT") | (Self::Pbkdf2(_), "PBKDF2-SHA256") => true,
            (Self::ShaCrypt(crypt), "SHA256-CRYPT") => crypt.digest() == Digest::Sha256,
            (Self::ShaCrypt(crypt), "SHA512-CRYPT") => crypt.digest() == Digest::Sha512,
            (Self::Bcrypt(_) | Self::ShaCrypt(_), "CRYPT") => true,
            _ => false,
        };
        if agrees { Ok(stored) } else { Err(UnknownScheme::Malformed) }
    }

    /// `$identifier$…`, as crypt(3) began it.
    fn parse_modular(text: &'a str) -> Result<Self, UnknownScheme> {
        let (identifier, rest) =
            text.strip_prefix('$').and_then(|text| text.split_once('$')).ok_or(UnknownScheme::Unknown)?;
        match identifier {
            "argon2id" => argon::Argon::parse(rest).map(Self::Argon),
            "2a" | "2b" | "2y" => bcrypt::Bcrypt::parse(rest).map(Self::Bcrypt),
            "pbkdf2-sha256" => pbkdf2::Pbkdf2::parse(rest).map(Self::Pbkdf2),
            "5" => sha_crypt::ShaCrypt::parse(Digest::Sha256, rest).map(Self::ShaCrypt),
            "6" => sha_crypt::ShaCrypt::parse(Digest::Sha512, rest).map(Self::ShaCrypt),
            _ => Err(UnknownScheme::Unknown),
        }
    }

    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon(argon) => argon.is_of(password),
            Self::Bcrypt(bcrypt) => bcrypt.is_of(password),
            Self::Pbkdf2(pbkdf2) => pbkdf2.is_of(password),
            Self::Sha(sha) => sha.is_of(password),
            Self::ShaCrypt(crypt) => crypt.is_of(password),
        }
    }

    fn is_present(&self) -> bool {
        matches!(self, Self::Argon(argon) if argon.is_present())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "correct horse B\u{e4}ttery";

    /// [`PASSWORD`], hashed by doveadm pw, openssl passwd, mkpasswd, htpasswd, and (PBKDF2) Python's hashlib.
    const IMPORTS: [(&str, Scheme); 21] = [
        (
            "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$Hd0h2AiDVC2TnwsqCXpfFg$JoZ4owzIJApaohe/XOmo5gby1MvNZ2sTVrBktYUsYiA",
            Scheme::Argon2id,
        ),
        (
            "{SHA512-CRYPT}$6$pPXOtU2VMOZwQTE2$GzYsT7/jfOJoiUoMMNozmR.JXM0QG0.Zt/xtWS3F4CFPlikN/JgY.3fbHn5emmoYdh7202SDoNGCblwX8s9fZ1",
            Scheme::ShaCrypt(Digest::Sha512),
        ),
        (
            "{SHA512-CRYPT}$6$rounds=1000$8qy8Q/z/lZNx3mdk$.u7ZwlMsUpvFCuf1rXK8aKlNHDwXT2hr1zN4GHAs4p8NFzG7/HgZjmWaBpK.bjPdT2zOKq.Y1Ee01XSzh85pZ0",
            Scheme::ShaCrypt(Digest::Sha512),
        ),
        (
            "{SHA256-CRYPT}$5$duUPCplnwQIJUgJY$UGdC5bq.ahvSOPsdXEgHazeao09s8fFLpe0MwaBO5L1",
            Scheme::ShaCrypt(Digest::Sha256),
        ),
        (
            "$6$abcdefghijklmnop$TbOFWOkOM0OEYh3tp2RI1Nlm098JHfBAByui7eo6YD6U8FOk1/tuD7g6YCYlrsO.h044U8n0jilPkHMNALRBQ.",
            Scheme::ShaCrypt(Digest::Sha512),
        ),
        ("$5$x$InUdL/A1FxV74K2yP4q4nFuQOJll/7AV5/T5XBhQV27", Scheme::ShaCrypt(Digest::Sha256)),
        (
            "{CRYPT}$6$rounds=7777$saltsalt$dAam1zqoYZK8VeKu9iqWxRg/oayhYEDIxZpoSVAaDOjjnrTpuCP.eOniIY1FDSSakoP1VxFYkQcEUoeNKHGqR1",
            Scheme::ShaCrypt(Digest::Sha512),
        ),
        ("$5$rounds=1500$saltsalt$rhjn8aw4zp9AEszOlH1wq/ejWcDi8ZkKCtkJWFmIOxD", Scheme::ShaCrypt(Digest::Sha256)),
        (
            "{SSHA512}yj8Es7sVwBY4QFqApQbXtDi0zpKx6yyClzol10Fb6yT8GwXal52B7NGupx2Tj2je3ay4byJhB/WUNe7y4WJbpp5gKjM=",
            Scheme::SaltedSha(Digest::Sha512),
        ),
        ("{ssha256}f/qCyVtIQ1DJMat/PhhBSUfRMRyIYhcadQUyyEcpPg5S/Y/F", Scheme::SaltedSha(Digest::Sha256)),
        ("{SSHA}TehRn9eAcNlB9Ju5toZ5DWvWkVvfAHbO", Scheme::SaltedSha(Digest::Sha1)),
        ("{SHA}aIkIMYHl0ArkgrGcRrimWlv9PUI=", Scheme::Sha(Digest::Sha1)),
        ("{SHA256}YqS5wDDS0NLjyO2Gk3lhq4q/QMXcOxUXv6IkD0wuXX0=", Scheme::Sha(Digest::Sha256)),
        (
            "{SHA512}Pta5Jz6N3phpPyhZeNaxxhzOlPsvaIKryzvTETpn4cu5dr3mFDmmYvl7SI1cgFJLc1ilQ4cejyBdX9RdRbxYUQ==",
            Scheme::Sha(Digest::Sha512),
        ),
        ("{BLF-CRYPT}$2y$05$fb7A3YtBMKOSbqoRLAUZE.Sw36r3K8lyO/zWgURcmlx1Z4GQJHy2i", Scheme::Bcrypt),
        ("{CRYPT}$2y$05$d4C.7RSt7EjzjovoOMmXmu76BSx.2AiKve1K219pR95ApJajJv5ya", Scheme::Bcrypt),
        ("$2y$05$ybgQohRzZiPZMvlljcgD1OLYcfLULYl0oo7m/mJjLREOQSr8k/M4C", Scheme::Bcrypt),
        ("$2a$05$y853Q2e1srL0j.vCikvFoeuCyTkopN9eWxrb9pcAfGjFmKnqbTt5W", Scheme::Bcrypt),
        ("$2b$05$TqB33Gp95Izr9iyOmZZ0Nez0PzoeIn41o7cT5QxWzSF1Vwgw8m/aK", Scheme::Bcrypt),
        (
            "$pbkdf2-sha256$29000$8PHy8/T19vf4.fr7/P3./w$aP51aCH0RPhCLKAdbtQua4MU..DaLyiyfWXSehWsG8Q",
            Scheme::Pbkdf2Sha256,
        ),
        (
            "{PBKDF2-SHA256}10000$...../vvvvv77777.....w$5.DdYi2.N2CJrHelaG3Un0VnSsq64Eh.LyWI8eX8Vx0",
            Scheme::Pbkdf2Sha256,
        ),
    ];

    #[test]
    fn imports_are_recognised_and_compared() {
        for (stored, scheme) in IMPORTS {
            assert_eq!(recognise(stored), Ok(scheme), "{stored}");
            let right = verify(stored, &Secret::from(PASSWORD));
            assert_eq!(right, Ok(Verdict { matches: true, outdated: true }), "{stored}");
            let wrong = verify(stored, &Secret::from("correct horse Battery"));
            assert_eq!(wrong, Ok(Verdict { matches: false, outdated: true }), "{stored}");
        }
    }

    /// Beyond one block of the digest, and beyond what bcrypt looks at.
    #[test]
    fn long_passwords_are_compared() {
        let long = "long \u{e9} ".repeat(20);
        for stored in [
            "$2y$04$yMTagh8e6haQ7b00aIHscu0Fz0IHJVA26rz1DrCvEO66RnNTFfYTy",
            "$6$zz$1r/vP0jBUGUOk7X4AAQgHObnZivrJ4b9DMbzSrTiiS2NOUb0ExfH0RMw6UEkG8DQzO/2Qymx.xDl.V8fgvEsv1",
            "$5$zz$7Qjkm5d2ItMKDlbgFuLspqDWzakBCFFPZuY/ssoRQM/",
        ] {
            assert!(verify(stored, &Secret::from(long.as_str())).expect("known").matches, "{stored}");
        }
    }

    #[test]
    fn torn_hashes_are_refused_without_harm() {
        for (stored, _) in IMPORTS {
            for end in 0..=stored.len() {
                let torn = format!("{}\u{e9}{}", &stored[..end], &stored[end..]);
                let expected = match recognise(&torn) {
                    // The salt of SHA-crypt is not encoded: any characters will do.
                    Ok(Scheme::ShaCrypt(_)) => torn.rfind('$') > torn.find('\u{e9}'),
                    result => result.is_err(),
                };
                assert!(expected, "{torn}");
            }
        }
    }

    #[test]
    fn own_hashes_are_present_and_prepared() {
        let stored = hash(&Secret::from("B\u{e4}ttery \u{2168}"), &[7; 16]);
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$BwcHBwcHBwcHBwcHBwcHBw$"), "{stored}");
        let present = Verdict { matches: true, outdated: false };
        assert_eq!(verify(&stored, &Secret::from("Ba\u{308}ttery IX")), Ok(present));
        assert_eq!(verify(&stored, &Secret::from("Battery IX")), Ok(Verdict { matches: false, outdated: false }));
        assert_eq!(verify(DECOY, &Secret::from("")), Ok(Verdict { matches: false, outdated: false }));
    }

    #[test]
    fn passwords_match_as_typed_where_they_were_stored_so() {
        let typed = "\u{2168}";
        let stored = argon::hash(typed.as_bytes(), &[7; 16]);
        assert_eq!(verify(&stored, &Secret::from(typed)), Ok(Verdict { matches: true, outdated: true }));
        assert!(!verify(&stored, &Secret::from("IX")).expect("known").matches);
    }

    #[test]
    fn what_is_not_accepted_is_refused_early() {
        use UnknownScheme::{Malformed, TooCostly, Unknown};
        let hash32 = "A".repeat(43);
        let digits86 = "A".repeat(86);
        for (stored, expected) in [
            (String::new(), Unknown),
            ("secret".to_owned(), Unknown),
            ("{PLAIN}secret".to_owned(), Unknown),
            ("{CLEARTEXT}secret".to_owned(), Unknown),
            ("{MD5-CRYPT}$1$x$y".to_owned(), Unknown),
            ("$1$salt$hash".to_owned(), Unknown),
            ("$2x$05$TqB33Gp95Izr9iyOmZZ0Nez0PzoeIn41o7cT5QxWzSF1Vwgw8m/aK".to_owned(), Unknown),
            ("{SHA512-CRYPT}$5$x$InUdL/A1FxV74K2yP4q4nFuQOJll/7AV5/T5XBhQV27".to_owned(), Malformed),
            ("{SSHA}aIkIMYHl0ArkgrGcRrimWlv9PUI=".to_owned(), Malformed),
            ("{SHA}TehRn9eAcNlB9Ju5toZ5DWvWkVvfAHbO".to_owned(), Malformed),
            ("{SHA}!".to_owned(), Malformed),
            (format!("$6$rounds=10000001$salt${digits86}"), TooCostly),
            (format!("$6$rounds=x$salt${digits86}"), Malformed),
            (format!("$6$salt${}", &digits86[1..]), Malformed),
            (format!("$6$salt${}!", &digits86[1..]), Malformed),
            (format!("$argon2id$v=19$m=1048577,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA${hash32}"), TooCostly),
            (format!("$argon2id$v=19$m=1048576,t=5,p=1$AAAAAAAAAAAAAAAAAAAAAA${hash32}"), TooCostly),
            (format!("$argon2id$v=19$m=4294967295,t=4294967295,p=1$AAAAAAAAAAAAAAAAAAAAAA${hash32}"), TooCostly),
            (format!("$argon2id$v=19$m=1024,t=1,p=65$AAAAAAAAAAAAAAAAAAAAAA${hash32}"), TooCostly),
            (format!("$argon2id$v=19$m=1,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA${hash32}"), Malformed),
            (format!("$argon2id$v=19$t=1,m=1024,p=1$AAAAAAAAAAAAAAAAAAAAAA${hash32}"), Malformed),
            (format!("$argon2id$m=1024,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA${hash32}"), Malformed),
            ("$argon2id$v=19$m=1024,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA".to_owned(), Malformed),
            ("$2b$17$TqB33Gp95Izr9iyOmZZ0Nez0PzoeIn41o7cT5QxWzSF1Vwgw8m/aK".to_owned(), TooCostly),
            ("$2b$32$TqB33Gp95Izr9iyOmZZ0Nez0PzoeIn41o7cT5QxWzSF1Vwgw8m/aK".to_owned(), Malformed),
            ("$2b$05$TqB33Gp95Izr9iyOmZZ0Nez0PzoeIn41o7cT5QxWzSF1Vwgw8m/a".to_owned(), Malformed),
            (format!("$pbkdf2-sha256$10000001$AAAA${hash32}"), TooCostly),
            (format!("$pbkdf2-sha256$0$AAAA${hash32}"), Malformed),
            ("$pbkdf2-sha256$1000$AAAA$AAAA".to_owned(), Malformed),
            (format!("{{PBKDF2-SHA1}}1000$AAAA${hash32}"), Unknown),
        ] {
            assert_eq!(recognise(&stored), Err(expected), "{stored}");
            assert_eq!(verify(&stored, &Secret::from("x")), Err(expected), "{stored}");
        }
    }
}
