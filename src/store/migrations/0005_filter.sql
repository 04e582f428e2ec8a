-- Mail that is judged: what is held, and what recipients want.

-- Messages that are held. Partitions by the time in the message's id, which are days; the body is the message's.
create table held (
    message_id bigint not null,
    mail_id text not null,                              -- by which people name it
    secret text not null,                               -- who knows it may release the message
    at timestamptz not null,
    category smallint not null,                         -- 1 to 9
    score double precision not null,
    why text not null,
    sender text not null,                               -- the reverse path; empty: the null path
    author text not null,                               -- the From field, as people read it
    subject text not null,
    header_id text,
    client text,
    size bigint not null,
    originating boolean not null,
    helo text,                                          -- what the client called itself
    primary key (message_id)
) partition by range (message_id);

create table held_rest partition of held default;
create index held_mail_id on held (mail_id);

-- For whom they are held.
create table held_recipient (
    message_id bigint not null,
    place smallint not null,
    at timestamptz not null,
    recipient text not null,
    folded text not null,
    orcpt text,
    notify smallint,
    status smallint not null,                           -- 1 held, 2 released, 3 deleted
    changed_at timestamptz,
    changed_by text,
    primary key (message_id, place)
) partition by range (message_id);

create table held_recipient_rest partition of held_recipient default;
create index held_recipient_folded on held_recipient (folded, message_id);

-- What recipients want. A field that is null is that of the next less specific row.
create table filter_setting (
    who text primary key,                               -- user+detail@domain, user@domain, @domain, @.domain or @., folded
    tag double precision,
    tag2 double precision,
    tag3 double precision,
    kill double precision,
    virus text,                                         -- destinies: deliver, junk, hold, refuse, defer
    banned text,
    unchecked text,
    spam text,
    spammy text,
    bad_header text,
    bypass_virus boolean,                               -- checks that are not made
    bypass_banned boolean,
    bypass_spam boolean,
    bypass_header boolean,
    subject_tag text,
    subject_tag3 text,
    banned_sets text,                                   -- names, separated by commas
    size_limit bigint,                                  -- octets; 0: none
    report_cutoff double precision,                     -- no report to the sender from here on
    hold_cutoff double precision,                       -- refused where it would be held
    extension_virus text,                               -- details of addresses, by what a copy is
    extension_banned text,
    extension_spam text,
    extension_header text,
    warn_virus boolean,                                 -- whether the recipient is told
    warn_banned boolean,
    warn_header boolean,
    admin_virus text,                                   -- who else is told
    admin_banned text,
    admin_spam text,
    admin_header text,
    changed_at timestamptz not null
);

-- Senders whom a recipient wants, or does not.
create table filter_sender (
    who text not null,                                  -- as in filter_setting
    sender text not null,                               -- user@domain, @domain, @.domain or @., folded
    score double precision not null,                    -- added; -100 and less: wanted, 100 and more: not
    note text not null default '',
    added_at timestamptz not null,
    primary key (who, sender)
);

-- Words that the classifier counted: keyed hashes, of everybody (account 0) or of one account.
create table filter_token (
    account_id bigint not null,
    token bigint not null,
    spam integer not null,
    ham integer not null,
    revision bigint not null default (pg_current_xact_id()::text::bigint),
    primary key (account_id, token)
);

create index filter_token_revision on filter_token (revision);

-- How many messages those words come from. Who changes an account's words locks its row.
create table filter_corpus (
    account_id bigint primary key,                      -- 0: everybody
    spam bigint not null,
    ham bigint not null,
    generation integer not null default 0               -- grows when everything counts half from then on
);

-- Messages that were shown to the classifier, so that each counts once and can change its mind.
create table filter_lesson (
    account_id bigint not null,
    message bigint not null,                            -- a keyed hash of what stays when fields are added on top
    is_spam boolean not null,
    learned_at timestamptz not null,
    primary key (account_id, message)
);

create index filter_lesson_learned_at on filter_lesson (learned_at);

-- What was seen of addresses, domains and networks, under keyed hashes; it loses weight with time.
create table filter_reputation (
    key bigint primary key,
    spam real not null,
    ham real not null,
    at timestamptz not null
);

create index filter_reputation_at on filter_reputation (at);

-- Whom our people wrote to, and the Message-IDs of what they wrote, under keyed hashes.
create table filter_written (
    key bigint primary key,
    at timestamptz not null
);

create index filter_written_at on filter_written (at);

-- Strangers' mail, counted for the reports that the domains of its authors ask for (RFC 9990).
create table dmarc_count (
    day date not null,                                  -- in UTC
    domain text not null,                               -- where the record is
    digest bytea not null,                              -- of policy and outcome
    policy text not null,                               -- JSON: what the record says
    outcome text not null,                              -- JSON: where the mail came from, what it proved, what was done
    messages bigint not null,
    primary key (day, domain, digest)
);

-- Reports about a day that are sent, or that somebody has claimed to send.
create table daily_report (
    kind smallint not null,                             -- 1 DMARC, 2 TLS
    day date not null,
    domain text not null,
    claimed_at timestamptz not null,
    attempts smallint not null,
    done_at timestamptz,
    outcome text not null default '',                   -- whom it went to, or why to nobody
    primary key (kind, day, domain)
);

-- Reports about our domains, as others sent them.
create table received_report (
    id bigint primary key,                              -- time-ordered
    kind smallint not null,                             -- 1 DMARC, 2 TLS
    received_at timestamptz not null,
    domain text not null,
    organization text not null,
    contact text not null,
    name text not null,                                 -- what its maker calls it
    begins_at timestamptz not null,
    ends_at timestamptz not null,
    sender text not null,                               -- the domain of the letter's author
    proven boolean not null,                            -- whether the letter was shown to be that domain's
    policy text not null,                               -- JSON
    good bigint not null,                               -- messages or sessions
    bad bigint not null
);

create unique index received_report_once on received_report (kind, domain, organization, name, begins_at);
create index received_report_begins_at on received_report (begins_at);

create table received_report_row (
    report_id bigint not null references received_report on delete cascade,
    place integer not null,
    source text not null,                               -- DMARC: the client's address; TLS: the receiving host
    good bigint not null,
    bad bigint not null,
    dkim bigint not null,                               -- DMARC: messages that a signature showed to be the domain's
    spf bigint not null,                                -- DMARC: messages that the reverse path did
    detail text not null,                               -- JSON
    primary key (report_id, place)
);

-- Moments at which people are told what is held for them. Whoever inserts or takes over the row tells them.
create table digest_round (
    due timestamptz primary key,
    claimed_at timestamptz not null,
    done_at timestamptz,
    letters bigint not null default 0
);

-- Up to where they were told.
create table digest_told (
    folded text primary key,                            -- as in held_recipient
    up_to bigint not null,                              -- the last message that they were told of
    told_at timestamptz not null
);

-- Who has one of these links releases a held message for one recipient, as long as it is held.
create table release_link (
    token bytea primary key,                            -- SHA-256 of what the link says
    message_id bigint not null,
    place smallint not null,
    expires_at timestamptz not null
);

create index release_link_expires_at on release_link (expires_at);
