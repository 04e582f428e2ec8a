//! The engine: one case in, one judgement out.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use metrics::{counter, histogram};
use posthorn_config::{Config, FilterSection, Quarantine as QuarantineSection};
use posthorn_contents::{Contents, FileRules, Limits};
use posthorn_mail::Mail;
use posthorn_mail::copies::Fate;
use posthorn_mail::envelope::Envelope;
use posthorn_trust::Resolver;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::dmarc::disowned;
use crate::notices::{Gathering, Waiting};
use crate::quarantine::Quarantine;
use crate::recipient::{Recipients, Wishes};
use crate::rulings::Findings;
use crate::score::{Lookups, Scoring};
use crate::{
    Case, Errand, Evidence, Fault, Judgement, Point, Ruling, Scanned, Scanner, Served, Verdict, Way, disclaimer,
    fields, files,
};

/// Above this many octets a message is walked away from the threads that serve sessions.
const LARGE: usize = 16 << 10;

/// So many of them are walked at one time, each of which may take the memory of [`Limits`].
static WALKS: Semaphore = Semaphore::const_new(4);

/// What the filter is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `[filter]` section.
    pub filter: FilterSection,
    /// The `[quarantine]` section.
    pub quarantine: QuarantineSection,
    /// What lists in the DNS are asked about clients, and at what price.
    pub lookups: Lookups,
    /// Our host name.
    pub hostname: String,
}

impl Settings {
    /// Those of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            filter: config.filter.clone(),
            quarantine: config.quarantine.clone(),
            lookups: Lookups { clients: config.policy.dns_list.clone(), price: config.policy.lookup.clone() },
            hostname: config.server.hostname.to_string(),
        }
    }
}

/// The filter; cheap to clone.
#[derive(Clone)]
pub struct Filter {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) mail: Mail,
    pub(crate) section: FilterSection,
    pub(crate) recipients: Recipients,
    pub(crate) scoring: Scoring,
    pub(crate) quarantine: Quarantine,
    /// Another engine, made of a later configuration, does what must be done once.
    pub(crate) relieved: AtomicBool,
    scanners: Vec<Arc<dyn Scanner>>,
    rules: FileRules,
    pub(crate) waiting: Waiting,
    served: Served,
}

/// What a filter elsewhere says for a recipient; `None` where it was not asked.
type Taken = Option<Result<String, posthorn_model::Refusal>>;

/// A scanner with what it said.
type Answer<'s> = (&'s Arc<dyn Scanner>, Result<Scanned, Fault>);

