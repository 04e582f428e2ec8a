//! Random sessions against a simple model: whatever three clients do on one mailbox, they and the store agree in the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::dice::Dice;
use harness::imap_client::{Answer, ImapClient};

use crate::rig::{Rig, done, message, number, user};

/// What a client knows of the mailbox: UIDs in the order of sequence numbers (0 where it was not told), and flags.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Belief {
    uids: Vec<u32>,
    flags: BTreeMap<u32, String>,
}

impl Belief {
    /// Believes what the server says; anything that contradicts what was said before is a fault of the server.
    fn hear(&mut self, lines: &[String], who: &str) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["*", count, "EXISTS"] => {
                    let count: usize = count.parse().expect("a number");
                    assert!(count >= self.uids.len(), "{who}: EXISTS shrinks: {line}");
                    self.uids.resize(count, 0);
                }
                ["*", sequence, "EXPUNGE"] => {
                    let at: usize = sequence.parse().expect("a number");
                    assert!(at >= 1 && at <= self.uids.len(), "{who}: {line} of {}", self.uids.len());
                    let uid = self.uids.remove(at - 1);
                    self.flags.remove(&uid);
                }
                ["*", "VANISHED", rest @ ..] => {
                    let earlier = rest.len() == 2;
                    for uid in numbers(rest.last().expect("a set")) {
                        let exact = self.uids.iter().position(|known| *known == uid);
                        let at = if earlier { exact } else { self.place(uid) };
                        assert!(earlier || at.is_some(), "{who}: {line} although it is not known: {:?}", self.uids);
                        if let Some(at) = at {
                            self.uids.remove(at);
                        }
                        self.flags.remove(&uid);
                    }
                }
                ["*", sequence, "FETCH", ..] => self.fetched(sequence.parse().expect("a number"), line, who),
                _ => {}
            }
        }
    }

    /// Where this UID is, or may be: one of those that it was not told of lies there.
    fn place(&self, uid: u32) -> Option<usize> {
        let from = self.uids.iter().rposition(|known| *known != 0 && *known < uid).map_or(0, |at| at + 1);
        let exact = self.uids.iter().position(|known| *known == uid);
        exact.or_else(|| self.uids.get(from).is_some_and(|known| *known == 0).then_some(from))
    }

    fn fetched(&mut self, sequence: usize, line: &str, who: &str) {
        assert!(sequence >= 1 && sequence <= self.uids.len(), "{who}: {line} of {}", self.uids.len());
        if let Some((_, rest)) = line.split_once("UID ") {
            let uid = rest.split([' ', ')']).next().and_then(|uid| uid.parse().ok()).expect("a UID");
            let known = &mut self.uids[sequence - 1];
            assert!(*known == 0 || *known == uid, "{who}: {line}, but it was {known}");
            *known = uid;
        }
        let uid = self.uids[sequence - 1];
        if uid != 0
            && let Some((_, rest)) = line.split_once("FLAGS (")
        {
            self.flags.insert(uid, sorted(rest.split(')').next().expect("an end")));
        }
    }
}

fn sorted(flags: &str) -> String {
    let mut flags: Vec<&str> = flags.split_whitespace().collect();
    flags.sort_unstable();
    flags.join(" ")
}

fn numbers(set: &str) -> Vec<u32> {
    let number = |text: &str| text.parse::<u32>().expect("a number");
    set.split(',')
        .flat_map(|range| match range.split_once(':') {
            Some((from, to)) => (number(from)..=number(to)).collect(),
            None => vec![number(range)],
        })
        .collect()
}

/// One session.
struct Player {
    name: &'static str,
    client: ImapClient,
    belief: Belief,
    /// What it believed at an earlier moment, and the HIGHESTMODSEQ then.
    earlier: Option<(u64, u64, Belief)>,
}

impl Player {
    async fn new(name: &'static str, mut client: ImapClient, qresync: bool) -> Self {
        if qresync {
            client.ok("ENABLE QRESYNC").await;
        }
        let selected = client.ok("SELECT INBOX").await;
        let mut player = Self { name, client, belief: Belief::default(), earlier: None };
        player.belief.hear(&selected.lines(), name);
        player
    }

    async fn say(&mut self, command: &str) -> Answer {
        let answer = self.client.ask(command).await;
        assert!(!answer.tagged.starts_with("BAD") && !answer.tagged.contains("SERVERBUG"), "{command}: {answer:?}");
        self.belief.hear(&answer.lines(), self.name);
        answer
    }

    /// Learns the UIDs and flags that it was not told yet.
    async fn settle(&mut self) {
        self.say("NOOP").await;
        if !self.belief.uids.is_empty() {
            self.say("UID FETCH 1:* (UID FLAGS)").await;
        }
    }

    async fn act(&mut self, dice: &mut Dice, count: &mut u32) {
        let size = self.belief.uids.len();
        let some = |dice: &mut Dice| {
            let (one, other) = (1 + dice.below(size.max(1)), 1 + dice.below(size.max(1)));
            format!("{}:{}", one.min(other), one.max(other).min(one.min(other) + 3))
        };
        let flag = ["\\Seen", "\\Deleted", "\\Flagged", "$Work", "$Home"][dice.below(5)];
        match dice.below(12) {
            0..=2 => {
                *count += 1;
                let text = message(&format!("{count}"), "x");
                let answer = self.client.append("INBOX", text.as_bytes()).await;
                assert!(answer.is_ok(), "{answer:?}");
                self.belief.hear(&answer.lines(), self.name);
            }
            3 if size > 0 => drop(self.say(&format!("STORE {} +FLAGS ({flag})", some(dice))).await),
            4 if size > 0 => self.take_silently(&some(dice), flag).await,
            5 if size > 0 => drop(self.say(&format!("UID STORE {} FLAGS ({flag})", some(dice))).await),
            6 if size > 0 => drop(self.say(&format!("COPY {} INBOX", some(dice))).await),
            7 if size > 0 => drop(self.say(&format!("MOVE {} Trash", some(dice))).await),
            8 => drop(self.say("EXPUNGE").await),
            9 if size > 0 => {
                drop(self.say(&format!("FETCH {} (UID FLAGS BODY[HEADER.FIELDS (Subject)])", some(dice))).await)
            }
            10 => {
                let tag = idle_hearing(self).await;
                tokio::time::sleep(Duration::from_millis(dice.roll() % 8)).await;
                let answer = done(&mut self.client, &tag).await;
                self.belief.hear(&answer.lines(), self.name);
            }
            11 if self.earlier.is_none() || dice.below(4) == 0 => self.remember().await,
            _ => drop(self.say("NOOP").await),
        }
    }

