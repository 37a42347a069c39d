package store

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"math"
)

// txn is a device.Tx.
type txn struct {
	sql      *sql.Tx
	keys     *keys
	forbid   error                // why nothing may be written now
	prepared map[string]*sql.Stmt // closed with the transaction
}

// prepare compiles a statement once for many rows: a device writes groups record by record.
func (t *txn) prepare(query string) (*sql.Stmt, error) {
	if s, ok := t.prepared[query]; ok {
		return s, nil
	}
	s, err := t.sql.Prepare(query)
	if err == nil {
		t.prepared[query] = s
	}
	return s, err
}

func (t *txn) Get(bucket, key string) (value []byte, ok bool, err error) {
	at := place{table: "item", hash: t.keys.item(bucket, key)}
	var group, sealed []byte
	err = t.sql.QueryRow("SELECT ord, bucket, value FROM item WHERE key = ?", at.hash).Scan(&at.number, &group, &sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("store: reading a row: %w", err)
	}
	if !bytes.Equal(group, t.keys.bucket(bucket)) {
		return nil, false, at.tampered() // Each would miss it
	}
	_, value, err = t.keys.openItem(at, bucket, sealed)
	return value, err == nil, err
}

func (t *txn) Put(bucket, key string, value []byte) error {
	if t.forbid != nil {
		return t.forbid
	}
	at := place{table: "item", hash: t.keys.item(bucket, key)}
	// A key that is there keeps its turn, a new one comes after all.
	turn, err := t.prepare("SELECT coalesce((SELECT ord FROM item WHERE key = ?), (SELECT max(ord) FROM item) + 1, 1)")
	if err == nil {
		err = turn.QueryRow(at.hash).Scan(&at.number)
	}
	if err != nil {
		return fmt.Errorf("store: writing a row: %w", err)
	}
	write, err := t.prepare(`INSERT INTO item (ord, bucket, key, value) VALUES (?, ?, ?, ?)
		ON CONFLICT (key) DO UPDATE SET bucket = excluded.bucket, value = excluded.value`)
	if err == nil {
		_, err = write.Exec(at.number, t.keys.bucket(bucket), at.hash, t.keys.sealItem(at, bucket, key, value))
	}
	if err != nil {
		return fmt.Errorf("store: writing a row: %w", err)
	}
	return nil
}

func (t *txn) Delete(bucket, key string) error {
	if t.forbid != nil {
		return t.forbid
	}
	remove, err := t.prepare("DELETE FROM item WHERE key = ?")
	if err == nil {
		_, err = remove.Exec(t.keys.item(bucket, key))
	}
	if err != nil {
		return fmt.Errorf("store: deleting a row: %w", err)
	}
	return nil
}

func (t *txn) Each(bucket string, f func(key string, value []byte) error) error {
	rows, err := t.sql.Query("SELECT ord, key, value FROM item WHERE bucket = ? ORDER BY ord", t.keys.bucket(bucket))
	return t.walk(rows, err, func() error {
		at := place{table: "item"}
		var sealed []byte
		if err := rows.Scan(&at.number, &at.hash, &sealed); err != nil {
			return fmt.Errorf("store: reading rows: %w", err)
		}
		key, value, err := t.keys.openItem(at, bucket, sealed)
		if err != nil {
			return err
		}
		return f(key, value)
	})
}

func (t *txn) Append(log string, value []byte) (seq uint64, err error) {
	if t.forbid != nil {
		return 0, t.forbid
	}
	at := place{table: "entry", hash: t.keys.log(log)}
	if err := t.sql.QueryRow("SELECT coalesce(max(seq), 0) + 1 FROM entry WHERE log = ?", at.hash).Scan(&at.number); err != nil {
		return 0, fmt.Errorf("store: appending: %w", err)
	}
	if _, err := t.sql.Exec("INSERT INTO entry (log, seq, value) VALUES (?, ?, ?)", at.hash, at.number, t.keys.seal(at, value)); err != nil {
		return 0, fmt.Errorf("store: appending: %w", err)
	}
	return uint64(at.number), nil
}

func (t *txn) Scan(log string, after uint64, limit int, f func(seq uint64, value []byte) error) error {
	if after >= math.MaxInt64 || limit <= 0 {
		return nil
	}
	at := place{table: "entry", hash: t.keys.log(log), number: int64(after)}
	rows, err := t.sql.Query("SELECT seq, value FROM entry WHERE log = ? AND seq > ? ORDER BY seq LIMIT ?", at.hash, at.number, limit)
	return t.walk(rows, err, func() error {
		var seq int64
		var sealed []byte
		if err := rows.Scan(&seq, &sealed); err != nil {
			return fmt.Errorf("store: reading rows: %w", err)
		}
		if at.number++; seq != at.number {
			return at.tampered() // entries are never deleted
		}
		value, err := t.keys.open(at, sealed)
		if err != nil {
			return err
		}
		return f(uint64(seq), value)
	})
}

// walk goes through rows as they come, holding one at a time; f may read others meanwhile. What it wrote could come up again in
// these same rows or not, so that is refused.
func (t *txn) walk(rows *sql.Rows, err error, f func() error) error {
	if err != nil {
		return fmt.Errorf("store: reading rows: %w", err)
	}
	defer rows.Close()
	if before := t.forbid; before == nil {
		t.forbid = errWalking
		defer func() { t.forbid = before }()
	}
	for rows.Next() {
		if err := f(); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("store: reading rows: %w", err)
	}
	return nil
}
