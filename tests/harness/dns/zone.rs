//! Zones: what they hold, how they are signed, and what they answer.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::dnssec::crypto::EcdsaSigningKey;
use hickory_proto::dnssec::rdata::sig::SigInput;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC, RRSIG};
use hickory_proto::dnssec::{Algorithm, DigestType, DnssecSigner, PublicKey as _, SigningKey as _, TBS};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, SerialNumber};
use hickory_proto::serialize::txt::Parser;

/// All zones, the root among them.
pub(super) struct Zones(Vec<Zone>);

/// One zone.
pub(super) struct Zone {
    apex: Name,
    names: BTreeMap<Name, BTreeMap<RecordType, Vec<Record>>>,
    signer: Option<DnssecSigner>,
    spoiled: bool,
}

/// What is said to a question.
pub(super) struct Said {
    pub(super) code: ResponseCode,
    pub(super) records: Vec<Record>,
    pub(super) authorities: Vec<Record>,
}

impl Default for Zones {
    fn default() -> Self {
        Self(vec![Zone::parse(".", "", true)])
    }
}

impl Zones {
    /// Adds or replaces a zone, and delegates to each zone in the one above it.
    pub(super) fn put(&mut self, zone: Zone) {
        self.0.retain(|other| other.apex != zone.apex);
        self.0.push(zone);
        let below = self.0.iter().filter(|zone| !zone.apex.is_root());
        let delegations: Vec<_> = below.map(|zone| (zone.apex.clone(), zone.ds())).collect();
        for (apex, ds) in delegations {
            let above = self.0.iter_mut().filter(|zone| zone.apex != apex && zone.apex.zone_of(&apex));
            let parent = above.max_by_key(|zone| zone.apex.num_labels()).expect("the root is above all");
            parent.names.remove(&apex);
            parent.add(&apex, RData::NS(NS(server_name(&apex))));
            // An unsigned zone vouches for nobody.
            if let (Some(ds), Some(_)) = (ds, &parent.signer) {
                parent.add(&apex, RData::DNSSEC(DNSSECRData::DS(ds)));
            }
        }
    }

    pub(super) fn add(&mut self, apex: &str, at: &str, data: RData) {
        let apex = name(apex);
        let mut at = Name::from_labels(at.split('.').map(str::as_bytes)).expect("a name").to_lowercase();
        at.set_fqdn(true);
        self.0.iter_mut().find(|zone| zone.apex == apex).expect("a zone").add(&at, data);
    }

    pub(super) fn spoil(&mut self, apex: &str) {
        let apex = name(apex);
        self.0.iter_mut().find(|zone| zone.apex == apex).expect("a zone").spoiled = true;
    }

    /// The root's key in zone file form.
    pub(super) fn anchor(&self) -> String {
        let root = self.0.iter().find(|zone| zone.apex.is_root()).expect("the root");
        let key = root.signer.as_ref().expect("a signed root").to_dnskey();
        format!(". 3600 IN DNSKEY 257 3 13 {}\n", STANDARD.encode(key.public_key().public_bytes()))
    }

    /// What a recursive server would say.
    pub(super) fn answer(&self, asked: &Name, kind: RecordType, proofs: bool) -> Said {
        let mut said = Said { code: ResponseCode::NoError, records: Vec::new(), authorities: Vec::new() };
        let mut at = asked.clone();
        for _ in 0..MOST_ALIASES {
            let zone = self.zone_of(&at, kind);
            if let Some(records) = zone.set(&at, kind) {
                zone.say(records, proofs, &mut said.records);
                return said;
            }
            let Some(alias) = zone.set(&at, RecordType::CNAME) else {
                said.code = zone.deny(&at, proofs, &mut said.authorities);
                return said;
            };
            zone.say(alias, proofs, &mut said.records);
            if let RData::CNAME(target) = &alias[0].data {
                at = target.0.to_lowercase();
            }
        }
        Said { code: ResponseCode::ServFail, records: Vec::new(), authorities: Vec::new() }
    }

    /// Who is asked: the closest zone; for a DS record the one above.
    fn zone_of(&self, asked: &Name, kind: RecordType) -> &Zone {
        let above = |zone: &&Zone| {
            zone.apex.zone_of(asked) && (kind != RecordType::DS || zone.apex != *asked || asked.is_root())
        };
        self.0.iter().filter(above).max_by_key(|zone| zone.apex.num_labels()).expect("the root is above all")
    }
}

impl Zone {
    pub(super) fn parse(apex: &str, text: &str, signed: bool) -> Self {
        let apex = name(apex);
        let signer = signed.then(|| signer(&apex));
        let mut zone = Self { apex: apex.clone(), names: BTreeMap::new(), signer, spoiled: false };
        let text = format!("$TTL {TTL}\n{text}\n");
        let (_, sets) = Parser::new(text, None, Some(apex.clone())).parse().expect("a zone's text");
        for record in sets.values().flat_map(hickory_proto::rr::RecordSet::records_without_rrsigs) {
            let mut record = record.clone();
            record.name = record.name.to_lowercase();
            let kinds = zone.names.entry(record.name.clone()).or_default();
            kinds.entry(record.record_type()).or_default().push(record);
        }
        let server = server_name(&apex);
        zone.add(&apex, RData::SOA(SOA::new(server.clone(), server.clone(), 1, 3600, 600, 86400, NEGATIVE_TTL)));
        zone.add(&apex, RData::NS(NS(server)));
        if let Some(signer) = &zone.signer {
            let key = RData::DNSSEC(DNSSECRData::DNSKEY(signer.to_dnskey()));
            zone.add(&apex, key);
        }
        zone
    }