impl Filter {
    /// Reads what the database says, and begins to judge.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(
        mail: Mail,
        settings: Settings,
        resolver: Arc<dyn Resolver>,
        scanners: Vec<Arc<dyn Scanner>>,
    ) -> posthorn_mail::Result<Self> {
        let Settings { filter: section, quarantine, lookups, hostname } = settings;
        let separator = mail.section().subaddress_separator;
        let mut connection = mail.store().acquire().await?;
        let secret = posthorn_store::settings::keep(&mut connection, "filter", &random::<32>()?).await?;
        drop(connection);
        let shared = Shared {
            recipients: Recipients::new(section.clone(), separator),
            scoring: Scoring::new(&section, &lookups, resolver, &secret),
            quarantine: Quarantine::new(mail.clone(), hostname, quarantine),
            rules: files::rules(&section),
            waiting: Waiting::default(),
            served: Served::default(),
            relieved: AtomicBool::new(false),
            scanners,
            section,
            mail,
        };
        let this = Self { shared: Arc::new(shared) };
        this.reload().await?;
        // What is held lands in today's partition from the first message on: a default partition takes no row while one is
        // being made beside it.
        this.shared.quarantine.tend().await?;
        let mut connection = this.shared.mail.store().acquire().await?;
        this.shared.scoring.load(&mut connection).await?;
        Ok(this)
    }

    /// Mail that is held.
    #[must_use]
    pub fn quarantine(&self) -> &Quarantine {
        &self.shared.quarantine
    }

    /// What holds for a recipient: those for whom it is equal share every ruling that does not come from lists of their
    /// own.
    #[must_use]
    pub fn wishes(&self, recipient: &str) -> Wishes {
        self.shared.recipients.wishes(recipient)
    }

    /// Judges a message. Never fails: trouble of the filter's own is a finding, and what follows from it is configured.
    /// Nobody is given the message, so that this may be dropped at any moment.
    pub async fn look(&self, case: &Case<'_>) -> Judgement {
        let shared = &*self.shared;
        if !shared.section.enable || case.way == Way::Reinjected {
            return untouched(case);
        }
        let began = Instant::now();
        let contents = walk(case.octets).await;
        let evidence = Evidence { case, contents: &contents };
        let scored = case.way == Way::Inbound && case.octets.len() as u64 <= shared.section.score_up_to.octets();
        let (mut points, mut own, mut unanswered) = (Vec::new(), Vec::new(), Vec::new());
        let (asked, score) = tokio::join!(self.ask(case), async {
            match scored {
                true => Some(shared.scoring.score(&evidence).await),
                false => None,
            }
        });
        if let Some(score) = score {
            shared.scoring.note(&evidence, &score.points);
            (points, own, unanswered) = (score.points, score.own, score.unanswered);
        }
        let disowned = match case.checked.filter(|_| case.way == Way::Inbound) {
            Some(checked) => disowned(checked, &shared.section.dmarc),
            None => Default::default(),
        };
        points.retain(|point| !disowned.outweighs(&point.name));
        points.extend(disowned.point.clone());
        let mut found = Findings {
            case,
            contents: &contents,
            rules: &shared.rules,
            viruses: Vec::new(),
            unchecked: None,
            waits: None,
            points,
            disowned,
            refuse: None,
            hold: None,
            changes: Vec::new(),
            redirects: Vec::new(),
            scanners: Vec::new(),
            silent: Vec::new(),
            fault: shared.section.fault,
        };
        if let Some((node, why)) = contents.unchecked() {
            let place = node.map(|node| format!(" ({})", contents.path(node))).unwrap_or_default();
            found.unchecked = Some(format!("{why}{place}"));
        }
        let said = heard(&mut found, asked);
        own.resize(case.envelope.recipients.len(), Vec::new());
        let from = senders(case);
        if case.way == Way::Originating {
            found.changes.extend(disclaimer::below(case, &contents, &shared.section.disclaimer, &found.changes));
        }
        let (mut judgement, mut gathering) = (Judgement::default(), Gathering::default());
        for (at, (recipient, mut own)) in case.envelope.recipients.iter().zip(own).enumerate() {
            let wishes = shared.recipients.wishes(&recipient.address);
            if case.way == Way::Inbound
                && let Some((score, by)) = shared.recipients.opinion(&recipient.address, &from)
            {
                let name = if score < 0.0 { "RECIPIENT_WANTS" } else { "RECIPIENT_UNWANTED" };
                own.push(Point::new(name, score, by));
            }
            let (ruling, minor) = found.ruling(at, &wishes, own);
            if at == 0 || ruling.category > judgement.verdict.category {
                judgement.verdict = Verdict { category: ruling.category, minor, why: ruling.why.clone() };
            }
            gathering.add(case, at, &wishes, ruling.category);
            judgement.rulings.push(ruling);
        }
        self.redirect(case, &found.redirects, &mut judgement.rulings).await;
        judgement.notices = gathering.close(case);
        if judgement.notices.is_some() {
            judgement.recipients = case.envelope.recipients.iter().map(|one| one.address.clone()).collect();
        }
        if let (Way::Inbound, Some(checked)) = (case.way, case.checked) {
            let applied = found.disowned.applied(checked, &judgement.rulings);
            shared.mail.count_dmarc(checked, case.envelope, case.header(), &applied);
        }
        judgement.points = std::mem::take(&mut found.points);
        judgement.findings = told(case, &judgement, said, unanswered);
        judgement.memo = match case.way {
            Way::Originating => shared.scoring.writing(&evidence),
            Way::Inbound if scored => shared.scoring.welcome(&evidence, &judgement.points, &judgement.rulings),
            _ => Default::default(),
        };
        counter!("posthorn_filter_verdicts_total", "category" => judgement.verdict.category.name()).increment(1);
        histogram!("posthorn_filter_seconds").record(began.elapsed());
        judgement
    }

    /// Asks everybody who only looks, all at once.
    async fn ask(&self, case: &Case<'_>) -> Vec<Answer<'_>> {
        let shared = &*self.shared;
        let bypassed =
            |recipient: &posthorn_mail::envelope::Recipient| shared.recipients.wishes(&recipient.address).bypass_virus;
        let nobody_cares = !shared.scanners.is_empty() && case.envelope.recipients.iter().all(bypassed);
        let asked = shared.scanners.iter().filter(|scanner| {
            let is_due = case.way != Way::List || scanner.looks_for_viruses();
            is_due && !scanner.takes_over() && !(nobody_cares && scanner.looks_for_viruses())
        });
        join_all(asked.map(|scanner| async move { (scanner, scanner.scan(case).await) })).await
    }

    /// Lets a filter elsewhere that hands mail on by itself have what would be delivered, behind [`Self::look`]; its answers
    /// stand for these recipients. Whoever drops this may make two of the message.
    ///
    /// Those for whom it took the message are remembered until the sender has [heard so](Self::answered).
    pub async fn hand_over(&self, case: &Case<'_>, judgement: &mut Judgement) {
        if !self.shared.section.enable || matches!(case.way, Way::List | Way::Reinjected) {
            return;
        }
        let Some(scanner) = self.shared.scanners.iter().find(|scanner| scanner.takes_over()) else { return };
        let served = &self.shared.served;
        if served.is_empty() && !judgement.rulings.iter().any(goes) {
            return;
        }
        let errand = Errand::of(case.octets, &case.sender(), scanner.name()).await;
        let known = |one: &posthorn_mail::envelope::Recipient| served.find(&errand, &one.address).map(Ok);
        let mut taken: Vec<Taken> = case.envelope.recipients.iter().map(known).collect();
        for (ruling, _) in judgement.rulings.iter_mut().zip(&taken).filter(|(_, taken)| taken.is_some()) {
            // Whatever would be made of it today: this one has it.
            ruling.fate = Fate::Deliver;
        }
        self.hand_to(&**scanner, case, judgement, &mut taken).await;
        for (recipient, taken) in case.envelope.recipients.iter().zip(&taken) {
            if let Some(Ok(said)) = taken {
                served.note(&errand, &recipient.address, said);
            }
        }
        if taken.iter().any(Option::is_some) {
            (judgement.taken, judgement.errand) = (taken, Some(errand));
        }
    }

    /// Asks it about those who would get the message and do not have it yet.
    async fn hand_to(&self, scanner: &dyn Scanner, case: &Case<'_>, judgement: &mut Judgement, taken: &mut [Taken]) {
        let due = |at: &usize| taken[*at].is_none() && goes(&judgement.rulings[*at]);
        let members: Vec<usize> = (0..taken.len()).filter(due).collect();
        if members.is_empty() {
            return;
        }
        let mut envelope = case.envelope.clone();
        envelope.recipients = members.iter().map(|at| case.envelope.recipients[*at].clone()).collect();
        let part = Case { envelope: &envelope, ..*case };
        let waits = || posthorn_model::Refusal::new(451, posthorn_model::EnhancedCode(4, 5, 0), "try again later");
        let answers = match scanner.scan(&part).await {
            Ok(Scanned { taken: Some(answers), .. }) => answers,
            Ok(_) => return,
            Err(fault) => {
                judgement.findings.insert("faults".to_owned(), format!("{}: {fault}", scanner.name()).into());
                if !fault.closed {
                    return;
                }
                vec![Err(waits()); members.len()]
            }
        };
        for (at, answer) in members.into_iter().zip(answers.into_iter().chain(std::iter::repeat_with(|| Err(waits()))))
        {
            if let Err(refusal) = &answer {
                judgement.rulings[at].fate = Fate::Refuse(refusal.clone());
            }
            taken[at] = Some(answer);
        }
    }

    /// Who has a message already whose sender was told to come again.
    #[must_use]
    pub fn served(&self) -> &Served {
        &self.shared.served
    }

    /// The sender of a judged message hears what became of each recipient's copy, and does not come again for those for
    /// whom another filter took it.
    pub fn answered(&self, envelope: &Envelope, judgement: &Judgement) {
        if let Some(errand) = &judgement.errand {
            self.shared.served.forget(errand, envelope.recipients.iter().map(|one| one.address.as_str()));
        }
    }

    /// Reads what recipients want.
    ///
    /// # Errors
    /// When the store cannot be read; everything stays as it was.
    pub async fn reload(&self) -> posthorn_mail::Result<()> {
        let mut connection = self.shared.mail.store().acquire().await?;
        self.shared.recipients.read(&mut connection).await
    }
}

