-- Step to version 4; frozen.
CREATE TABLE chain (
    store TEXT NOT NULL,
    number INTEGER NOT NULL,
    record_id TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (store, number)
) STRICT;
