-- Held mail leaves on the terms that it came on.

-- What was asked of a message's way, as in outgoing and delivery. All null in what was held before.
alter table held
    add column body_type smallint,
    add column smtputf8 boolean,
    add column require_tls boolean,
    add column envid text,
    add column ret smallint,
    add column priority smallint,
    add column deliver_by timestamptz,
    add column by_mode smallint,
    add column hold_until timestamptz,                  -- RFC 4865: not to leave before
    add column route text;                              -- the policy's
