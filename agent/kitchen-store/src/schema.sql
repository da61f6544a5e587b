-- The schema of a new database. A change here brings a step in migrations/.
-- Times are milliseconds since 1970 (`_at`) or of uptime (`_uptime_ms`).
CREATE TABLE identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store TEXT NOT NULL,
    boot INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    next_sequence INTEGER NOT NULL,
    session INTEGER NOT NULL,
    saved_time INTEGER,
    uptime_before_ms INTEGER NOT NULL,
    uptime_last_ms INTEGER NOT NULL, least_offset_ms INTEGER
) STRICT;

CREATE TABLE alerts (
    position INTEGER PRIMARY KEY,
    alert_id TEXT NOT NULL UNIQUE,
    rule TEXT NOT NULL,
    tier INTEGER NOT NULL,
    camera TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    close_reason TEXT
) STRICT;
CREATE INDEX alerts_open ON alerts (position) WHERE closed_at IS NULL;
CREATE INDEX alerts_opened_at ON alerts (opened_at);

CREATE TABLE records (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    alert_id TEXT REFERENCES alerts (alert_id),
    topic_leaf TEXT NOT NULL,
    envelope BLOB NOT NULL,
    sent_at INTEGER,
    receipted_at INTEGER
) STRICT;
CREATE INDEX records_alert ON records (alert_id, position);

CREATE TABLE snapshots (
    id TEXT NOT NULL PRIMARY KEY,
    alert_id TEXT NOT NULL UNIQUE REFERENCES alerts (alert_id),
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    original_file TEXT NOT NULL,
    original_sha256 TEXT NOT NULL,
    original_bytes INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    receipted_at INTEGER,
    evicted_at INTEGER
) STRICT;

CREATE TABLE clips (
    clip_id TEXT NOT NULL PRIMARY KEY,
    alert_id TEXT REFERENCES alerts (alert_id),
    file TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    init TEXT NOT NULL,
    stored_at INTEGER,
    evicted_at INTEGER
) STRICT;
CREATE INDEX clips_alert ON clips (alert_id);

CREATE TABLE outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    priority INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_trusted INTEGER NOT NULL,
    created_uptime_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    sent_at INTEGER,
    set_aside TEXT
) STRICT;
CREATE INDEX outbox_order ON outbox (priority, position) WHERE set_aside IS NULL;

CREATE TABLE garbage (
    position INTEGER PRIMARY KEY,
    folder TEXT NOT NULL,
    file TEXT NOT NULL
) STRICT;

CREATE TABLE chain (
    store TEXT NOT NULL,
    number INTEGER NOT NULL,
    record_id TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (store, number)
) STRICT;

CREATE TABLE losses (
    position INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE recording (
    boot INTEGER NOT NULL,
    start_uptime_ms INTEGER NOT NULL,
    camera TEXT NOT NULL,
    duration_ms INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    file TEXT NOT NULL,
    PRIMARY KEY (boot, start_uptime_ms, camera)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE compatibility (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    oldest_program INTEGER NOT NULL
) STRICT;
INSERT INTO compatibility VALUES (1, 2);
