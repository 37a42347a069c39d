package store

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Counts are of everybody together, for the operator.
type Counts struct {
	MailboxRows int64     // that wait for devices
	Waiting     int64     // deliveries that have not arrived
	Flying      int64     // of them, those that are being tried
	HeldLanes   int64     // hosts that have to wait for their next try, and deliveries set aside
	Dead        int64     // given up, and kept for a while
	Oldest      time.Time // delivery that waits; zero if none does
}

// Count reads indexes through, but no rows: it takes milliseconds for some ten thousand, and is not for every call.
func (s *Store) Count(ctx context.Context, now time.Time) (c Counts, err error) {
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		for _, one := range []struct {
			query string
			args  []any
			into  *int64
		}{
			{"SELECT count(*) FROM mailbox", nil, &c.MailboxRows},
			{"SELECT count(*) FROM outbox WHERE dead IS NULL", nil, &c.Waiting},
			{"SELECT count(*) FROM outbox WHERE dead IS NOT NULL", nil, &c.Dead},
			{"SELECT count(*) FROM outbox_lane WHERE due > ?", []any{now.UnixMilli()}, &c.HeldLanes},
		} {
			if err := tx.QueryRow(one.query, one.args...).Scan(one.into); err != nil {
				return err
			}
		}
		var oldest int64
		some, err := sqlite.One(tx.QueryRow("SELECT created FROM outbox WHERE id = (SELECT min(id) FROM outbox WHERE dead IS NULL)"), &oldest)
		if some {
			c.Oldest = time.UnixMilli(oldest)
		}
		return err
	})
	if err != nil {
		return Counts{}, fmt.Errorf("store: counting: %w", err)
	}
	s.Outbox.leased.mu.Lock()
	c.Flying = int64(len(s.Outbox.leased.ids))
	s.Outbox.leased.mu.Unlock()
	return c, nil
}

// Writable writes something down. Errors are those of [sqlite.Open].
func (s *Store) Writable(ctx context.Context, now time.Time) error {
	err := s.db.Write(ctx, func(w sqlite.Writer) error {
		_, err := w.Exec("INSERT INTO setting (name, value) VALUES ('written', ?1) ON CONFLICT DO UPDATE SET value = excluded.value",
			[]byte(strconv.FormatInt(now.UnixMilli(), 10)))
		return err
	})
	if err != nil {
		return fmt.Errorf("store: trying to write: %w", err)
	}
	return nil
}

// Space is what the folder takes and what is left, in bytes.
type Space struct {
	Database, Journal, Free int64
}

// Space looks at the disk.
func (s *Store) Space() (p Space, err error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &disk); err != nil {
		return p, fmt.Errorf("store: looking at the disk: %w", err)
	}
	p.Free = int64(disk.Bavail) * int64(disk.Bsize)
	path := filepath.Join(s.dir, "waxwingd.db")
	info, err := os.Stat(path)
	if err != nil {
		return p, fmt.Errorf("store: looking at the database: %w", err)
	}
	p.Database = info.Size()
	if info, err := os.Stat(path + "-wal"); err == nil { // which is not there when nobody has written
		p.Journal = info.Size()
	}
	return p, nil
}
