-- What is published about a change, written with it; empty where nothing is to be told. `previous` is the change before it
-- that tells something: consumers see by it whether they miss one.
ALTER TABLE changes ADD COLUMN event text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN data text NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN previous bigint NOT NULL DEFAULT 0;

-- The last change that tells something.
ALTER TABLE revision ADD COLUMN told bigint NOT NULL DEFAULT 0;
