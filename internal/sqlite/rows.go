package sqlite

import (
	"database/sql"
	"errors"
)

// One reads a single row; ok is false if there is none.
func One(row *sql.Row, into ...any) (ok bool, err error) {
	err = row.Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Each calls f for every row of what a query returned, its error among that.
func Each(rows *sql.Rows, err error, f func(*sql.Rows) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
