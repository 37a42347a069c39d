package sqlite

// Waiting is how many callers of Update wait for their turn.
func (db *DB) Waiting() int { return int(db.turns.waiting.Load()) }
