-- Step to version 6; frozen.
CREATE TABLE ledger (
    position INTEGER PRIMARY KEY,
    boot INTEGER NOT NULL,
    first_uptime_ms INTEGER NOT NULL,
    class TEXT NOT NULL,
    last_uptime_ms INTEGER NOT NULL,
    label_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    free_bytes INTEGER NOT NULL,
    yuan TEXT NOT NULL,
    worst_yuan TEXT NOT NULL,
    UNIQUE (boot, first_uptime_ms, class)
) STRICT;
CREATE INDEX ledger_label_at ON ledger (label_at);

CREATE TABLE demand (
    position INTEGER PRIMARY KEY,
    hour INTEGER NOT NULL,
    demand TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    count INTEGER NOT NULL,
    UNIQUE (hour, demand)
) STRICT;

CREATE TABLE months (
    position INTEGER PRIMARY KEY,
    from_at INTEGER NOT NULL UNIQUE,
    to_at INTEGER NOT NULL,
    told TEXT NOT NULL
) STRICT;

CREATE TABLE counting (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    body TEXT NOT NULL
) STRICT;
