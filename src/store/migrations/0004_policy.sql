-- The policy engine: what it is told, what it remembers of clients, what it decided.

-- Who may write to an alias; one without a row takes everybody's mail.
create table list_access (
    alias_id bigint primary key references alias (id) on delete cascade,
    access smallint not null,                           -- 0 public, 1 same domain, 2 and below it, 3 members, 4 moderators, 5 both
    owners text[] not null default '{}',                -- folded addresses that may always write
    moderators text[] not null default '{}'
);

-- Clients that are refused for a while, because they never came back or wrote to a trap.
create table auto_blacklist (
    network text primary key,                           -- 192.0.2.0/24, 2001:db8::/64, or one address
    reason text not null,
    since timestamptz not null,
    until timestamptz not null
);

-- What a client called itself lately.
create table helo_name (
    client text not null,
    name text not null,                                 -- folded
    last_at timestamptz not null,
    primary key (client, name)
);

create index helo_name_last_at on helo_name (last_at);

-- What was decided about whom and why, in partitions by day; to forget a day is to drop its partition.
create table decision (
    at timestamptz not null,
    stage text not null,
    client text not null,
    client_name text,
    helo text,
    sender text,                                        -- folded; empty: the null sender
    recipients text[] not null,                         -- folded
    login text,                                         -- folded
    tls text,
    instance text not null,
    action text not null,
    rule text not null,
    why text not null
) partition by range (at);

create table decision_rest partition of decision default;

create index decision_at on decision (at);
create index decision_client on decision (client, at);
create index decision_sender on decision (sender, at);
create index decision_login on decision (login, at) where login is not null;
create index decision_recipients on decision using gin (recipients);

-- Who is greylisted: the most specific pair of account and sender decides, but who is exempt always is.
create table greylist_setting (
    account text not null,                              -- a pattern, folded: user@example.org, @example.org, *
    sender text not null,                               -- a pattern, folded; networks too
    state smallint not null,                            -- 0 off, 1 on, 2 exempt
    note text not null default '',
    added_at timestamptz not null,
    primary key (account, sender)
);

-- Who tried to write to whom from where.
create table greylist_triplet (
    key bytea primary key,                              -- a keyed digest of the three
    client text not null,                               -- a network
    sender text not null,                               -- folded; empty: the null sender
    recipient text not null,                            -- folded
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    passed_at timestamptz,
    attempts integer not null,
    revision bigint not null default (pg_current_xact_id()::text::bigint)
);

create index greylist_triplet_client on greylist_triplet (client);
create index greylist_triplet_last_seen on greylist_triplet (last_seen);
create index greylist_triplet_held on greylist_triplet (first_seen) where passed_at is null;
create index greylist_triplet_revision on greylist_triplet (revision);

-- Clients that came back once.
create table greylist_client (
    network text primary key,
    passed_at timestamptz not null,
    last_seen timestamptz not null,
    revision bigint not null default (pg_current_xact_id()::text::bigint)
);

create index greylist_client_revision on greylist_client (revision);
create index greylist_client_last_seen on greylist_client (last_seen);

-- Whom our people wrote to.
create table correspondent (
    ours text not null,                                 -- an address, @domain or *, folded
    theirs text not null,                               -- an address or @domain, folded
    last_at timestamptz not null,
    revision bigint not null default (pg_current_xact_id()::text::bigint),
    primary key (ours, theirs)
);

create index correspondent_revision on correspondent (revision);
create index correspondent_last_at on correspondent (last_at);

-- Domains whose servers are not greylisted, and the networks that their SPF and MX records name.
create table white_domain (
    domain text primary key,
    added_at timestamptz not null,
    refreshed_at timestamptz,
    problem text
);

create table white_network (
    domain text not null references white_domain (domain) on delete cascade,
    network text not null,
    primary key (domain, network)
);

-- How much mail is too much. A field that is null is that of the next less specific limit; 0 is no limit.
create table throttle_limit (
    kind smallint not null,                             -- 0 outbound, 1 inbound, 2 external
    who text not null,                                  -- a pattern, folded
    per smallint not null,
    period_ms bigint not null,
    leaky boolean not null,
    verdict smallint not null,
    messages bigint,
    octets bigint,
    recipients bigint,
    size bigint,
    primary key (kind, who)
);

-- What was used of a limit by whom. The level of a leaky one is that of its last update.
create table throttle_counter (
    rule text not null,
    subject text not null,
    started_at timestamptz not null,
    updated_at timestamptz not null,
    messages double precision not null,
    octets double precision not null,
    period_ms bigint not null,
    messages_leak double precision not null,            -- what flows away in a second; 0: a fixed window
    octets_leak double precision not null,
    expires_at timestamptz not null,
    noticed_at timestamptz,
    revision bigint not null default (pg_current_xact_id()::text::bigint),
    primary key (rule, subject)
);

create index throttle_counter_revision on throttle_counter (revision);
create index throttle_counter_expires_at on throttle_counter (expires_at);

-- Who may write to whom: inbound the senders of an account, outbound its recipients.
create table access_entry (
    outbound boolean not null,
    account text not null,                              -- a pattern, folded
    peer text not null,                                 -- a pattern, folded
    black boolean not null,
    note text not null default '',
    added_at timestamptz not null,
    primary key (outbound, account, peer)
);
