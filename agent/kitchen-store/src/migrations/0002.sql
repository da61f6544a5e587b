-- Step to version 2; frozen.
ALTER TABLE snapshots ADD COLUMN evicted_at INTEGER;
ALTER TABLE clips ADD COLUMN evicted_at INTEGER;

CREATE TABLE garbage (
    position INTEGER PRIMARY KEY,
    folder TEXT NOT NULL,
    file TEXT NOT NULL
) STRICT;

CREATE TABLE losses (
    position INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE compatibility (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    oldest_program INTEGER NOT NULL
) STRICT;
INSERT INTO compatibility VALUES (1, 2);
