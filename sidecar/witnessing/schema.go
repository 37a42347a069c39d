package witnessing

// schema is the list of steps that package sqlite takes the database through. Times are seconds. What was released is never
// changed.
var schema = []string{`
CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- What was cosigned, one row for each log.
CREATE TABLE state (
	origin_hash BLOB PRIMARY KEY,
	origin      TEXT NOT NULL,
	size        INTEGER NOT NULL,
	root        BLOB NOT NULL,
	time        INTEGER NOT NULL,
	audited     INTEGER NOT NULL,
	note        BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The logs that are served here: of each instance the one that it named first or that the operator has accepted since.
CREATE TABLE log (
	id       INTEGER PRIMARY KEY,
	origin   TEXT NOT NULL UNIQUE,
	instance TEXT NOT NULL,
	key      TEXT NOT NULL,
	vrf      BLOB NOT NULL,
	url      TEXT NOT NULL,
	pinned   INTEGER NOT NULL,
	current  INTEGER NOT NULL DEFAULT 1 -- 0: the operator has accepted another one of the instance since
) STRICT;
CREATE UNIQUE INDEX log_current ON log (instance) WHERE current = 1;
-- What an instance named later and that differs. It is not served.
CREATE TABLE log_otherwise (
	instance TEXT NOT NULL,
	origin   TEXT NOT NULL,
	key      TEXT NOT NULL,
	vrf      BLOB NOT NULL,
	url      TEXT NOT NULL,
	seen     INTEGER NOT NULL,
	PRIMARY KEY (instance, origin, key)
) STRICT, WITHOUT ROWID;

-- The entries that were audited, and where an audit ended for good.
CREATE TABLE entry (
	log   INTEGER NOT NULL REFERENCES log,
	idx   INTEGER NOT NULL,
	entry BLOB NOT NULL,
	PRIMARY KEY (log, idx)
) STRICT, WITHOUT ROWID;
CREATE TABLE stop (
	log        INTEGER PRIMARY KEY REFERENCES log,
	idx        INTEGER NOT NULL,
	reason     TEXT NOT NULL,
	entry      BLOB NOT NULL,
	checkpoint BLOB NOT NULL, -- signed by the log, of a tree that has the entry
	time       INTEGER NOT NULL
) STRICT;

-- Evidence against logs that have signed two histories.
CREATE TABLE split (
	log      INTEGER PRIMARY KEY REFERENCES log,
	evidence BLOB NOT NULL,
	time     INTEGER NOT NULL
) STRICT;
`}
