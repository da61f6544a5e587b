-- Step to version 5; frozen.
CREATE TABLE recording (
    boot INTEGER NOT NULL,
    start_uptime_ms INTEGER NOT NULL,
    camera TEXT NOT NULL,
    duration_ms INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    file TEXT NOT NULL,
    PRIMARY KEY (boot, start_uptime_ms, camera)
) STRICT, WITHOUT ROWID;