/// Whether a recipient would get the message.
fn goes(ruling: &Ruling) -> bool {
    matches!(ruling.fate, Fate::Deliver | Fate::Junk)
}

/// Puts together what scanners said; gives it back for the trace.
fn heard(found: &mut Findings<'_>, asked: Vec<Answer<'_>>) -> Vec<String> {
    let mut said = Vec::new();
    for (scanner, answer) in asked {
        let name = scanner.name();
        match answer {
            Ok(scanned) => {
                let words = match (&scanned.viruses[..], &scanned.unchecked, &scanned.refuse, &scanned.hold) {
                    ([], None, None, None) => "nothing".to_owned(),
                    ([], Some(why), ..) => format!("unchecked: {why}"),
                    ([], None, Some(refusal), _) => format!("refuse: {refusal}"),
                    ([], None, None, Some(why)) => format!("hold: {why}"),
                    (viruses, ..) => viruses.join(", "),
                };
                said.push(format!("{name}: {words}"));
                if scanner.looks_for_viruses() {
                    found.scanners.push(name.to_owned());
                }
                found.viruses.extend(scanned.viruses);
                found.points.extend(scanned.points);
                found.changes.extend(scanned.changes);
                found.redirects.extend(scanned.redirects);
                found.unchecked = found.unchecked.take().or(scanned.unchecked);
                found.refuse = found.refuse.take().or(scanned.refuse);
                found.hold = found.hold.take().or(scanned.hold);
            }
            Err(fault) => {
                tracing::warn!(scanner = name, %fault, "a scanner has no answer");
                let why = format!("{name}: {fault}");
                said.push(why.clone());
                if fault.closed {
                    found.waits = Some(why);
                    continue;
                }
                found.silent.push(name.to_owned());
                if scanner.looks_for_viruses() {
                    found.unchecked.get_or_insert(why);
                }
            }
        }
    }
    said
}

