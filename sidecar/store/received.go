package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Arrival is an activity of another server that passed all checks.
type Arrival struct {
	Activity string
	BodyHash []byte
	Drops    []Drop
	At       int64 // milliseconds
}

// Accept stores an activity's items together with the row that makes its repetition harmless. duplicate says that it was
// accepted before, with the same body; with another one the error is ErrConflict. ErrNoRoom, ErrNoConsent.
func (m Mailboxes) Accept(ctx context.Context, a Arrival) (duplicate bool, err error) {
	err = m.db.Update(ctx, func(tx *sql.Tx) error {
		var before []byte
		duplicate, err = sqlite.One(tx.QueryRow("SELECT body_hash FROM received WHERE activity = ?", a.Activity), &before)
		switch {
		case err != nil:
			return err
		case duplicate && !bytes.Equal(before, a.BodyHash):
			return ErrConflict
		case duplicate:
			return nil
		}
		if _, err := tx.Exec("INSERT INTO received (activity, body_hash, at) VALUES (?, ?, ?)", a.Activity, a.BodyHash, a.At); err != nil {
			return err
		}
		taken, why := len(a.Drops) == 0, ErrNoConsent
		for _, d := range a.Drops {
			what, err := handOver(tx, d, a.At)
			if err != nil {
				return err
			}
			if taken = taken || what == handedOver; what == noRoom {
				why = ErrNoRoom
			}
		}
		if !taken {
			return why
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("store: accepting an activity: %w", err)
	}
	return duplicate, nil
}

// Residents returns those of the actors that have an account here.
func (a Accounts) Residents(ctx context.Context, actors []string) (here []string, err error) {
	err = a.db.View(ctx, func(tx *sql.Tx) error {
		for _, actor := range actors {
			var n int
			ok, err := sqlite.One(tx.QueryRow("SELECT 1 FROM account WHERE actor = ?", actor), &n)
			if err != nil {
				return err
			}
			if ok {
				here = append(here, actor)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: looking for recipients: %w", err)
	}
	return here, nil
}
