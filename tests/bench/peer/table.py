"""Prints what tests/bench/peers, relays, policies or filters measured: the median of the rounds for each server, and Posthorn's advantage."""

import json
import statistics
import sys

NAMES = {"posthorn": "Posthorn", "mdbox": "P+D mdbox", "maildir": "P+D Maildir", "postfix": "Postfix", "signing": "Postfix + opendkim", "postgrey": "postgrey", "postfwd": "postfwd", "amavis": "amavisd + SA", "rspamd": "rspamd", "opendkim": "opendkim", "chain": "P+D + rspamd"}

# Of each workload: the measure, how it is called, whether more is better.
MEASURES = {
    "inbound": [
        ("acked/s", "acknowledged/s", True),
        ("visible/s", "visible/s", True),
        ("server CPU ms/msg", "CPU ms/message", False),
        ("peak PSS MiB", "peak PSS MiB", False),
    ],
    "select": [("first ms", "first ms", False), ("median ms", "ms", False)],
    "flags": [("first ms", "first ms", False), ("median ms", "ms", False)],
    "envelopes": [("first ms", "first ms", False), ("median ms", "ms", False), ("server CPU ms/round", "CPU ms", False)],
    "last": [("first ms", "first ms", False), ("median ms", "ms", False)],
    "bodies": [("responses/s", "messages/s", True), ("literal MB/s", "MB/s", True), ("server CPU ms/round", "CPU ms", False)],
    "bulk": [("literal MB/s", "MB/s", True), ("server CPU ms/round", "CPU ms", False)],
    "append": [("messages/s", "messages/s", True), ("server CPU ms/msg", "CPU ms/message", False)],
    "login": [("logins/s", "logins/s", True), ("server CPU ms/login", "CPU ms/login", False)],
    "idle": [
        ("PSS KiB each", "PSS KiB each", False),
        ("all told after 250 ms, median", "all told ms, median", False),
        ("worst", "all told ms, worst", False),
        ("server CPU ms/notice", "CPU ms/notice", False),
    ],
    "relay": [
        ("acked/s", "acknowledged/s", True),
        ("delivered/s", "delivered/s", True),
        ("server CPU ms/msg", "CPU ms/message", False),
        ("peak PSS MiB", "peak PSS MiB", False),
    ],
    "policy": [
        ("answers/s", "answers/s", True),
        ("p99 ms", "p99 ms", False),
        ("server CPU ms/answer", "CPU ms/answer", False),
    ],
    "filter": [
        ("judged/s", "messages/s", True),
        ("p50 ms", "p50 ms", False),
        ("p99 ms", "p99 ms", False),
        ("worst ms", "worst ms", False),
        ("server CPU ms/msg", "CPU ms/message", False),
        ("peak PSS MiB", "peak PSS MiB", False),
    ],
    "fill": [("messages/s", "messages/s", True), ("server CPU ms/msg", "CPU ms/message", False)],
    "memory": [("PSS MiB", "PSS MiB at rest", False)],
}


def shown(value):
    """Three digits that matter, and no thousandths of a large number."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def cell(values, tried):
    """The median, and the extremes where there are several."""
    if not values:
        return "failed" if tried else "–"
    middle = shown(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({shown(min(values))}–{shown(max(values))})"


def ratio(ours, theirs, more_is_better):
    """How many times better we are: above one is in our favour."""
    if not ours or not theirs:
        return "–"
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    over, under = (ours, theirs) if more_is_better else (theirs, ours)
    return f"{over / under:.2f}" if under > 0 and over >= 0 else "–"


def variant(row):
    """What tells the rows of one workload apart."""
    if row.get("octets"):
        return f", {row['sessions']} sessions, {row['octets'] // 1024} KiB"
    if "judged/s" in row:
        return f", {row['kind']}, {row['sessions']} sessions"
    if "kind" in row:
        return f", {row['kind']}, {row['sessions']} connection{'s' * (row['sessions'] > 1)}{', one for each question' * row['one shot']}"
    if "connections" in row:
        return f", {row['connections']} connections"
    return f", {row['sessions']} sessions" if "sessions" in row else ""


def main(path):
    names, found, failed, servers = [], {}, set(), ["posthorn"]
    with open(path, encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            workload = line["result"]["workload"]
            if line["server"] not in servers:
                servers.append(line["server"])
            if not line["result"]["rows"]:
                failed.add((workload, line["server"]))
            for row in line["result"]["rows"]:
                name = workload + variant(row)
                if (workload, name) not in names:
                    names.append((workload, name))
                for key, value in row.items():
                    found.setdefault((name, key, line["server"]), []).append(value)
    others = [NAMES[server].removeprefix("P+D ") for server in servers[1:]]
    table = [["workload", "measure", *(NAMES[server] for server in servers), *(f"× {other}" for other in others)]]
    for workload, name in names:
        for key, label, more_is_better in MEASURES[workload]:
            ours, *theirs = [found.get((name, key, server), []) for server in servers]
            tried = [(workload, server) in failed for server in servers]
            table.append([name, label, *map(cell, [ours, *theirs], tried), *(ratio(ours, each, more_is_better) for each in theirs)])
    widths = [max(map(len, column)) for column in zip(*table)]
    for number, row in enumerate(table):
        print("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


main(sys.argv[1])
