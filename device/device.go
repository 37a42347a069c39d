package device

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/transparency"
)

// A Store keeps a device's rows. The device expects of it:
//
//   - Update runs f in one transaction. If f or the commit fails, no row has changed; if Update returns nil, the rows are durable (they
//     survive a power cut). A ratchet that has stepped must never be seen at its earlier step again.
//   - View runs f on one consistent state and refuses writes.
//   - values are secret: a Store that writes to disk seals them, and the keys too.
type Store interface {
	Update(func(Tx) error) error
	View(func(Tx) error) error
}

// Tx is a Store inside one transaction. Buckets and logs exist as soon as they are named. f of Each and Scan may not write.
type Tx interface {
	Get(bucket, key string) (value []byte, ok bool, err error)
	Put(bucket, key string, value []byte) error
	Delete(bucket, key string) error
	// Each goes through a bucket in the order in which its keys were first put.
	Each(bucket string, f func(key string, value []byte) error) error
	// Append adds to a log; its numbers start at 1 and are never used twice.
	Append(log string, value []byte) (seq uint64, err error)
	// Scan goes through a log in ascending order from the first number above after, at most limit values.
	Scan(log string, after uint64, limit int, f func(seq uint64, value []byte) error) error
}

// Device is one device of one person. It is safe for concurrent use.
type Device struct {
	mu    sync.Mutex // held during a transaction: two calls never start from the same state
	store Store
	rand  io.Reader
	now   func() time.Time
	kept  map[string]*kept // conversations, by id
	lanes lanes            // of the jobs
	atEnd time.Time        // when the mailbox was last read to its end

	policy *transparency.Policy // nil: no witness is asked for
}

// New returns the device that lives in store. rand must be cryptographically secure.
func New(store Store, rand io.Reader, now func() time.Time) *Device {
	return &Device{store: store, rand: rand, now: now, kept: map[string]*kept{}}
}

// A txn is a transaction with what the device's code needs in it.
type txn struct {
	Tx
	rand   io.Reader
	now    time.Time
	policy *transparency.Policy
	before map[string]*kept // conversations in memory before the transaction
	kept   map[string]*kept // those that it has read or written
	lanes  *lanes           // of the jobs as they stand in it
	atEnd  time.Time        // when the mailbox was last read to its end; zero: not since the start
}

func (d *Device) update(f func(*txn) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.run(d.store.Update, d.rand, f)
}

func (d *Device) view(f func(*txn) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.run(d.store.View, noRandom{}, f)
}

// run is one transaction. What it leaves in memory counts only if it went through.
func (d *Device) run(transaction func(func(Tx) error) error, rand io.Reader, f func(*txn) error) error {
	t := &txn{rand: rand, now: d.now(), policy: d.policy, before: d.kept, lanes: &d.lanes, atEnd: d.atEnd}
	err := transaction(func(tx Tx) error {
		t.Tx, t.kept = tx, map[string]*kept{}
		return f(t)
	})
	if err != nil && d.lanes.changed {
		d.lanes.forget()
	}
	d.lanes.changed = false
	d.keep(t, err)
	return err
}

// noRandom stands in for randomness where nothing may be made: what View hands out must not depend on chance.
type noRandom struct{}

func (noRandom) Read([]byte) (int, error) {
	return 0, fmt.Errorf("device: randomness asked for while reading")
}

// row reads a JSON row into v and tells whether there is one.
func (t *txn) row(bucket, key string, v any) (bool, error) {
	b, ok, err := t.Get(bucket, key)
	if err != nil {
		return false, fmt.Errorf("device: reading %s: %w", bucket, err)
	}
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("device: decoding a row of %s: %w", bucket, err)
	}
	return true, nil
}

func (t *txn) putRow(bucket, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("device: encoding a row of %s: %w", bucket, err)
	}
	if err := t.Put(bucket, key, b); err != nil {
		return fmt.Errorf("device: writing %s: %w", bucket, err)
	}
	return nil
}

func (t *txn) appendRow(log string, v any) (uint64, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("device: encoding a row of %s: %w", log, err)
	}
	seq, err := t.Append(log, b)
	if err != nil {
		return 0, fmt.Errorf("device: appending to %s: %w", log, err)
	}
	return seq, nil
}

// millis is a time as our formats write it.
func millis(t time.Time) uint64 {
	return uint64(max(0, t.UnixMilli()))
}

// random returns n fresh bytes.
func (t *txn) random(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(t.rand, b); err != nil {
		return nil, fmt.Errorf("device: reading randomness: %w", err)
	}
	return b, nil
}