    /// The server says nothing of flags then, unless others changed them: the client works them out.
    async fn take_silently(&mut self, set: &str, flag: &str) {
        for sequence in numbers(set) {
            let uid = self.belief.uids[sequence as usize - 1];
            if let Some(flags) = self.belief.flags.get_mut(&uid) {
                *flags = flags.split(' ').filter(|one| *one != flag).collect::<Vec<_>>().join(" ");
            }
        }
        self.say(&format!("STORE {set} -FLAGS.SILENT ({flag})")).await;
    }

    async fn remember(&mut self) {
        self.settle().await;
        // Between the two commands others go on: the modseq must be from before what was learned last.
        let status = self.say("STATUS INBOX (UIDVALIDITY HIGHESTMODSEQ)").await;
        let (validity, modseq) = (number(&status, "UIDVALIDITY"), number(&status, "HIGHESTMODSEQ"));
        self.settle().await;
        let mut belief = self.belief.clone();
        belief.uids.retain(|uid| *uid != 0);
        self.earlier = Some((validity, modseq, belief));
    }
}

/// IDLE, believing what comes before it begins.
async fn idle_hearing(player: &mut Player) -> String {
    let tag = player.client.send(b"IDLE").await;
    loop {
        let line = String::from_utf8_lossy(&player.client.line().await.expect("IDLE is answered")).into_owned();
        if line == "+ idling" {
            return tag;
        }
        player.belief.hear(&[line], player.name);
    }
}

/// What the store holds, asked by somebody who never looked before.
async fn truth(rig: &Rig) -> Belief {
    let mut belief = Belief::default();
    let mut client = user(&rig.server).await;
    belief.hear(&client.ok("SELECT INBOX").await.lines(), "truth");
    if !belief.uids.is_empty() {
        belief.hear(&client.ok("FETCH 1:* (UID FLAGS)").await.lines(), "truth");
    }
    belief
}

#[expect(clippy::print_stdout, reason = "whoever reads a failure must be able to repeat it")]
async fn play(seed: u64) {
    println!("seed {seed}");
    let rig = Rig::new().await;
    let twin = rig.twin().await;
    let mut dice = Dice::new(seed);
    let mut players = [
        Player::new("first", rig.user().await, false).await,
        Player::new("second", rig.user().await, true).await,
        Player::new("elsewhere", user(&twin).await, true).await,
    ];
    let (mut count, began) = (0, Instant::now());
    for _ in 0..60 {
        if began.elapsed() > Duration::from_secs(8) {
            break;
        }
        // Each its own dice, all at once: the order of the outcome is up to the server.
        let mut own: Vec<Dice> = (0..3).map(|_| Dice::new(dice.roll())).collect();
        let mut counts = [count, count + 1000, count + 2000];
        let [one, two, three] = &mut players;
        let [dice_one, dice_two, dice_three] = &mut own[..] else { unreachable!("three were made") };
        let [count_one, count_two, count_three] = &mut counts;
        tokio::join!(one.act(dice_one, count_one), two.act(dice_two, count_two), three.act(dice_three, count_three));
        count += 1;
    }
    let expected = truth(&rig).await;
    for player in &mut players {
        // The change of another process is heard of by the time NOOP answers; learned UIDs fill what was only counted.
        player.say("NOOP").await;
        let told = player.belief.clone();
        if !player.belief.uids.is_empty() {
            player.say("UID FETCH 1:* (UID FLAGS)").await;
        }
        assert_eq!(player.belief, expected, "seed {seed}, {}", player.name);
        // Without asking again it must have been right wherever it had been told.
        assert_eq!(told.uids.len(), expected.uids.len(), "seed {seed}, {}", player.name);
        for (uid, flags) in &told.flags {
            assert_eq!(Some(flags), expected.flags.get(uid), "seed {seed}, {}: flags of {uid}", player.name);
        }
    }
    for player in &mut players[1..] {
        let Some((validity, modseq, mut belief)) = player.earlier.take() else { continue };
        let answer = player.client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq}))")).await;
        resynchronise(&mut belief, &answer, player.name);
        assert_eq!(belief, expected, "seed {seed}, {}: resynchronised from {modseq}", player.name);
    }
    rig.sound().await;
}

/// A client that comes back: first what vanished, then how many there are, then what changed.
fn resynchronise(belief: &mut Belief, answer: &Answer, who: &str) {
    let lines = answer.lines();
    let kind = |word: &str| lines.iter().filter(|line| line.contains(word)).cloned().collect::<Vec<_>>();
    belief.hear(&kind("VANISHED"), who);
    belief.hear(&kind(" EXISTS"), who);
    belief.hear(&kind(" FETCH ("), who);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_sessions_agree_with_the_store_in_the_end() {
    let fresh =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(7, |now| now.as_nanos() as u64);
    for seed in [1, 20_261_121, 0xdead_beef, fresh] {
        play(seed).await;
    }
}
