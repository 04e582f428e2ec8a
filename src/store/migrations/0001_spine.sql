-- The spine: who exists (domain, account, alias, delegate) and what they own (mail_state, mailbox, membership,
-- message, body, change, orphan).
--
-- account_id leads every key of what one account owns, so that those tables can be partitioned by it later.
-- Mail tables carry no foreign keys: each row is written by one statement that knows its parents, and
-- `posthorn check` proves what a constraint would have cost every delivery.

create table domain (
    id bigint generated always as identity primary key,
    name text not null unique,                          -- folded A-labels
    alias_of bigint references domain (id),             -- an alias domain has no names of its own
    catch_all text[] not null default '{}',             -- targets for names nobody has
    enabled boolean not null default true,
    created_at timestamptz not null default now()
);

create table account (
    id bigint generated always as identity primary key,
    domain_id bigint not null references domain (id),
    local text not null,                                -- as written
    folded text not null,                               -- lower case, for look-ups
    display_name text not null default '',
    password text,                                      -- PHC or {SCHEME} hash; null: nobody can log in
    scram text,                                         -- SCRAM-SHA-256 keys, made when the password is known
    enabled boolean not null default true,
    forward_to text[] not null default '{}',
    forward_keeps_copy boolean not null default true,
    created_at timestamptz not null default now(),
    unique (domain_id, folded)
);

create table alias (
    id bigint generated always as identity primary key,
    domain_id bigint not null references domain (id),
    local text not null,
    folded text not null,
    targets text[] not null,
    enabled boolean not null default true,
    created_at timestamptz not null default now(),
    unique (domain_id, folded)
);

-- Addresses that an account may send from besides its own and its aliases.
create table delegate (
    account_id bigint not null references account (id) on delete cascade,
    address text not null,
    primary key (account_id, address)
);

-- One row per account, locked by every change to its mail: it puts an account's changes in one order, so that
-- no modseq becomes visible after a higher one.
create table mail_state (
    account_id bigint primary key,
    modseq bigint not null default 1,
    uid_validity bigint not null default 0,             -- the last one given out
    used_bytes bigint not null default 0,
    used_messages bigint not null default 0,
    quota_bytes bigint,                                 -- null: unlimited
    quota_messages bigint,
    keywords text[] not null default '{}'               -- in bit order, see model::Keywords
) with (fillfactor = 50);

create table mailbox (
    account_id bigint not null,
    id bigint not null,
    name text not null,                                 -- whole path, '/' between levels
    special_use smallint,
    subscribed boolean not null default true,
    uid_validity bigint not null,
    uid_next bigint not null default 1,
    highest_modseq bigint not null,
    messages bigint not null default 0,
    unseen bigint not null default 0,
    deleted bigint not null default 0,
    bytes bigint not null default 0,
    primary key (account_id, id),
    unique (account_id, name)
) with (fillfactor = 50);

create unique index mailbox_special_use on mailbox (account_id, special_use) where special_use is not null;

-- Names that are subscribed though no mailbox bears them (RFC 9051 §6.3.7).
create table subscription (
    account_id bigint not null,
    name text not null,
    primary key (account_id, name)
);

create table message (
    id bigint primary key,
    size bigint not null,                               -- octets of the whole message
    header_size bigint not null,
    received_at timestamptz not null,
    sent_at timestamptz,                                -- the Date field
    message_id text,                                    -- the Message-ID field
    envelope bytea not null,                            -- ready for FETCH
    bodystructure bytea not null,                       -- ready for FETCH
    structure bytea not null,                           -- offsets of every part, see mime::Structure
    preview text not null
);

-- The octets. Part 0 holds the header and the first part of the text; only messages above a megabyte have more.
-- We compress by ourselves, so PostgreSQL must not try again.
create table body (
    message_id bigint not null,
    part integer not null,
    header bytea,
    text bytea not null,
    primary key (message_id, part)
);
alter table body alter column header set storage external;
alter table body alter column text set storage external;

create table membership (
    account_id bigint not null,
    mailbox_id bigint not null,
    uid bigint not null,
    message_id bigint not null,
    flags bigint not null,
    modseq bigint not null,
    size bigint not null,
    internal_date timestamptz not null,
    saved_at timestamptz not null,
    primary key (account_id, mailbox_id, uid)
) with (fillfactor = 85);                               -- room for flag changes in place

create index membership_message on membership (message_id);

-- What happened, in order. kind: 1 added, 2 flags changed, 3 expunged. uids: first, last, first, last …
create table change (
    account_id bigint not null,
    modseq bigint not null,
    mailbox_id bigint not null,
    kind smallint not null,
    uids bigint[] not null,
    primary key (account_id, modseq, mailbox_id, kind)
);

-- Messages that lost a membership; the reaper removes those that have none left.
create table orphan (
    message_id bigint not null
);

-- What lives for the whole installation, such as the secret behind decoy salts.
create table setting (
    name text primary key,
    value bytea not null
);
