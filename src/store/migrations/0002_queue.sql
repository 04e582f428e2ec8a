-- Mail that leaves: what waits (outgoing, delivery), who has it in hand (courier), what became of it (trace), and what
-- the way out has learned (suppression, tuning, sts_policy, tls_report) or signs with (dkim_key).
--
-- Times come from the program, which may be stepped in tests; no column defaults to now().

-- Processes that deliver. Claims of one that no longer renews its row are void.
create table courier (
    id bigint primary key,
    host text not null,
    started_at timestamptz not null,
    alive_until timestamptz not null
);

-- One envelope of a message that leaves. Its octets are the body rows of message_id.
create table outgoing (
    id bigint primary key,                              -- the queue id; time-ordered
    message_id bigint not null,
    sender text,                                        -- null: the null path <>
    top bytea,                                          -- fields above the stored header, on this envelope's copies only
    account_id bigint,                                  -- who submitted it
    origin smallint not null,                           -- 1 submission, 2 relay, 3 forward, 4 report
    body_type smallint not null,                        -- 1 7BIT, 2 8BITMIME, 3 BINARYMIME
    smtputf8 boolean not null,
    require_tls boolean not null,
    envid text,                                         -- RFC 3461
    ret smallint,                                       -- RFC 3461: 1 FULL, 2 HDRS
    priority smallint not null,                         -- RFC 6710: -9 to 9
    deliver_by timestamptz,                             -- RFC 2852
    by_mode smallint,                                   -- RFC 2852: 1 return, 2 notify
    accepted_at timestamptz not null,
    expires_at timestamptz not null,
    size bigint not null,
    header_id text,                                     -- the Message-ID field
    remaining integer not null                          -- deliveries that are not finished
) with (autovacuum_vacuum_scale_factor = 0.05);

-- The reaper asks whether a message still leaves.
create index outgoing_message on outgoing (message_id);

-- One recipient of an outgoing. Rows of finished deliveries are deleted; the trace knows what became of them.
create table delivery (
    id bigint primary key,
    outgoing_id bigint not null,
    recipient text not null,
    domain text not null,                               -- folded A-labels, or a literal such as [192.0.2.1]
    route text,                                         -- an operator's; else the configuration decides
    binding text,                                       -- the one used last, or an operator's choice
    orcpt text,                                         -- RFC 3461
    notify smallint,                                    -- RFC 3461: bits 1 success, 2 failure, 4 delay; 0 never; null not given
    lane smallint not null,                             -- 0 urgent, 1 normal, 2 bulk
    state smallint not null,                            -- 1 due at due_at, 2 held, 3 set aside
    due_at timestamptz not null,
    attempts integer not null default 0,
    notice_at timestamptz,                              -- when the sender is told of a delay; null: never, or told already
    claim bigint,                                       -- the courier that has it in hand
    recalled boolean not null default false,            -- an operator changed it while it was in hand
    last_at timestamptz,
    last_host text,
    last_reply text,
    note text                                           -- why it is held or set aside
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);

-- What nobody has in hand: by domain, so that no receiver's backlog hides another's mail, and by time. Mail that a
-- courier gets while it is accepted never enters these two.
create index delivery_due on delivery (domain, lane, due_at) where claim is null and state = 1;
create index delivery_soon on delivery (due_at) where claim is null and state = 1;
create index delivery_claim on delivery (claim) where claim is not null;
create index delivery_outgoing on delivery (outgoing_id);
-- Lists of one domain, oldest first.
create index delivery_domain on delivery (domain, id);
-- Lists of what an operator must look at.
create index delivery_kept on delivery (state, id) where state <> 1;

-- What happened to each message, in partitions by message_id: ids are time-ordered, so a day is a range, and to forget
-- a day is to drop its partition.
create table trace (
    message_id bigint not null,
    place bigint not null,                              -- the order in which entries were made
    at timestamptz not null,
    kind text not null,
    outgoing_id bigint,
    header_id text,                                     -- the Message-ID field; once per message
    sender text,
    recipients text[],                                  -- folded; once per envelope
    detail text not null                                -- JSON
) partition by range (message_id);

-- What is in no day's partition: the courier's own entries, ids of clocks that went astray.
create table trace_rest partition of trace default;

create index trace_message on trace (message_id);
create index trace_outgoing on trace (outgoing_id) where outgoing_id is not null;
create index trace_header on trace (header_id) where header_id is not null;
create index trace_recipients on trace using gin (recipients) where recipients is not null;

-- Recipients that refused for good: nothing is sent to them for a sender's domain until the entry runs out.
create table suppression (
    sender_domain text not null,                        -- folded; empty: for every sender
    recipient text not null,                            -- folded
    class smallint not null,                            -- of the classification of replies
    reason text not null,
    message_id bigint,
    added_at timestamptz not null,
    expires_at timestamptz,                             -- null: never
    primary key (sender_domain, recipient)
);

create index suppression_recipient on suppression (recipient);

create table dkim_key (
    domain text not null,
    selector text not null,
    algorithm smallint not null,                        -- 1 RSA-SHA256, 2 Ed25519-SHA256
    private bytea not null,                             -- sealed with the master key
    public bytea not null,                              -- as the DNS record's p= holds it, before base64
    created_at timestamptz not null,
    active_at timestamptz not null,                     -- signs from here …
    retired_at timestamptz,                             -- … to here
    primary key (domain, selector)
);

-- Values that adaptive delivery or an operator changed, in force until they run out.
create table tuning (
    scope text not null,                                -- such as binding and site
    name text not null,                                 -- the option
    value double precision not null,
    changed_at timestamptz not null,
    until timestamptz,                                  -- null: until it is changed again
    rule text not null,                                 -- which rule, or who
    reply text,                                         -- the reply that caused it
    primary key (scope, name)
);

-- MTA-STS policies as fetched (RFC 8461).
create table sts_policy (
    domain text primary key,
    policy_id text not null,
    policy text not null,
    fetched_at timestamptz not null,
    expires_at timestamptz not null
);

-- Counters for TLS reports (RFC 8460).
create table tls_report (
    day date not null,
    domain text not null,
    policy_type text not null,                          -- tlsa, sts, no-policy-found
    policy text not null,                               -- the policy's text
    mx text not null,
    result text not null,                               -- empty: success; else a result type of RFC 8460 §4.3
    detail text not null,
    sessions bigint not null,
    primary key (day, domain, policy_type, policy, mx, result, detail)
);
