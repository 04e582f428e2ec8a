#!/usr/bin/env bash
# opendkim's miltertest plays a mail server: our milter negotiates, hears a message step by step, and answers.
# needs: miltertest
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/talk.lua" <<LUA
conn = mt.connect("inet:${MILTER_PORT}@127.0.0.1")
if conn == nil then error("no connection") end
local function goes_on(what)
  if mt.getreply(conn) ~= SMFIR_CONTINUE then error(what .. " is not answered with continue") end
end
local function message(sender, text)
  mt.macro(conn, SMFIC_MAIL, "i", "4Q1")
  if mt.mailfrom(conn, sender) ~= nil then error("MAIL fails") end
  goes_on("MAIL")
  if mt.rcptto(conn, "<bob@example.com>") ~= nil then error("RCPT fails") end
  goes_on("RCPT")
  for _, field in ipairs({{"From", "ann@example.net"}, {"To", "bob@example.com"}, {"Date", "Mon, 7 Feb 1994 21:52:25 +0000"},
                          {"Subject", "a message"}, {"Message-ID", "<1@example.net>"}}) do
    if mt.header(conn, field[1], field[2]) ~= nil then error("a field fails") end
  end
  if mt.eoh(conn) ~= nil then error("the header's end fails") end
  if mt.bodystring(conn, text) ~= nil then error("the body fails") end
  if mt.eom(conn) ~= nil then error("the end fails") end
end
if mt.conninfo(conn, "mx.example.net", "192.0.2.1") ~= nil then error("the connection fails") end
goes_on("the connection")
if mt.helo(conn, "mx.example.net") ~= nil then error("HELO fails") end
goes_on("HELO")
message("<ann@example.net>", "Hello.\r\n")
local verdict = mt.getreply(conn)
if verdict ~= SMFIR_CONTINUE and verdict ~= SMFIR_ACCEPT then error("a fine message is not let through") end
message("<>", "Bye.\r\n")
verdict = mt.getreply(conn)
if verdict ~= SMFIR_CONTINUE and verdict ~= SMFIR_ACCEPT then error("a second message is not let through") end
mt.disconnect(conn)
print("talked")
LUA
miltertest -s "$work/talk.lua" | tee "$work/said"
grep -q talked "$work/said"
