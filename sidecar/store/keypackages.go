package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// MaxOneTime is how many one-time packages are kept for a device; of more, the oldest are let go.
const MaxOneTime = 100

// KeyPackages are what others need to add a person's devices. Partition key: actor.
type KeyPackages struct{ db *sqlite.DB }

// KeyPackage as its device made it.
type KeyPackage struct {
	Body     []byte
	NotAfter uint64 // seconds
}

// Claimed is a package that was handed out.
type Claimed struct {
	Device     string
	Body       []byte
	LastResort bool
}

// Put adds one-time packages and, unless it is nil, replaces the last-resort one. A package that was there before is not added
// again, also not after it was claimed. It returns how many one-time packages can be claimed now.
func (k KeyPackages) Put(ctx context.Context, actor, device string, oneTime []KeyPackage, lastResort *KeyPackage, now time.Time) (count int, err error) {
	err = k.db.Update(ctx, func(tx *sql.Tx) error {
		for _, p := range oneTime {
			if err := putOneTime(tx, actor, device, p); err != nil {
				return err
			}
		}
		if lastResort != nil {
			if _, err := tx.Exec(`INSERT INTO last_resort (actor, device, body, not_after) VALUES (?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET body = excluded.body, not_after = excluded.not_after`,
				actor, device, lastResort.Body, lastResort.NotAfter); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`DELETE FROM key_package WHERE id IN (SELECT id FROM key_package WHERE actor = ? AND device = ?
			ORDER BY id DESC LIMIT -1 OFFSET ?)`, actor, device, MaxOneTime); err != nil {
			return err
		}
		return tx.QueryRow(countFree, actor, device, now.Unix()).Scan(&count)
	})
	if err != nil {
		return 0, fmt.Errorf("store: keeping key packages: %w", err)
	}
	return count, nil
}

const countFree = "SELECT count(*) FROM key_package WHERE actor = ? AND device = ? AND not_after > ?"

func putOneTime(tx *sql.Tx, actor, device string, p KeyPackage) error {
	hash := sha256.Sum256(p.Body)
	seen, err := tx.Exec("INSERT INTO key_package_seen (actor, device, hash, not_after) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
		actor, device, hash[:], p.NotAfter)
	if err != nil {
		return err
	}
	if n, err := seen.RowsAffected(); err != nil || n == 0 {
		return err
	}
	_, err = tx.Exec("INSERT INTO key_package (actor, device, body, not_after) VALUES (?, ?, ?, ?)", actor, device, p.Body, p.NotAfter)
	return err
}

// Count what a device has left.
func (k KeyPackages) Count(ctx context.Context, actor, device string, now time.Time) (oneTime int, lastResort bool, err error) {
	err = k.db.View(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRow(countFree, actor, device, now.Unix()).Scan(&oneTime); err != nil {
			return err
		}
		return tx.QueryRow("SELECT count(*) > 0 FROM last_resort WHERE actor = ? AND device = ? AND not_after > ?",
			actor, device, now.Unix()).Scan(&lastResort)
	})
	if err != nil {
		return 0, false, fmt.Errorf("store: counting key packages: %w", err)
	}
	return oneTime, lastResort, nil
}

// Claim hands out one package of each of these devices that has any: a one-time one, which is gone by the time Claim returns, or
// else the last-resort one.
func (k KeyPackages) Claim(ctx context.Context, actor string, devices []string, now time.Time) (claimed []Claimed, err error) {
	err = k.db.Update(ctx, func(tx *sql.Tx) error {
		claimed = nil
		for _, device := range devices {
			c, ok, err := claim(tx, actor, device, now)
			if err != nil {
				return err
			}
			if ok {
				claimed = append(claimed, c)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: claiming key packages: %w", err)
	}
	return claimed, nil
}

// Give is Claim for a caller that reads a package again by its hash afterwards; see Given. caller is an origin.
func (k KeyPackages) Give(ctx context.Context, actor string, devices []string, caller string, now time.Time) (given []Claimed, err error) {
	err = k.db.Update(ctx, func(tx *sql.Tx) error {
		given = nil
		for _, device := range devices {
			c, ok, err := claim(tx, actor, device, now)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			given = append(given, c)
			if c.LastResort {
				continue
			}
			hash := sha256.Sum256(c.Body)
			if _, err := tx.Exec("INSERT INTO key_package_given (actor, device, hash, caller, at, body) VALUES (?, ?, ?, ?, ?, ?)",
				actor, device, hash[:], caller, now.UnixMilli(), c.Body); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: giving key packages: %w", err)
	}
	return given, nil
}

// Given finds a package by its hash that was given to that caller a while ago at most. ErrNotFound.
func (k KeyPackages) Given(ctx context.Context, actor string, hash []byte, caller string, now time.Time) (body []byte, err error) {
	err = k.db.View(ctx, func(tx *sql.Tx) error {
		ok, err := sqlite.One(tx.QueryRow("SELECT body FROM key_package_given WHERE actor = ? AND hash = ? AND caller = ? AND at >= ?",
			actor, hash, caller, now.Add(-keepGiven).UnixMilli()), &body)
		if err == nil && !ok {
			return ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading a key package that was given: %w", err)
	}
	return body, nil
}

// claim takes a one-time package out in one statement, so that no two callers can see the same one.
func claim(tx *sql.Tx, actor, device string, now time.Time) (Claimed, bool, error) {
	c := Claimed{Device: device}
	ok, err := sqlite.One(tx.QueryRow(`DELETE FROM key_package WHERE id = (SELECT id FROM key_package
		WHERE actor = ? AND device = ? AND not_after > ? ORDER BY id LIMIT 1) RETURNING body`, actor, device, now.Unix()), &c.Body)
	if ok || err != nil {
		return c, ok, err
	}
	return lastResort(tx, actor, device, now)
}

func lastResort(tx *sql.Tx, actor, device string, now time.Time) (Claimed, bool, error) {
	c := Claimed{Device: device, LastResort: true}
	ok, err := sqlite.One(tx.QueryRow("SELECT body FROM last_resort WHERE actor = ? AND device = ? AND not_after > ?", actor, device, now.Unix()), &c.Body)
	return c, ok, err
}

// LastResort lists the last-resort packages of these devices.
func (k KeyPackages) LastResort(ctx context.Context, actor string, devices []string, now time.Time) (packages []Claimed, err error) {
	err = k.db.View(ctx, func(tx *sql.Tx) error {
		for _, device := range devices {
			p, ok, err := lastResort(tx, actor, device, now)
			if err != nil {
				return err
			}
			if ok {
				packages = append(packages, p)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading last-resort packages: %w", err)
	}
	return packages, nil
}