/// Everybody gets the message as it is.
fn untouched(case: &Case<'_>) -> Judgement {
    Judgement { rulings: vec![Ruling::default(); case.envelope.recipients.len()], ..Judgement::default() }
}

pub(crate) async fn walk(octets: &Bytes) -> Contents {
    if octets.len() < LARGE {
        return Contents::of(octets, &Limits::default());
    }
    // It is never closed.
    let _turn = WALKS.acquire().await;
    let taken = octets.clone();
    match tokio::task::spawn_blocking(move || Contents::of(&taken, &Limits::default())).await {
        Ok(contents) => contents,
        // A message that nobody can look into must not pass as an empty one: its session ends without an answer.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // It was cut off at the end of the program: nobody hears the answer.
        Err(_) => Contents::of(&Bytes::new(), &Limits::default()),
    }
}

/// Who sent a message, as recipients' lists may name them: the reverse path and the author.
fn senders(case: &Case<'_>) -> Vec<String> {
    let author = posthorn_mime::Facts::of(case.header()).from.map(|from| from.address);
    case.envelope.sender.iter().map(ToString::to_string).chain(author).collect()
}

/// What the trace says.
fn told(case: &Case<'_>, judgement: &Judgement, scanners: Vec<String>, unanswered: Vec<String>) -> Map<String, Value> {
    let point = |point: &Point| {
        let why = if point.why.is_empty() { String::new() } else { format!(" ({})", point.why) };
        format!("{}={}{why}", point.name, fields::number(point.value))
    };
    let ruling = |(recipient, ruling): (&posthorn_mail::envelope::Recipient, &Ruling)| {
        let fate = match &ruling.fate {
            Fate::Deliver => "deliver".to_owned(),
            Fate::Junk => "junk".to_owned(),
            Fate::Hold(_) => "hold".to_owned(),
            Fate::Refuse(refusal) => format!("refuse {refusal}"),
        };
        let own = ruling.own.iter().map(point).collect::<Vec<_>>();
        let own = if own.is_empty() { String::new() } else { format!(" {}", own.join(" ")) };
        let why = if ruling.why.is_empty() { String::new() } else { format!(", {}", ruling.why) };
        format!("{}: {fate}: {}, score {}{why}{own}", recipient.address, ruling.category, fields::number(ruling.score))
    };
    let verdict = match judgement.verdict.minor {
        0 => judgement.verdict.category.to_string(),
        minor => format!("{} {minor}", judgement.verdict.category),
    };
    let facts: [(&str, Value); 5] = [
        ("verdict", verdict.into()),
        ("points", judgement.points.iter().map(point).collect()),
        ("rulings", case.envelope.recipients.iter().zip(&judgement.rulings).map(ruling).collect()),
        ("scanners", scanners.into()),
        ("unanswered", unanswered.into()),
    ];
    let said = |value: &Value| value.as_array().is_none_or(|all| !all.is_empty());
    facts.into_iter().filter(|(_, value)| said(value)).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn random<const N: usize>() -> posthorn_mail::Result<[u8; N]> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(|_| posthorn_mail::Error::Randomness)?;
    Ok(octets)
}
