package witnessing

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// store is the memory of a witness and of its auditor. Every method is one transaction.
type store struct{ db *sqlite.DB }

var errFull = errors.New("no more logs are taken in here")

// State is that of witness.Store.
func (s store) State(ctx context.Context, originHash [32]byte) (state witness.State, ok bool, err error) {
	var root []byte
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		ok, err = sqlite.One(tx.QueryRow("SELECT origin, size, root, time, audited, note FROM state WHERE origin_hash = ?", originHash[:]),
			&state.Origin, &state.Size, &root, &state.Time, &state.Audited, &state.Note)
		return err
	})
	if err != nil || !ok {
		return witness.State{}, false, wrap(err, "reading what was cosigned last")
	}
	if len(root) != tlog.HashSize {
		return witness.State{}, false, fmt.Errorf("witnessing: reading what was cosigned last: %w", sqlite.ErrDamaged)
	}
	state.Root = tlog.Hash(root)
	return state, true, nil
}

// Swap is that of witness.Store: the comparison is inside the statement that writes.
func (s store) Swap(ctx context.Context, old, next witness.State) (swapped bool, err error) {
	id := witness.OriginHash(next.Origin)
	err = s.db.Update(ctx, func(tx *sql.Tx) error {
		result, err := swap(tx, id[:], old, next)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		swapped = n == 1
		return err
	})
	if err != nil {
		return false, wrap(err, "keeping what is to be cosigned")
	}
	return swapped, nil
}

func swap(tx *sql.Tx, id []byte, old, next witness.State) (sql.Result, error) {
	if old.Time == 0 {
		return tx.Exec("INSERT INTO state (origin_hash, origin, size, root, time, audited, note) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			id, next.Origin, next.Size, next.Root[:], next.Time, next.Audited, next.Note)
	}
	return tx.Exec("UPDATE state SET size = ?, root = ?, time = ?, audited = ?, note = ? WHERE origin_hash = ? AND size = ? AND time = ?",
		next.Size, next.Root[:], next.Time, next.Audited, next.Note, id, old.Size, old.Time)
}

// setting returns what stands under a name, writing fresh there first if nothing does.
func (s store) setting(ctx context.Context, name string, fresh []byte) (value []byte, err error) {
	err = s.db.Update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec("INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", name, fresh); err != nil {
			return err
		}
		return tx.QueryRow("SELECT value FROM setting WHERE name = ?", name).Scan(&value)
	})
	return value, wrap(err, "reading the setting "+name)
}

// host is the one that the folder is of; the first one given stays.
func (s store) host(ctx context.Context, given string) (host string, err error) {
	err = s.db.Update(ctx, func(tx *sql.Tx) error {
		var value []byte
		ok, err := sqlite.One(tx.QueryRow("SELECT value FROM setting WHERE name = 'host'"), &value)
		if host = string(value); err != nil || ok || given == "" {
			return err
		}
		host = given
		_, err = tx.Exec("INSERT INTO setting (name, value) VALUES ('host', ?)", []byte(given))
		return err
	})
	return host, wrap(err, "reading whose witness this is")
}

// logs are all that are pinned.
func (s store) logs(ctx context.Context) (all []pinned, err error) {
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT id, origin, instance, key, vrf, url FROM log ORDER BY id")
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var p pinned
			err := rows.Scan(&p.id, &p.Origin, &p.instance, &p.Key, &p.VRF, &p.url)
			all = append(all, p)
			return err
		})
	})
	return all, wrap(err, "reading the pinned logs")
}

// pin keeps a log if its instance has none here, and gives what is pinned for the instance. One that names another origin, key or
// VRF key than before is written down beside it; fresh says that this is so for the first time.
func (s store) pin(ctx context.Context, p pinned, now int64) (kept pinned, fresh bool, err error) {
	err = s.db.Update(ctx, func(tx *sql.Tx) error {
		ok, err := sqlite.One(tx.QueryRow("SELECT id, origin, instance, key, vrf, url FROM log WHERE instance = ? AND current = 1", p.instance),
			&kept.id, &kept.Origin, &kept.instance, &kept.Key, &kept.VRF, &kept.url)
		switch {
		case err != nil:
			return err
		case !ok:
			kept, err = insertLog(tx, p, now)
			return err
		case kept.same(p):
			kept.url = p.url
			_, err := tx.Exec("UPDATE log SET url = ? WHERE id = ? AND url <> ?", p.url, kept.id, p.url)
			return err
		}
		fresh, err = insertOtherwise(tx, p, now)
		return err
	})
	return kept, fresh, wrap(err, "pinning the log of "+p.instance)
}

func insertLog(tx *sql.Tx, p pinned, now int64) (pinned, error) {
	var n int
	if err := tx.QueryRow("SELECT count(*) FROM log").Scan(&n); err != nil {
		return pinned{}, err
	}
	if n >= maxLogs {
		return pinned{}, errFull
	}
	result, err := tx.Exec("INSERT INTO log (origin, instance, key, vrf, url, pinned) VALUES (?, ?, ?, ?, ?, ?)", p.Origin, p.instance, p.Key, p.VRF, p.url, now)
	if err != nil {
		return pinned{}, err
	}
	p.id, err = result.LastInsertId()
	return p, err
}

// maxOtherwise is how many other logs of one instance are written down; the first ones tell enough.
const maxOtherwise = 10

