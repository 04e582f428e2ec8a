-- Bounds for reports about a day, and what people were told of held mail, message by message.

-- The key held whole texts, and an index takes no entry of more than 2.7 KB: of all five texts it has the digest now.
alter table tls_report add column digest bytea;
update tls_report
    set digest = sha256(convert_to(json_build_array(policy_type, policy, mx, result, detail)::text, 'UTF8'));
alter table tls_report drop constraint tls_report_pkey;
alter table tls_report alter column digest set not null;
alter table tls_report add primary key (day, domain, digest);

-- Letters with TLS reports to addresses whose domains did not say that they want reports about others.
create table unasked_letter (
    sent_on date not null,                              -- in UTC
    address text not null,                              -- folded
    host text not null,                                 -- its domain
    domain text not null,                               -- whom the report is about
    day date not null,                                  -- which day it is about
    primary key (sent_on, address)
);

-- How much of others' reports was kept on a day.
create table received_report_day (
    day date not null,                                  -- in UTC
    sender text not null,                               -- the organization that the letters are of; empty: all together
    kept bigint not null,                               -- rows, and more for long ones
    primary key (day, sender)
);

-- Nobody takes the place of another's report by its name.
drop index received_report_once;
create unique index received_report_once on received_report (kind, domain, sender, organization, name, begins_at);

-- Ids are given before a message is judged, so a later row may have a lower one: what people were told of is noted at
-- each message. digest_told is read no more.
alter table held_recipient add column told_at timestamptz;
update held_recipient r set told_at = t.told_at from digest_told t where t.folded = r.folded and r.message_id <= t.up_to;
create index held_recipient_untold on held_recipient (folded, message_id) where status = 1 and told_at is null;
