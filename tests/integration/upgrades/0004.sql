-- What the policy was told, at version 4.
insert into list_access (alias_id, access) select id, 3 from alias;
insert into white_domain (domain, added_at) values ('example.com', now());
insert into white_network (domain, network) values ('example.com', '192.0.2.0/24');
insert into greylist_setting (account, sender, state, added_at) values ('@example.org', '*', 1, now());
