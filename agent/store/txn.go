package store

import (
	"database/sql"
	"errors"
	"fmt"
)

// txn is a device.Tx.
type txn struct {
	sql      *sql.Tx
	keys     *keys
	readOnly bool
}

func (t *txn) Get(bucket, key string) (value []byte, ok bool, err error) {
	at := t.keys.item(bucket, key)
	var sealed []byte
	err = t.sql.QueryRow("SELECT value FROM item WHERE bucket = ? AND key = ?", at.group, at.name).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("store: reading a row: %w", err)
	}
	_, value, err = t.keys.openItem(at, sealed)
	return value, err == nil, err
}

func (t *txn) Put(bucket, key string, value []byte) error {
	if t.readOnly {
		return errReadOnly
	}
	at := t.keys.item(bucket, key)
	_, err := t.sql.Exec("INSERT INTO item (bucket, key, value) VALUES (?, ?, ?) ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value",
		at.group, at.name, t.keys.sealItem(at, key, value))
	if err != nil {
		return fmt.Errorf("store: writing a row: %w", err)
	}
	return nil
}

func (t *txn) Delete(bucket, key string) error {
	if t.readOnly {
		return errReadOnly
	}
	at := t.keys.item(bucket, key)
	if _, err := t.sql.Exec("DELETE FROM item WHERE bucket = ? AND key = ?", at.group, at.name); err != nil {
		return fmt.Errorf("store: deleting a row: %w", err)
	}
	return nil
}

func (t *txn) Each(bucket string, f func(key string, value []byte) error) error {
	group := t.keys.group("bucket", bucket)
	rows, err := t.sql.Query("SELECT key, value FROM item WHERE bucket = ? ORDER BY ord", group)
	return each(rows, err, func() error {
		at := place{table: "item", group: group}
		var sealed []byte
		if err := rows.Scan(&at.name, &sealed); err != nil {
			return err
		}
		key, value, err := t.keys.openItem(at, sealed)
		if err != nil {
			return err
		}
		return f(key, value)
	})
}

func (t *txn) Append(log string, value []byte) (seq uint64, err error) {
	if t.readOnly {
		return 0, errReadOnly
	}
	group := t.keys.group("log", log)
	if err := t.sql.QueryRow("SELECT coalesce(max(seq), 0) + 1 FROM entry WHERE log = ?", group).Scan(&seq); err != nil {
		return 0, fmt.Errorf("store: appending: %w", err)
	}
	if _, err := t.sql.Exec("INSERT INTO entry (log, seq, value) VALUES (?, ?, ?)", group, seq, t.keys.seal(entryPlace(group, seq), value)); err != nil {
		return 0, fmt.Errorf("store: appending: %w", err)
	}
	return seq, nil
}

func (t *txn) Scan(log string, after uint64, limit int, f func(seq uint64, value []byte) error) error {
	group := t.keys.group("log", log)
	if after > maxSeq {
		return nil
	}
	rows, err := t.sql.Query("SELECT seq, value FROM entry WHERE log = ? AND seq > ? ORDER BY seq LIMIT ?", group, after, max(0, limit))
	return each(rows, err, func() error {
		var seq uint64
		var sealed []byte
		if err := rows.Scan(&seq, &sealed); err != nil {
			return err
		}
		value, err := t.keys.open(entryPlace(group, seq), sealed)
		if err != nil {
			return err
		}
		return f(seq, value)
	})
}

const maxSeq = 1<<63 - 1 // what a column holds

// each goes through rows as they come; f may read others meanwhile.
func each(rows *sql.Rows, err error, f func() error) error {
	if err != nil {
		return fmt.Errorf("store: reading rows: %w", err)
	}
	defer rows.Close()
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
