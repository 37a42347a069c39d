package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Schemes is a federation.Schemes. Partition key: host.
type Schemes struct{ db *sqlite.DB }

// Scheme of a host; "" if nothing is known of it.
func (s Schemes) Scheme(ctx context.Context, host string) (scheme federation.Scheme, learnt time.Time, err error) {
	var at int64
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		_, err := sqlite.One(tx.QueryRow("SELECT scheme, learnt FROM host_scheme WHERE host = ?", host), &scheme, &at)
		return err
	})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("store: reading a host's signature scheme: %w", err)
	}
	return scheme, time.UnixMilli(at), nil
}

// SetScheme of a host; what was known before is forgotten.
func (s Schemes) SetScheme(ctx context.Context, host string, scheme federation.Scheme, learnt time.Time) error {
	err := s.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO host_scheme (host, scheme, learnt) VALUES (?, ?, ?)
			ON CONFLICT (host) DO UPDATE SET scheme = excluded.scheme, learnt = excluded.learnt`, host, string(scheme), learnt.UnixMilli())
		return err
	})
	if err != nil {
		return fmt.Errorf("store: keeping a host's signature scheme: %w", err)
	}
	return nil
}
