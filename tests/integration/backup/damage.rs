//! What was altered or cut is refused, with what and where, and leaves the database as it was.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use harness::dice::Dice;
use harness::postgres::{TestDatabase, database, empty};
use posthorn::backup::Progress;
use posthorn::backup::container::{Input, Packer, Unpacker};
use posthorn::backup::read::verify;
use posthorn::backup::restore::Options;

use super::{backed_up, number, restored, run};

async fn small() -> (TestDatabase, tempfile::TempDir, PathBuf) {
    let database = database(posthorn_store::migrate).await;
    run(
        &database.url,
        "insert into domain (name) values ('example.org');
         insert into account (domain_id, local, folded) select id, 'ann', 'ann' from domain;
         insert into mail_state (account_id) select id from account;
         insert into body (message_id, part, header, text)
             select n, 0, '\\x00', ('\\x00' || repeat(md5(n::text), 30))::bytea from generate_series(1, 200) n",
    )
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = backed_up(&database.url, folder.path()).await;
    (database, folder, path)
}

async fn complaint(path: &Path) -> String {
    let error = verify(path, &Progress::default()).await.expect_err("damaged");
    format!("{error:#}")
}

async fn is_empty(database: &TestDatabase) -> bool {
    number(&database.url, "select count(*) from pg_class where relnamespace = 'public'::regnamespace").await == 0
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_noticed() {
    let (_database, folder, path) = small().await;
    verify(&path, &Progress::default()).await.expect("it is whole");
    let whole = std::fs::read(&path).expect("read");
    let mut dice = Dice::new(20_261_121);
    let altered = folder.path().join("altered.tar");
    for _ in 0..400 {
        let at = dice.below(whole.len());
        let mut octets = whole.clone();
        octets[at] ^= 1 << dice.below(8);
        std::fs::write(&altered, octets).expect("written");
        let error = complaint(&altered).await;
        assert!(
            error.contains("damaged") || error.contains("no backup of Posthorn") || error.contains("truncated"),
            "octet {at}: {error}"
        );
    }
    // One in the middle of the bodies names them, and a restore leaves nothing behind.
    let name = b"tables/body/000000.copy.zst";
    let header = whole.windows(name.len()).position(|window| window == name).expect("the member");
    let mut octets = whole;
    octets[header + 512 + 300] ^= 0x10;
    std::fs::write(&altered, octets).expect("written");
    let error = complaint(&altered).await;
    assert!(error.contains(&format!("tables/body/000000.copy.zst at octet {header}")), "{error}");
    let target = empty().await;
    let error = restored(&target.url, &altered, Options::default()).await.expect_err("damaged");
    assert!(format!("{error:#}").contains("tables/body/000000.copy.zst"), "{error:#}");
    assert!(is_empty(&target).await);
}

#[tokio::test]
async fn a_truncated_archive_is_noticed_wherever_it_breaks_off() {
    let (_database, folder, path) = small().await;
    let whole = std::fs::read(&path).expect("read");
    let cut = folder.path().join("cut.tar");
    let mut dice = Dice::new(7);
    let mut ends: Vec<usize> = (0..100).map(|_| dice.below(whole.len())).collect();
    ends.extend([0, 1, 512, whole.len() - 1, whole.len() - 512, whole.len() - 1024]);
    for end in ends {
        std::fs::write(&cut, &whole[..end]).expect("written");
        let error = complaint(&cut).await;
        assert!(error.contains("truncated: it breaks off at octet"), "{end}: {error}");
    }
    std::fs::write(&cut, &whole[..whole.len() - 2000]).expect("written");
    let target = empty().await;
    let error = restored(&target.url, &cut, Options::default()).await.expect_err("truncated");
    assert!(format!("{error:#}").contains("truncated"), "{error:#}");
    assert!(is_empty(&target).await);
}

/// Takes an archive apart, lets somebody change the members, and packs it again: each member is sound.
fn repacked(path: &Path, change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) {
    let octets = std::fs::read(path).expect("read");
    let mut unpacker = Unpacker::new(Input::Stream(Box::new(Cursor::new(octets))));
    let mut members = Vec::new();
    while let Some(member) = unpacker.next_member().expect("whole") {
        let octets = unpacker.read(&member).expect("whole");
        members.push((member.name, octets));
    }
    change(&mut members);
    let mut packer = Packer::new(Vec::new(), 0);
    for (name, octets) in members {
        packer.put(&name, &octets).expect("packed");
    }
    std::fs::write(path, packer.finish().expect("packed").0).expect("written");
}

#[tokio::test]
async fn a_sound_archive_with_other_contents_is_noticed() {
    let (_database, folder, path) = small().await;
    let other = folder.path().join("other.tar");
    let of_table = |name: &'static str| move |(member, _): &(String, Vec<u8>)| !member.starts_with(name);
    std::fs::copy(&path, &other).expect("copied");
    repacked(&other, |members| members.retain(of_table("tables/account/")));
    let error = complaint(&other).await;
    assert!(error.contains("table account has 0 rows in 0 pieces"), "{error}");
    // A piece twice.
    std::fs::copy(&path, &other).expect("copied");
    repacked(&other, |members| {
        let at = members.iter().position(|(name, _)| name.starts_with("tables/body/")).expect("a member");
        let twice = members[at].clone();
        members.insert(at, twice);
    });
    let error = complaint(&other).await;
    assert!(error.contains("stands where piece 1 of table body belongs"), "{error}");
    // Another manifest, and another preface.
    for (name, complaint_about) in
        [("manifest.json", "the manifest at octet"), ("preface.json", "the preface is another")]
    {
        std::fs::copy(&path, &other).expect("copied");
        repacked(&other, |members| {
            let member = members.iter_mut().find(|(member, _)| member == name).expect("a member");
            member.1.push(b'\n');
        });
        let error = complaint(&other).await;
        assert!(error.contains(complaint_about), "{error}");
    }
    std::fs::copy(&path, &other).expect("copied");
    repacked(&other, |members| members.push(("more".to_owned(), Vec::new())));
    assert!(complaint(&other).await.contains("something follows its seal"));
}

#[tokio::test]
async fn newer_ones_are_refused_plainly() {
    let (database, folder, path) = small().await;
    let newer = folder.path().join("newer.tar");
    std::fs::copy(&path, &newer).expect("copied");
    repacked(&newer, |members| {
        let text = String::from_utf8(members[0].1.clone()).expect("JSON");
        members[0].1 = text.replace("\"format\": 1", "\"format\": 2").into_bytes();
    });
    let error = complaint(&newer).await;
    assert!(error.contains("in form 2, this program") && error.contains("restore with that Posthorn"), "{error}");
    // A schema that this program does not know.
    run(
        &database.url,
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'from the future', true, '\\x00', 0)",
    )
    .await;
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("a folder");
    let (path, _) = backed_up(&database.url, &inner).await;
    let target = empty().await;
    let error = format!("{:#}", restored(&target.url, &path, Options::default()).await.expect_err("newer"));
    assert!(error.contains("schema version 9999, this program knows up to"), "{error}");
    assert!(is_empty(&target).await);
    let nonsense = folder.path().join("nonsense");
    std::fs::write(&nonsense, "PGDMP".repeat(1000)).expect("written");
    assert!(complaint(&nonsense).await.contains("is no backup of Posthorn"));
}
