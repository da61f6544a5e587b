-- Step to version 3; frozen.
ALTER TABLE identity ADD COLUMN least_offset_ms INTEGER;
