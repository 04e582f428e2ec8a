-- A message that is held, at version 5.
insert into body (message_id, part, header, text) values (5000, 0, '\x00', '\x00');
insert into held (message_id, mail_id, secret, at, category, score, why, sender, author, subject, size, originating)
    values (5000, 'abcdefghijkl', 'secret', now(), 5, 9.5, 'spam', 'eve@example.com', 'Eve', 'buy', 0, false);
insert into held_recipient (message_id, place, at, recipient, folded, status)
    values (5000, 0, now(), 'ann@example.org', 'ann@example.org', 1);
