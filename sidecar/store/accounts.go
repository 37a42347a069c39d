package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// maxDevices of one account; the same as in a device list.
const maxDevices = 100

// Accounts are the people of a stand-alone sidecar and the devices that have logged in. Partition key: actor.
type Accounts struct{ db *sqlite.DB }

// Account of a person.
type Account struct {
	Actor    string
	RSAKey   []byte // PKCS #8; signs HTTP requests in the actor's name
	CodeHash []byte // of the login code
}

// Device is a token's holder.
type Device struct {
	Actor        string
	ID           string
	SignatureKey []byte
}

// Add an account. ErrExists; ErrErasing while one of that name is.
func (a Accounts) Add(ctx context.Context, account Account) error {
	err := a.db.Update(ctx, func(tx *sql.Tx) error {
		var step int
		if erasing, err := sqlite.One(tx.QueryRow("SELECT step FROM erasure WHERE actor = ?", account.Actor), &step); err != nil || erasing {
			return orElse(err, ErrErasing)
		}
		done, err := tx.Exec("INSERT INTO account (actor, rsa_key, code_hash) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
			account.Actor, account.RSAKey, account.CodeHash)
		return changed(done, err, ErrExists)
	})
	if err != nil {
		return fmt.Errorf("store: adding an account: %w", err)
	}
	return nil
}

// SetCode gives an account another login code; the old one is void. ErrNotFound.
func (a Accounts) SetCode(ctx context.Context, actor string, codeHash []byte) error {
	err := a.db.Update(ctx, func(tx *sql.Tx) error {
		done, err := tx.Exec("UPDATE account SET code_hash = ? WHERE actor = ?", codeHash, actor)
		return changed(done, err, ErrNotFound)
	})
	if err != nil {
		return fmt.Errorf("store: changing a login code: %w", err)
	}
	return nil
}

// changed turns "no row was touched" into an error.
func changed(done sql.Result, err error, none error) error {
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return none
}

// Get an account. ErrNotFound.
func (a Accounts) Get(ctx context.Context, actor string) (account Account, err error) {
	err = a.db.View(ctx, func(tx *sql.Tx) error {
		ok, err := sqlite.One(tx.QueryRow("SELECT actor, rsa_key, code_hash FROM account WHERE actor = ?", actor),
			&account.Actor, &account.RSAKey, &account.CodeHash)
		if err == nil && !ok {
			return ErrNotFound
		}
		return err
	})
	if err != nil {
		return Account{}, fmt.Errorf("store: reading an account: %w", err)
	}
	return account, nil
}

// AddDevice lets a device in under a token; a token it had before is void. ErrTooMany.
func (a Accounts) AddDevice(ctx context.Context, d Device, tokenHash []byte) error {
	err := a.db.Update(ctx, func(tx *sql.Tx) error {
		var others int
		if err := tx.QueryRow("SELECT count(*) FROM device WHERE actor = ? AND device <> ? AND token_hash <> x''", d.Actor, d.ID).Scan(&others); err != nil {
			return err
		}
		if others >= maxDevices {
			return ErrTooMany
		}
		_, err := tx.Exec(`INSERT INTO device (actor, device, signature_key, token_hash) VALUES (?, ?, ?, ?)
			ON CONFLICT (actor, device) DO UPDATE SET token_hash = excluded.token_hash`, d.Actor, d.ID, d.SignatureKey, tokenHash)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: adding a device: %w", err)
	}
	return nil
}

// Listed says which devices are in the list that the actor has just published. Who was in an earlier one and is not in this is
// logged out, with all that is kept for it: a token must not outlive the place in the list that it was for. The row stays, for
// its cursor.
func (a Accounts) Listed(ctx context.Context, actor string, devices []string) error {
	ids, err := json.Marshal(devices)
	if err != nil {
		return err
	}
	const gone = "SELECT device FROM device WHERE actor = ?1 AND listed = 1 AND device NOT IN (SELECT value FROM json_each(?2))"
	err = a.db.Update(ctx, func(tx *sql.Tx) error {
		for _, step := range []string{
			"UPDATE device SET listed = 1 WHERE actor = ?1 AND device IN (SELECT value FROM json_each(?2))",
			"DELETE FROM mailbox WHERE actor = ?1 AND device IN (" + gone + ")",
			"DELETE FROM key_package WHERE actor = ?1 AND device IN (" + gone + ")",
			"DELETE FROM key_package_given WHERE actor = ?1 AND device IN (" + gone + ")",
			"DELETE FROM last_resort WHERE actor = ?1 AND device IN (" + gone + ")",
			"UPDATE device SET token_hash = x'', waiting = 0, listed = 0 WHERE actor = ?1 AND device IN (" + gone + ")",
		} {
			if _, err := tx.Exec(step, actor, string(ids)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: logging devices out: %w", err)
	}
	return nil
}

// orElse is err, or what it would be if nothing had gone wrong.
func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// HasDevice says whether a device is logged in.
func (a Accounts) HasDevice(ctx context.Context, actor, device string) (has bool, err error) {
	err = a.db.View(ctx, func(tx *sql.Tx) error {
		return tx.QueryRow("SELECT count(*) > 0 FROM device WHERE actor = ? AND device = ? AND token_hash <> x''", actor, device).Scan(&has)
	})
	if err != nil {
		return false, fmt.Errorf("store: looking for a device: %w", err)
	}
	return has, nil
}

// Device of a token. ErrNotFound.
func (a Accounts) Device(ctx context.Context, actor string, tokenHash []byte) (d Device, err error) {
	err = a.db.View(ctx, func(tx *sql.Tx) error {
		ok, err := sqlite.One(tx.QueryRow("SELECT actor, device, signature_key FROM device WHERE actor = ? AND token_hash = ? AND token_hash <> x''", actor, tokenHash),
			&d.Actor, &d.ID, &d.SignatureKey)
		if err == nil && !ok {
			return ErrNotFound
		}
		return err
	})
	if err != nil {
		return Device{}, fmt.Errorf("store: looking for a device: %w", err)
	}
	return d, nil
}
