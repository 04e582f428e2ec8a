//! Signatures, chains and results of a message from anywhere.

use chrono::{DateTime, Utc};
use posthorn_trust::results::{AuthenticationResults, field, without};
use posthorn_trust::{Chain, DkimResult, Found, Keys, Signed};

const OURS: &str = "mx.example";

/// Nothing passes with keys that signed nothing, and no field is left that claims to be ours.
pub fn target(octets: &[u8]) {
    let key = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned();
    if let Some(signed) = Signed::parse(octets) {
        let keys: Keys = signed.key_names().into_iter().map(|name| (name, Found::Some(vec![key.clone()]))).collect();
        let found = signed.verify(&keys, DateTime::<Utc>::UNIX_EPOCH);
        assert!(found.signatures.len() <= 10);
        assert!(found.signatures.iter().all(|one| one.result != DkimResult::Pass) && found.chain != Chain::Pass);
        let field = field(OURS, &found.results());
        assert_eq!(posthorn_mime::header_fault(field.as_bytes()), None);
        let value = field.split_once(':').map(|(_, value)| value.as_bytes()).unwrap_or_default();
        let read = AuthenticationResults::parse(value).expect("what we write can be read");
        assert_eq!(read.results.len(), found.signatures.len().max(1) + 1, "{field}");
    }
    let header = &octets[..posthorn_mime::header_end(octets).unwrap_or(octets.len())];
    for field in posthorn_mime::fields(header) {
        let _either = AuthenticationResults::parse(field.value);
    }
    if let Some(kept) = without(header, OURS) {
        assert!(kept.len() < header.len());
        assert_eq!(without(&kept, OURS), None);
    }
}
