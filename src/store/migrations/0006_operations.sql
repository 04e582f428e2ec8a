-- What an operator did to the appliance itself.

-- Configurations as they were applied: at a start, or while the server ran. Passwords are replaced.
create table config_revision (
    id bigint generated always as identity primary key,
    server text not null,                               -- the host name: several may share a database
    at timestamptz not null,
    author text not null,                               -- a user of the operating system, 'start' or 'SIGHUP'
    version text not null,                              -- of the program
    settings text not null,                             -- everything that held then, as TOML
    paths text[] not null,                              -- the files that it was written in,
    texts text[] not null                               -- and what stood in each
);
create index config_revision_server on config_revision (server, id desc);
