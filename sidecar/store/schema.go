package store

// schema is the list of steps that package sqlite takes a database through. Times are milliseconds but where a comment says
// seconds. What was released is never changed.
var schema = []string{`
CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- The log: one writer, one order.
CREATE TABLE log_head (
	one            INTEGER PRIMARY KEY CHECK (one = 1),
	size           INTEGER NOT NULL,
	checkpoint     BLOB NOT NULL,
	witnessed_size INTEGER NOT NULL DEFAULT 0,
	witnessed      BLOB NOT NULL DEFAULT x''
) STRICT;
-- An entry, the tree's hashes that are complete with it, and what it opens to: NULL if that is forgotten or it is padding. There is
-- no index: who reads knows the place, and an insert writes to the table's end and nowhere else. Content comes last: what stands
-- behind it would be read through it.
CREATE TABLE log_entry (
	idx     INTEGER PRIMARY KEY,
	entry   BLOB NOT NULL,
	hashes  BLOB NOT NULL, -- by level, from the leaf's up
	opening BLOB,
	content BLOB
) STRICT;

-- The hub. Partition: group_id.
CREATE TABLE hub_group (
	group_id BLOB PRIMARY KEY,
	opened   BLOB NOT NULL,
	term     INTEGER NOT NULL,
	seq      INTEGER NOT NULL,
	epoch    INTEGER NOT NULL,
	head     BLOB NOT NULL,
	ticket   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE hub_event (
	group_id BLOB NOT NULL REFERENCES hub_group,
	seq      INTEGER NOT NULL,
	receipt  BLOB NOT NULL,
	message  BLOB NOT NULL,
	PRIMARY KEY (group_id, seq)
) STRICT;

-- People. Partition: actor.
CREATE TABLE account (
	actor     TEXT PRIMARY KEY,
	rsa_key   BLOB NOT NULL,
	code_hash BLOB NOT NULL,
	blobs     INTEGER NOT NULL DEFAULT 0 -- bytes that count
) STRICT, WITHOUT ROWID;
CREATE TABLE device (
	actor         TEXT NOT NULL REFERENCES account,
	device        TEXT NOT NULL,
	signature_key BLOB NOT NULL,
	token_hash    BLOB NOT NULL,              -- empty: logged out
	listed        INTEGER NOT NULL DEFAULT 0, -- 1: was in a device list that was published here
	cursor        INTEGER NOT NULL DEFAULT 0,
	waiting       INTEGER NOT NULL DEFAULT 0, -- bytes in the mailbox
	PRIMARY KEY (actor, device)
) STRICT, WITHOUT ROWID;

-- A package leaves its hash when it is claimed, so that an upload repeated late does not offer it again.
CREATE TABLE key_package_seen (
	actor     TEXT NOT NULL,
	device    TEXT NOT NULL,
	hash      BLOB NOT NULL,
	not_after INTEGER NOT NULL, -- seconds
	PRIMARY KEY (actor, device, hash),
	FOREIGN KEY (actor, device) REFERENCES device
) STRICT, WITHOUT ROWID;
CREATE INDEX key_package_seen_end ON key_package_seen (not_after);
CREATE TABLE key_package (
	id        INTEGER PRIMARY KEY AUTOINCREMENT,
	actor     TEXT NOT NULL,
	device    TEXT NOT NULL,
	body      BLOB NOT NULL,
	not_after INTEGER NOT NULL, -- seconds
	FOREIGN KEY (actor, device) REFERENCES device
) STRICT;
CREATE INDEX key_package_queue ON key_package (actor, device, id);
CREATE INDEX key_package_end ON key_package (not_after);
CREATE TABLE last_resort (
	actor     TEXT NOT NULL,
	device    TEXT NOT NULL,
	body      BLOB NOT NULL,
	not_after INTEGER NOT NULL, -- seconds
	PRIMARY KEY (actor, device),
	FOREIGN KEY (actor, device) REFERENCES device
) STRICT;

CREATE TABLE mailbox (
	actor        TEXT NOT NULL,
	device       TEXT NOT NULL,
	cursor       INTEGER NOT NULL,
	size         INTEGER NOT NULL, -- what counts, in bytes
	activity     TEXT NOT NULL,
	sender       TEXT NOT NULL,
	conversation TEXT NOT NULL,
	received     INTEGER NOT NULL,
	receipt      BLOB,
	message      BLOB NOT NULL,
	PRIMARY KEY (actor, device, cursor),
	FOREIGN KEY (actor, device) REFERENCES device
) STRICT;

-- What was done already: by our devices, and by other servers' activities.
CREATE TABLE sent (
	actor     TEXT NOT NULL REFERENCES account,
	id        TEXT NOT NULL,
	body_hash BLOB NOT NULL,
	answer    BLOB NOT NULL,
	at        INTEGER NOT NULL,
	PRIMARY KEY (actor, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sent_at ON sent (at);
CREATE TABLE received (
	activity  TEXT PRIMARY KEY,
	body_hash BLOB NOT NULL,
	at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX received_at ON received (at);

-- What is to be sent. Partition: host. A lane is tried from its oldest row on, one at a time: the host's own lane, or that of one
-- delivery that was set aside. The body comes last: what stands behind it would be read through it.
CREATE TABLE outbox (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	lane       TEXT NOT NULL,
	host       TEXT NOT NULL,
	sender     TEXT NOT NULL,
	recipients TEXT NOT NULL, -- JSON array of actors
	created    INTEGER NOT NULL,
	attempts   INTEGER NOT NULL DEFAULT 0,
	dead       TEXT,          -- why it was given up
	body       BLOB NOT NULL
) STRICT;
CREATE INDEX outbox_queue ON outbox (lane, id) WHERE dead IS NULL;
CREATE INDEX outbox_dead ON outbox (created) WHERE dead IS NOT NULL;
CREATE TABLE outbox_lane (lane TEXT PRIMARY KEY, due INTEGER NOT NULL) STRICT, WITHOUT ROWID; -- those with rows that wait
CREATE INDEX outbox_lane_due ON outbox_lane (due);

CREATE TABLE blob (
	hash  TEXT PRIMARY KEY,
	actor TEXT NOT NULL REFERENCES account, -- who brought it first
	size  INTEGER NOT NULL,
	at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`, `
-- Who is to be erased, and what is left to do of it. Nobody stays in here.
CREATE TABLE erasure (
	actor TEXT PRIMARY KEY,
	step  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
-- Files that nobody accounts for any more.
CREATE TABLE blob_gone (hash TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
-- Who brought a blob that another account had brought before.
CREATE TABLE blob_also (
	hash  TEXT NOT NULL REFERENCES blob,
	actor TEXT NOT NULL REFERENCES account,
	PRIMARY KEY (hash, actor)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_also_actor ON blob_also (actor);
CREATE INDEX blob_actor ON blob (actor);
CREATE INDEX outbox_sender ON outbox (sender);
-- How the requests to a host are signed. Partition: host.
CREATE TABLE host_scheme (
	host   TEXT PRIMARY KEY,
	scheme TEXT NOT NULL,
	learnt INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX host_scheme_learnt ON host_scheme (learnt);
`, `
-- With what they are chosen by inside, the rows of the outbox can be counted without being read.
DROP INDEX outbox_queue;
CREATE INDEX outbox_queue ON outbox (lane, id, dead) WHERE dead IS NULL;
DROP INDEX outbox_dead;
CREATE INDEX outbox_dead ON outbox (created, dead) WHERE dead IS NOT NULL;
-- What says to a sender what it is that did not arrive, and how much waits to be sent: bytes, by host and by sender.
ALTER TABLE outbox ADD COLUMN device TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN conversation TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN message_hash BLOB NOT NULL DEFAULT x'';
ALTER TABLE outbox_lane ADD COLUMN failures INTEGER NOT NULL DEFAULT 0; -- in a row, of the host
CREATE TABLE outbox_load (who TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO outbox_load SELECT host, sum(length(body)) FROM outbox WHERE dead IS NULL GROUP BY host;
INSERT INTO outbox_load SELECT sender, sum(length(body)) FROM outbox WHERE dead IS NULL GROUP BY sender;
-- An item that is no message: what its device has sent and did not arrive, as JSON.
ALTER TABLE mailbox ADD COLUMN undelivered TEXT;
-- Whom and what an account has ever written to: actors, and conversations, of each a hash. Others are strangers to it.
CREATE TABLE acquaintance (
	actor TEXT NOT NULL REFERENCES account,
	who   BLOB NOT NULL,
	PRIMARY KEY (actor, who)
) STRICT, WITHOUT ROWID;
-- One-time packages that were shown to the server of a caller, which may read them again by their URLs for a while.
CREATE TABLE key_package_given (
	actor  TEXT NOT NULL,
	device TEXT NOT NULL,
	hash   BLOB NOT NULL,
	caller TEXT NOT NULL, -- origin
	at     INTEGER NOT NULL,
	body   BLOB NOT NULL,
	PRIMARY KEY (actor, hash),
	FOREIGN KEY (actor, device) REFERENCES device
) STRICT;
CREATE INDEX key_package_given_at ON key_package_given (at);
-- The hub's registers know disputes, other hubs and backups. An event is found by the message hash of its receipt.
ALTER TABLE hub_group ADD COLUMN base INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hub_group ADD COLUMN others BLOB NOT NULL DEFAULT x'';
ALTER TABLE hub_group ADD COLUMN moved BLOB NOT NULL DEFAULT x'';
ALTER TABLE hub_event ADD COLUMN submitted BLOB NOT NULL DEFAULT x''; -- the ticket by which; empty: none, or not known
ALTER TABLE hub_event ADD COLUMN reopened INTEGER NOT NULL DEFAULT 0;
CREATE INDEX hub_event_hash ON hub_event (group_id, substr(receipt, -168, 32));
CREATE TABLE hub_writer (
	group_id BLOB NOT NULL REFERENCES hub_group,
	instance TEXT NOT NULL,
	seq      INTEGER NOT NULL, -- of its newest commit; 0 if it has only disputed
	PRIMARY KEY (group_id, instance)
) STRICT, WITHOUT ROWID;
CREATE INDEX hub_writer_seq ON hub_writer (group_id, seq);
CREATE TABLE hub_dispute (
	group_id BLOB NOT NULL REFERENCES hub_group,
	seq      INTEGER NOT NULL,
	instance TEXT NOT NULL,
	body     BLOB NOT NULL,
	PRIMARY KEY (group_id, seq, instance)
) STRICT, WITHOUT ROWID;
CREATE TABLE hub_elsewhere (
	group_id BLOB PRIMARY KEY REFERENCES hub_group,
	hub      TEXT NOT NULL,
	receipt  BLOB NOT NULL,
	message  BLOB NOT NULL
) STRICT;
CREATE TABLE hub_group_info (
	group_id BLOB NOT NULL REFERENCES hub_group,
	seq      INTEGER NOT NULL,
	term     INTEGER NOT NULL,
	epoch    INTEGER NOT NULL,
	sealed   BLOB NOT NULL,
	PRIMARY KEY (group_id, seq)
) STRICT;
-- Old hubs that have to be told of the term that came after theirs.
CREATE TABLE hub_tell (
	group_id     BLOB NOT NULL REFERENCES hub_group,
	conversation TEXT NOT NULL, -- URL at the old hub
	since        INTEGER NOT NULL,
	receipt      BLOB NOT NULL,
	message      BLOB NOT NULL,
	PRIMARY KEY (group_id, conversation)
) STRICT;
-- Chains of other hubs. Partition: group_id.
CREATE TABLE mirror_hub (
	group_id BLOB NOT NULL,
	term     INTEGER NOT NULL,
	key      BLOB NOT NULL,
	PRIMARY KEY (group_id, term, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE mirror_event (
	group_id BLOB NOT NULL,
	seq      INTEGER NOT NULL,
	term     INTEGER NOT NULL,
	hash     BLOB NOT NULL, -- of the receipt: two of one place are kept, as they are proof
	size     INTEGER NOT NULL,
	receipt  BLOB NOT NULL,
	message  BLOB NOT NULL,
	PRIMARY KEY (group_id, seq, term, hash)
) STRICT;
CREATE INDEX mirror_event_size ON mirror_event (group_id, seq, size);
-- What an account asks of strangers, and who waits to be accepted by it: since when, with how many bytes of messages. What comes from somebody
-- dismissed is counted and not kept. Blocked are hashes, as acquaintances are.
ALTER TABLE account ADD COLUMN consent TEXT NOT NULL DEFAULT 'requests';
CREATE TABLE request (
	actor        TEXT NOT NULL REFERENCES account,
	sender       TEXT NOT NULL,
	origin       TEXT NOT NULL, -- of the sender
	conversation TEXT NOT NULL,
	since        INTEGER NOT NULL,
	bytes        INTEGER NOT NULL DEFAULT 0,
	dismissed    INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (actor, sender)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_conversation ON request (actor, conversation);
CREATE INDEX request_open ON request (actor, origin) WHERE dismissed = 0;
CREATE INDEX request_since ON request (since);
CREATE TABLE blocked (
	actor TEXT NOT NULL REFERENCES account,
	who   BLOB NOT NULL,
	PRIMARY KEY (actor, who)
) STRICT, WITHOUT ROWID;
-- What was set aside, by who has sent it and where to.
CREATE INDEX outbox_aside ON outbox (sender, host, lane) WHERE lane <> host AND dead IS NULL;
-- Branches of registers that have no place there. Seq is that of the receipt that has set them aside.
CREATE TABLE hub_aside (
	group_id BLOB NOT NULL REFERENCES hub_group,
	epoch    INTEGER NOT NULL,
	ticket   BLOB NOT NULL,
	seq      INTEGER NOT NULL,
	PRIMARY KEY (group_id, epoch, seq, ticket)
) STRICT, WITHOUT ROWID;
`}