func insertOtherwise(tx *sql.Tx, p pinned, now int64) (fresh bool, err error) {
	result, err := tx.Exec(`INSERT INTO log_otherwise (instance, origin, key, vrf, url, seen) SELECT ?1, ?2, ?3, ?4, ?5, ?6
		WHERE (SELECT count(*) FROM log_otherwise WHERE instance = ?1) < ?7 ON CONFLICT DO NOTHING`, p.instance, p.Origin, p.Key, p.VRF, p.url, now, maxOtherwise)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// accept makes what an instance named otherwise, by that key, its log. What was cosigned of an origin stays, whatever its key.
func (s store) accept(ctx context.Context, instance, key string, now int64) (ok bool, err error) {
	err = s.db.Update(ctx, func(tx *sql.Tx) error {
		p := pinned{instance: instance}
		ok, err = sqlite.One(tx.QueryRow("SELECT origin, key, vrf, url FROM log_otherwise WHERE instance = ? AND key = ?", instance, key), &p.Origin, &p.Key, &p.VRF, &p.url)
		if err != nil || !ok {
			return err
		}
		for _, q := range []string{"DELETE FROM log_otherwise WHERE instance = ?", "UPDATE log SET current = 0 WHERE instance = ?"} {
			if _, err := tx.Exec(q, instance); err != nil {
				return err
			}
		}
		result, err := tx.Exec("UPDATE log SET key = ?, vrf = ?, url = ?, pinned = ?, current = 1 WHERE origin = ?", p.Key, p.VRF, p.url, now, p.Origin)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 1 {
			return err
		}
		_, err = insertLog(tx, p, now)
		return err
	})
	return ok, wrap(err, "accepting another log of "+instance)
}

// otherwise are the instances that name another log than the pinned one.
func (s store) otherwise(ctx context.Context) (all []Changed, err error) {
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT o.instance, l.key, o.key, o.seen FROM log_otherwise o JOIN log l ON l.instance = o.instance AND l.current = 1 ORDER BY o.seen, o.instance, o.key")
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var c Changed
			err := rows.Scan(&c.Instance, &c.Pinned, &c.Named, &c.Since)
			all = append(all, c)
			return err
		})
	})
	return all, wrap(err, "reading which logs are named otherwise")
}

// entries of an audited log from an index on, at most count.
func (s store) entries(ctx context.Context, log, from, count int64) (all [][]byte, err error) {
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT entry FROM entry WHERE log = ? AND idx >= ? ORDER BY idx LIMIT ?", log, from, count)
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var e []byte
			err := rows.Scan(&e)
			all = append(all, e)
			return err
		})
	})
	return all, wrap(err, "reading the audited entries")
}

// audited keeps entries that were audited. Another process on the same folder may have been faster with the same ones.
func (s store) audited(ctx context.Context, log, from int64, entries [][]byte) error {
	err := s.db.Update(ctx, func(tx *sql.Tx) error {
		insert, err := tx.Prepare("INSERT INTO entry (log, idx, entry) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
		if err != nil {
			return err
		}
		defer insert.Close()
		for i, e := range entries {
			if _, err := insert.Exec(log, from+int64(i), e); err != nil {
				return err
			}
		}
		return nil
	})
	return wrap(err, "keeping the audited entries")
}

// forgetEntries lets an audit begin anew.
func (s store) forgetEntries(ctx context.Context, log int64) error {
	err := s.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM entry WHERE log = ?", log)
		return err
	})
	return wrap(err, "forgetting the audited entries")
}

// stop keeps where an audit ended. The first one stays.
func (s store) stop(ctx context.Context, log int64, stop Stopped, entry, checkpoint []byte) error {
	err := s.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO stop (log, idx, reason, entry, checkpoint, time) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			log, stop.Entry, stop.Reason, entry, checkpoint, stop.Since)
		return err
	})
	return wrap(err, "keeping where an audit ended")
}

// stops are all audits that ended, in the order of their logs.
func (s store) stops(ctx context.Context) (all []Stopped, err error) {
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT l.origin, s.idx, s.reason, s.checkpoint, s.entry, s.time FROM stop s JOIN log l ON l.id = s.log ORDER BY s.log")
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var d Stopped
			var checkpoint []byte
			err := rows.Scan(&d.Origin, &d.Entry, &d.Reason, &checkpoint, &d.Bytes, &d.Since)
			d.Checkpoint = string(checkpoint)
			all = append(all, d)
			return err
		})
	})
	return all, wrap(err, "reading which audits ended")
}

// split keeps the first evidence against a log; fresh says that there was none.
func (s store) split(ctx context.Context, log int64, evidence []byte, now int64) (fresh bool, err error) {
	err = s.db.Update(ctx, func(tx *sql.Tx) error {
		result, err := tx.Exec("INSERT INTO split (log, evidence, time) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", log, evidence, now)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		fresh = n == 1
		return err
	})
	return fresh, wrap(err, "keeping the evidence against a log")
}

func (s store) splits(ctx context.Context) (all []Split, err error) {
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT l.origin, s.evidence, s.time FROM split s JOIN log l ON l.id = s.log ORDER BY s.log")
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var d Split
			var evidence []byte
			err := rows.Scan(&d.Origin, &evidence, &d.Since)
			d.Evidence = string(evidence)
			all = append(all, d)
			return err
		})
	})
	return all, wrap(err, "reading the evidence against logs")
}

func wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("witnessing: %s: %w", doing, err)
}
