//! PostgreSQL: whether a 250 is as safe as it promises to be, and whether its clock is ours.

use chrono::{DateTime, Utc};
use posthorn_mail::Mail;
use posthorn_store::server_settings::{self, ServerSettings};

use super::Finding;

const AREA: &str = "database";
/// Clocks that differ by more make a mess of queue times and leases.
const APART: i64 = 5;

pub(super) async fn examine(mail: &Mail, now: DateTime<Utc>) -> Vec<Finding> {
    let asked = async {
        let mut connection = mail.store().acquire().await?;
        server_settings::read(&mut connection).await
    };
    match asked.await {
        Ok(settings) => judge(&settings, now),
        Err(error) => vec![Finding::fault(AREA, "PostgreSQL", error.to_string())],
    }
}

fn judge(settings: &ServerSettings, now: DateTime<Utc>) -> Vec<Finding> {
    let mut findings = vec![Finding::fine(AREA, "PostgreSQL", format!("version {}", settings.version))];
    let lose = "what was answered with 250 can be lost when the machine loses power";
    findings.push(match (settings.fsync, settings.synchronous_commit.as_str()) {
        (false, _) => Finding::fault(AREA, "durability", format!("fsync is off: {lose}"))
            .advise("set fsync = on in postgresql.conf and reload PostgreSQL"),
        (true, "off") => Finding::fault(AREA, "durability", format!("synchronous_commit is off: {lose}"))
            .advise("set synchronous_commit = on for this database, or take the setting out"),
        (true, commit) => Finding::fine(AREA, "durability", format!("fsync is on, synchronous_commit is {commit}")),
    });
    if !settings.full_page_writes {
        findings.push(
            Finding::fault(AREA, "durability", "full_page_writes is off: a page that is half written stays broken")
                .advise("set full_page_writes = on unless the file system never tears a page"),
        );
    }
    findings.push(if settings.data_checksums {
        Finding::fine(AREA, "checksums", "pages carry checksums")
    } else {
        Finding::note(AREA, "checksums", "pages carry no checksums: a disk that forgets is noticed late")
            .advise("stop PostgreSQL and run pg_checksums --enable")
    });
    if settings.encoding != "UTF8" {
        let found = format!("the database's encoding is {}", settings.encoding);
        findings.push(Finding::fault(AREA, "encoding", found).advise("create it with ENCODING 'UTF8'"));
    }
    let (open, most) = (settings.connections, i64::from(settings.max_connections));
    let found = format!("{open} of {most} connections are open");
    findings.push(if open * 10 >= most * 9 {
        Finding::warning(AREA, "connections", found).advise("raise max_connections, or lower database.connections")
    } else {
        Finding::fine(AREA, "connections", found)
    });
    let apart = (settings.now - now).num_seconds().abs();
    findings.push(if apart > APART {
        Finding::fault(AREA, "clock", format!("PostgreSQL's clock is {apart} s away from ours"))
            .advise("keep both machines' clocks by NTP: leases, retries and signatures depend on them")
    } else {
        Finding::fine(AREA, "clock", "PostgreSQL's clock is ours")
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    fn settings() -> ServerSettings {
        ServerSettings {
            version: "17.6".into(),
            fsync: true,
            synchronous_commit: "on".into(),
            full_page_writes: true,
            data_checksums: true,
            encoding: "UTF8".into(),
            max_connections: 100,
            connections: 10,
            now: DateTime::UNIX_EPOCH,
        }
    }

    fn faults(settings: &ServerSettings) -> Vec<String> {
        let bad = judge(settings, DateTime::UNIX_EPOCH).into_iter().filter(|finding| finding.grade != Grade::Fine);
        bad.map(|finding| format!("{} {}: {}", finding.grade.as_str(), finding.subject, finding.found)).collect()
    }

    #[test]
    fn a_sound_server_is_fine() {
        assert_eq!(faults(&settings()), [""; 0]);
    }

    #[test]
    fn each_weakness_is_named() {
        let told = faults(&ServerSettings { fsync: false, ..settings() });
        assert!(told[0].starts_with("fault durability: fsync is off"), "{told:?}");
        let told = faults(&ServerSettings { synchronous_commit: "off".into(), ..settings() });
        assert!(told[0].starts_with("fault durability: synchronous_commit is off"), "{told:?}");
        let told = faults(&ServerSettings { full_page_writes: false, connections: 95, ..settings() });
        assert!(
            told[0].contains("full_page_writes") && told[1].starts_with("warning connections: 95 of 100"),
            "{told:?}"
        );
        let late = DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(90);
        let told =
            faults(&ServerSettings { now: late, data_checksums: false, encoding: "LATIN1".into(), ..settings() });
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[2].ends_with("90 s away from ours"), "{told:?}");
    }
}
