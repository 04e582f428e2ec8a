-- One person's mail at version 1.
insert into domain (name) values ('example.org');
insert into domain (name, alias_of) select 'example.net', id from domain where name = 'example.org';
insert into account (domain_id, local, folded, display_name, password)
    select id, 'Ann', 'ann', 'Ann', '{PLAIN}a password' from domain where name = 'example.org';
insert into alias (domain_id, local, folded, targets)
    select id, 'info', 'info', array['ann@example.org'] from domain where name = 'example.org';
insert into delegate (account_id, address) select id, 'office@example.org' from account;
insert into mail_state (account_id, modseq, uid_validity, used_bytes, used_messages, keywords)
    select id, 9, 1700000001, 32, 1, array['$Later'] from account;
insert into mailbox (account_id, id, name, special_use, uid_validity, uid_next, highest_modseq, messages, unseen, bytes)
    select id, 100, 'INBOX', null, 1700000000, 5, 9, 1, 1, 32 from account
    union all select id, 101, 'Sent', 5, 1700000001, 1, 1, 0, 0, 0 from account;
insert into subscription (account_id, name) select id, 'Gone' from account;
insert into message (id, size, header_size, received_at, sent_at, message_id, envelope, bodystructure, structure, preview)
    values (1000, 32, 16, '2025-11-01 10:00:00+00', null, '<old@example.com>', '\x00', '\x00', '\x00', 'From long ago.');
insert into body (message_id, part, header, text)
    values (1000, 0, '\x00'::bytea || convert_to(E'Subject: old\r\n\r\n', 'UTF8'), '\x00'::bytea || convert_to(E'From long ago.\r\n', 'UTF8')),
           (1001, 0, '\x00', '\x00');
insert into membership (account_id, mailbox_id, uid, message_id, flags, modseq, size, internal_date, saved_at)
    select id, 100, 4, 1000, 32, 9, 32, '2025-11-01 10:00:00+00', '2025-11-01 10:00:00+00' from account;
insert into change (account_id, modseq, mailbox_id, kind, uids) select id, 9, 100, 1, array[4, 4] from account;
insert into orphan (message_id) values (1001);
insert into setting (name, value) values ('decoy', '\x00112233');
