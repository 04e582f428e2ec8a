-- A message that waits for a host that is down, and what the way out has learned, at version 2.
insert into body (message_id, part, header, text) values (2000, 0, '\x00', '\x00');
insert into outgoing (id, message_id, sender, account_id, origin, body_type, smtputf8, require_tls, priority, accepted_at, expires_at,
        size, remaining)
    select 2001, 2000, 'ann@example.org', id, 1, 1, false, false, 0, now(), now() + interval '5 days', 0, 1 from account;
insert into delivery (id, outgoing_id, recipient, domain, lane, state, due_at, attempts, last_reply)
    values (2002, 2001, 'joe@example.invalid', 'example.invalid', 1, 2, now(), 3, '451 4.3.0 later');
insert into courier (id, host, started_at, alive_until) values (2003, 'old', now() - interval '1 day', now() - interval '1 day');
insert into trace (message_id, place, at, kind, recipients, detail)
    values (2000, 1, now(), 'accepted', array['joe@example.invalid'], '{}');
