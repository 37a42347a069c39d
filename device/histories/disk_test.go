package histories_test

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/waxwing-dm/waxwing/device"
)

var errDisk = errors.New("disk: not today")

// A disk is a device.Store that outlives the process. crash, if set, is asked at each commit whether the process dies before or after it.
type disk struct {
	buckets map[string]*bucket
	logs    map[string][][]byte
	crash   func() (before, after bool)
}

type bucket struct {
	keys   []string
	values map[string][]byte
}

func newDisk() *disk { return &disk{buckets: map[string]*bucket{}, logs: map[string][][]byte{}} }

func (d *disk) Update(f func(device.Tx) error) error {
	tx := &transaction{disk: d}
	err := f(tx)
	lost := false
	if err == nil && d.crash != nil {
		var before bool
		if before, lost = d.crash(); before {
			err = errDisk
		}
	}
	if err != nil {
		for _, undo := range slices.Backward(tx.undo) {
			undo()
		}
		return err
	}
	if lost {
		return errDisk
	}
	return nil
}

func (d *disk) View(f func(device.Tx) error) error { return f(&transaction{disk: d, readonly: true}) }

func (d *disk) bucket(name string) *bucket {
	b, ok := d.buckets[name]
	if !ok {
		b = &bucket{values: map[string][]byte{}}
		d.buckets[name] = b
	}
	return b
}

// row reads what the device wrote down under a key, for those who look into it from outside.
func (d *disk) row(name, key string, v any) bool {
	b, ok := d.bucket(name).values[key]
	return ok && json.Unmarshal(b, v) == nil
}

type transaction struct {
	*disk
	readonly bool
	undo     []func()
}

func (tx *transaction) Get(name, key string) ([]byte, bool, error) {
	v, ok := tx.bucket(name).values[key]
	return slices.Clone(v), ok, nil
}

func (tx *transaction) write() {
	if tx.readonly {
		panic("a write while reading")
	}
}

func (tx *transaction) Put(name, key string, value []byte) error {
	tx.write()
	b := tx.bucket(name)
	old, ok := b.values[key]
	keys := b.keys
	if !ok {
		b.keys = append(slices.Clip(b.keys), key)
	}
	b.values[key] = slices.Clone(value)
	tx.undo = append(tx.undo, func() {
		b.keys = keys
		if b.values[key] = old; !ok {
			delete(b.values, key)
		}
	})
	return nil
}

func (tx *transaction) Delete(name, key string) error {
	tx.write()
	b := tx.bucket(name)
	old, ok := b.values[key]
	if !ok {
		return nil
	}
	keys := b.keys
	b.keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == key })
	delete(b.values, key)
	tx.undo = append(tx.undo, func() { b.keys, b.values[key] = keys, old })
	return nil
}

func (tx *transaction) Each(name string, f func(string, []byte) error) error {
	b := tx.bucket(name)
	for _, k := range b.keys {
		if err := f(k, slices.Clone(b.values[k])); err != nil {
			return err
		}
	}
	return nil
}

func (tx *transaction) Append(log string, value []byte) (uint64, error) {
	tx.write()
	old := tx.logs[log]
	tx.logs[log] = append(slices.Clip(old), slices.Clone(value))
	tx.undo = append(tx.undo, func() { tx.logs[log] = old })
	return uint64(len(old) + 1), nil
}

func (tx *transaction) Scan(log string, after uint64, limit int, f func(uint64, []byte) error) error {
	list := tx.logs[log]
	for i := after; i < uint64(len(list)) && limit > 0; i++ {
		limit--
		if err := f(i+1, slices.Clone(list[i])); err != nil {
			return err
		}
	}
	return nil
}