    fn add(&mut self, at: &Name, data: RData) {
        let record = Record::from_rdata(at.clone(), TTL, data);
        self.names.entry(at.clone()).or_default().entry(record.record_type()).or_default().push(record);
    }

    fn ds(&self) -> Option<DS> {
        let key = self.signer.as_ref()?.to_dnskey();
        let digest = key.to_digest(&self.apex, DigestType::SHA256).expect("a digest");
        let tag = key.calculate_key_tag().expect("a tag");
        Some(DS::new(tag, Algorithm::ECDSAP256SHA256, DigestType::SHA256, digest.as_ref().to_vec()))
    }

    fn set(&self, at: &Name, kind: RecordType) -> Option<&Vec<Record>> {
        self.names.get(at)?.get(&kind)
    }

    /// Adds a record set and, where asked for, its signature.
    fn say(&self, records: &[Record], proofs: bool, to: &mut Vec<Record>) {
        to.extend_from_slice(records);
        if let (true, Some(signer)) = (proofs, &self.signer) {
            to.push(self.sign(signer, records));
        }
    }

    /// Says that there is no such record, or no such name, and proves it (RFC 4035 §3.1.3).
    fn deny(&self, asked: &Name, proofs: bool, to: &mut Vec<Record>) -> ResponseCode {
        self.say(self.set(&self.apex, RecordType::SOA).expect("a SOA record"), proofs, to);
        let exists = self.names.keys().any(|name| asked.zone_of(name));
        let mut encloser = asked.clone();
        while !self.names.keys().any(|name| encloser.zone_of(name)) {
            encloser = encloser.base_name();
        }
        if proofs && self.signer.is_some() {
            let mut owners = vec![self.covering(asked)];
            if !exists {
                owners.push(self.covering(&encloser.prepend_label("*").expect("a wildcard")));
                owners.dedup();
            }
            for owner in owners {
                self.say(&[self.nsec(owner)], proofs, to);
            }
        }
        if exists { ResponseCode::NoError } else { ResponseCode::NXDomain }
    }

    /// The name itself, or the last one before it.
    fn covering(&self, asked: &Name) -> &Name {
        self.names.range(..=asked).next_back().map_or(&self.apex, |(name, _)| name)
    }

    fn nsec(&self, owner: &Name) -> Record {
        let after = (std::ops::Bound::Excluded(owner), std::ops::Bound::Unbounded);
        let next = self.names.range::<Name, _>(after).next().map_or(&self.apex, |(name, _)| name);
        let kinds = self.names[owner].keys().copied();
        let nsec = NSEC::new_cover_self(next.clone(), kinds);
        Record::from_rdata(owner.clone(), NEGATIVE_TTL, RData::DNSSEC(DNSSECRData::NSEC(nsec)))
    }

    fn sign(&self, signer: &DnssecSigner, records: &[Record]) -> Record {
        let first = &records[0];
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let moment = |at: u64| SerialNumber::new(u32::try_from(at & u64::from(u32::MAX)).unwrap_or_default());
        let input = SigInput {
            type_covered: first.record_type(),
            algorithm: Algorithm::ECDSAP256SHA256,
            num_labels: first.name.num_labels(),
            original_ttl: first.ttl,
            sig_expiration: moment(now + 86400),
            sig_inception: moment(now - 3600),
            key_tag: signer.calculate_key_tag().expect("a tag"),
            signer_name: self.apex.clone(),
        };
        let signed = TBS::from_input(&first.name, DNSClass::IN, &input, records.iter()).expect("octets to sign");
        let mut signature = signer.sign(&signed).expect("a signature");
        if self.spoiled {
            signature[10] ^= 0xff;
        }
        let rrsig = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
        Record::from_rdata(first.name.clone(), first.ttl, rrsig)
    }
}

fn signer(apex: &Name) -> DnssecSigner {
    let der = EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).expect("a key");
    let key = EcdsaSigningKey::from_pkcs8(&der, Algorithm::ECDSAP256SHA256).expect("a key");
    let public = key.to_public_key().expect("its public half");
    DnssecSigner::new(DNSKEY::from_key(&public), Box::new(key), apex.clone(), Duration::from_hours(24))
}

fn server_name(apex: &Name) -> Name {
    apex.prepend_label("ns").expect("a name")
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name").to_lowercase();
    name.set_fqdn(true);
    name
}

const TTL: u32 = 300;
const NEGATIVE_TTL: u32 = 60;
const MOST_ALIASES: usize = 12;
