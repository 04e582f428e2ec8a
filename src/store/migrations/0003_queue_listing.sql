-- Mail that leaves, once more: whose it is where its return path is ours, what its sender wants to wait for, and what
-- operators see of it.

-- The sender as it came, where the return path is one of ours (SRS, VERP); null: `sender` is it.
alter table outgoing add column author text;

-- The time before which the sender does not want it sent (RFC 4865); what puts a delivery off otherwise is due_at alone.
alter table delivery add column not_before timestamptz;

-- What the value was before; null: what the configuration says.
alter table tuning add column previous double precision;

-- What couriers answer when an operator asks what they know of their sites. Times are the database's.
create unlogged table courier_view (
    courier bigint primary key,
    written_at timestamptz not null,
    sites text not null                                 -- JSON
);

-- What lists are asked for. Who wrote it is turned round, so that everybody of a domain lies together; folded by "C", which
-- no new version of the system's collations changes.
create index outgoing_author on outgoing ((reverse(lower(coalesce(author, sender) collate "C"))));
create index outgoing_header_id on outgoing using hash (header_id);
-- What a courier gets while it is accepted never enters this one.
create index delivery_untried on delivery (id) where claim is null and state = 1 and attempts = 0;
