package store_test

import (
	"database/sql"
	"encoding/binary"
	"fmt"
	"testing"

	_ "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/store"
	"github.com/waxwing-dm/waxwing/device"
)

// raw is somebody else with the file in hand.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func query(t *testing.T, path, query string, into ...any) {
	t.Helper()
	require.NoError(t, raw(t, path).QueryRow(query).Scan(into...))
}

func tamper(t *testing.T, path, statements string, args ...any) {
	t.Helper()
	db := raw(t, path)
	_, err := db.Exec(statements, args...)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

// tamperable has the rows 1 and 2 in one bucket, 3 in another, and three entries in each of two logs.
func tamperable(t *testing.T) (path string) {
	s, path := create(t)
	update(t, s, func(tx device.Tx) {
		put(t, tx, "CANARY-bucket", "CANARY-key1", "CANARY-value", "CANARY-key2", "CANARY-value")
		put(t, tx, "CANARY-other", "CANARY-key1", "CANARY-value")
		for range 3 {
			for _, log := range []string{"CANARY-log", "CANARY-log2"} {
				_, err := tx.Append(log, []byte("CANARY-entry"))
				require.NoError(t, err)
			}
		}
	})
	require.NoError(t, s.Close())
	return path
}

// readAll goes through everything in the way that is asked for, and returns the first error.
func readAll(tx device.Tx, by string) error {
	switch by {
	case "get":
		for _, at := range [][2]string{{"CANARY-bucket", "CANARY-key1"}, {"CANARY-bucket", "CANARY-key2"}, {"CANARY-other", "CANARY-key1"}} {
			if _, _, err := tx.Get(at[0], at[1]); err != nil {
				return err
			}
		}
	case "each":
		for _, bucket := range []string{"CANARY-bucket", "CANARY-other"} {
			if err := tx.Each(bucket, func(string, []byte) error { return nil }); err != nil {
				return err
			}
		}
	case "scan":
		for _, log := range []string{"CANARY-log", "CANARY-log2"} {
			if err := tx.Scan(log, 0, 10, func(uint64, []byte) error { return nil }); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestTamperedRows(t *testing.T) {
	const flip = "SET value = cast(substr(value, 1, 30) || x'%s' || substr(value, 32) AS BLOB)"
	for name, c := range map[string]struct {
		table      string
		by         []string
		statements string
	}{
		"values swapped": {"item", []string{"get", "each"}, `CREATE TEMP TABLE v AS SELECT ord, value FROM item;
			UPDATE item SET value = (SELECT value FROM v WHERE v.ord = 3 - item.ord) WHERE ord IN (1, 2)`},
		"keys swapped": {"item", []string{"get", "each"}, `CREATE TEMP TABLE v AS SELECT ord, key FROM item;
			UPDATE item SET key = randomblob(32) WHERE ord IN (1, 2);
			UPDATE item SET key = (SELECT key FROM v WHERE v.ord = 3 - item.ord) WHERE ord IN (1, 2)`},
		"turns swapped": {"item", []string{"get", "each"},
			"UPDATE item SET ord = 9 WHERE ord = 1; UPDATE item SET ord = 1 WHERE ord = 2; UPDATE item SET ord = 2 WHERE ord = 9"},
		"turn moved":       {"item", []string{"get", "each"}, "UPDATE item SET ord = 9 WHERE ord = 1"},
		"value of another": {"item", []string{"get", "each"}, "UPDATE item SET value = (SELECT value FROM item WHERE ord = 1) WHERE ord = 3"},
		"moved to another bucket": {"item", []string{"get", "each"},
			"UPDATE item SET bucket = (SELECT bucket FROM item WHERE ord = 3) WHERE ord = 1"},
		"moved to no bucket": {"item", []string{"get"}, "UPDATE item SET bucket = randomblob(32) WHERE ord = 1"},
		"copied to another bucket": {"item", []string{"each"}, `INSERT INTO item (ord, bucket, key, value)
			SELECT 9, (SELECT bucket FROM item WHERE ord = 3), randomblob(32), value FROM item WHERE ord = 1`},
		"copied within a bucket": {"item", []string{"each"},
			"INSERT INTO item (ord, bucket, key, value) SELECT 9, bucket, randomblob(32), value FROM item WHERE ord = 1"},
		"key changed":   {"item", []string{"each"}, "UPDATE item SET key = randomblob(32) WHERE ord = 1"},
		"flipped":       {"item", []string{"get", "each"}, "UPDATE item " + fmt.Sprintf(flip, "00") + "; UPDATE item " + fmt.Sprintf(flip, "01") + " WHERE ord = 2"},
		"cut":           {"item", []string{"get", "each"}, "UPDATE item SET value = substr(value, 1, length(value) - 1)"},
		"cut to nonce":  {"item", []string{"get", "each"}, "UPDATE item SET value = substr(value, 1, 24)"},
		"emptied":       {"item", []string{"get", "each"}, "UPDATE item SET value = x''"},
		"grown":         {"item", []string{"get", "each"}, "UPDATE item SET value = cast(value || x'00' AS BLOB)"},
		"entry as item": {"item", []string{"get", "each"}, "UPDATE item SET value = (SELECT value FROM entry LIMIT 1)"},

		"item as entry":    {"entry", []string{"scan"}, "UPDATE entry SET value = (SELECT value FROM item LIMIT 1)"},
		"entry flipped":    {"entry", []string{"scan"}, "UPDATE entry " + fmt.Sprintf(flip, "00") + "; UPDATE entry " + fmt.Sprintf(flip, "01") + " WHERE seq = 2"},
		"entry emptied":    {"entry", []string{"scan"}, "UPDATE entry SET value = x'' WHERE seq = 3"},
		"entry renumbered": {"entry", []string{"scan"}, "UPDATE entry SET seq = 4 WHERE seq = 3"},
		"entry repeated": {"entry", []string{"scan"},
			"INSERT INTO entry (log, seq, value) SELECT log, 4, value FROM entry WHERE seq = 3"},
		"entries swapped": {"entry", []string{"scan"},
			"UPDATE entry SET seq = 9 WHERE seq = 1; UPDATE entry SET seq = 1 WHERE seq = 2; UPDATE entry SET seq = 2 WHERE seq = 9"},
		"entry of another log": {"entry", []string{"scan"},
			"UPDATE entry SET value = (SELECT value FROM entry e WHERE e.seq = entry.seq AND e.log <> entry.log) WHERE seq = 2"},
		"first entry gone":  {"entry", []string{"scan"}, "DELETE FROM entry WHERE seq = 1"},
		"middle entry gone": {"entry", []string{"scan"}, "DELETE FROM entry WHERE seq = 2"},
	} {
		t.Run(name, func(t *testing.T) {
			path := tamperable(t)
			tamper(t, path, c.statements)
			s := open(t, path)
			for _, by := range c.by {
				read := func(tx device.Tx) error { return readAll(tx, by) }
				for _, err := range []error{s.View(read), s.Update(read)} {
					require.ErrorIs(t, err, store.ErrTampered, by)
					require.ErrorContains(t, err, "table "+c.table)
					require.NotContains(t, err.Error(), "CANARY")
				}
			}
		})
	}
}

// TestEveryBit changes each byte of a sealed row.
func TestEveryBit(t *testing.T) {
	path := tamperable(t)
	s := open(t, path)
	read := func(tx device.Tx) error { return readAll(tx, "get") }
	require.NoError(t, s.View(read))
	db := raw(t, path)
	var value []byte
	require.NoError(t, db.QueryRow("SELECT value FROM item WHERE ord = 1").Scan(&value))
	for i := range value {
		value[i] ^= 1 << (i % 8)
		_, err := db.Exec("UPDATE item SET value = ? WHERE ord = 1", value)
		require.NoError(t, err)
		require.ErrorIs(t, s.View(read), store.ErrTampered, "byte %d", i)
		value[i] ^= 1 << (i % 8)
	}
	_, err := db.Exec("UPDATE item SET value = ? WHERE ord = 1", value)
	require.NoError(t, err)
	require.NoError(t, s.View(read), "the control: unchanged, it opens")
}

func TestHeaderRefused(t *testing.T) {
	store.UseRealCost(t)
	path := tamperable(t)
	var whole []byte
	query(t, path, "SELECT header FROM vault", &whole)
	require.Equal(t, []uint32{3, 64 << 10, 4},
		[]uint32{binary.BigEndian.Uint32(whole[1:]), binary.BigEndian.Uint32(whole[5:]), uint32(whole[9])}, "what a guess costs")
	set := func(at int, bytes ...byte) []byte {
		h := append([]byte(nil), whole...)
		copy(h[at:], bytes)
		return h
	}
	for name, c := range map[string]struct {
		header []byte
		want   error
	}{
		"version 0":         {set(0, 0), store.ErrTampered},
		"version 1":         {set(0, 1), store.ErrOlder},
		"version 3":         {set(0, 3), store.ErrTampered},
		"no pass":           {set(1, 0, 0, 0, 0), store.ErrTampered},
		"fewer passes":      {set(1, 0, 0, 0, 2), store.ErrTampered},
		"many passes":       {set(1, 0, 0, 0, 17), store.ErrTampered},
		"passes for ever":   {set(1, 255, 255, 255, 255), store.ErrTampered},
		"no memory":         {set(5, 0, 0, 0, 0), store.ErrTampered},
		"less memory":       {set(5, 0, 0, 255, 255), store.ErrTampered},
		"more than 512 MiB": {set(5, 0, 8, 0, 1), store.ErrTampered},
		"all memory":        {set(5, 255, 255, 255, 255), store.ErrTampered},
		"no thread":         {set(9, 0), store.ErrTampered},
		"many threads":      {set(9, 17), store.ErrTampered},
		"cut":               {whole[:len(whole)-1], store.ErrTampered},
		"empty":             {[]byte{}, store.ErrTampered},
		"grown":             {append(set(0, 2), 0), store.ErrTampered},
		"very large":        {make([]byte, 10<<20), store.ErrTampered},

		"more passes":  {set(1, 0, 0, 0, 4), store.ErrPassphrase},
		"more memory":  {set(5, 0, 1, 0, 8), store.ErrPassphrase},
		"other thread": {set(9, 3), store.ErrPassphrase},
		"other salt":   {set(10, whole[10]^1), store.ErrPassphrase},
		"other nonce":  {set(26, whole[26]^1), store.ErrPassphrase},
		"other key":    {set(50, whole[50]^1), store.ErrPassphrase},
		"other tag":    {set(97, whole[97]^1), store.ErrPassphrase},
	} {
		t.Run(name, func(t *testing.T) {
			tamper(t, path, "UPDATE vault SET header = ?", c.header)
			_, err := store.Open(path, passphrase)
			require.ErrorIs(t, err, c.want)
		})
	}
	tamper(t, path, "DELETE FROM vault")
	_, err := store.Open(path, passphrase)
	require.ErrorIs(t, err, store.ErrTampered, "without a header")
	tamper(t, path, "INSERT INTO vault (id, header) VALUES (1, ?)", whole)
	require.NoError(t, open(t, path).View(func(tx device.Tx) error { return readAll(tx, "get") }), "the control: unchanged, it opens")
}
