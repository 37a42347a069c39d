package device_test

import (
	"errors"
	"slices"

	"github.com/waxwing-dm/waxwing/device"
)

// memory is a Store that forgets at the end of the process. A failed Update is undone; fail, if set, is asked at each commit.
type memory struct {
	buckets map[string]*bucket
	logs    map[string][][]byte
	fail    func() (before, after bool)
	updates int
	reads   int      // rows handed out
	writes  []string // buckets of the rows that were put or deleted
}

type bucket struct {
	keys   []string
	values map[string][]byte
}

var errDisk = errors.New("disk: not today")

func newMemory() *memory {
	return &memory{buckets: map[string]*bucket{}, logs: map[string][][]byte{}}
}

func (m *memory) Update(f func(device.Tx) error) error {
	tx := &memoryTx{m: m}
	err := f(tx)
	m.updates++
	lost := false
	if err == nil && m.fail != nil {
		var before bool
		if before, lost = m.fail(); before {
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

func (m *memory) View(f func(device.Tx) error) error { return f(&memoryTx{m: m, readonly: true}) }

type memoryTx struct {
	m        *memory
	readonly bool
	undo     []func()
}

func (tx *memoryTx) bucket(name string) *bucket {
	b, ok := tx.m.buckets[name]
	if !ok {
		b = &bucket{values: map[string][]byte{}}
		tx.m.buckets[name] = b
	}
	return b
}

func (tx *memoryTx) Get(name, key string) ([]byte, bool, error) {
	v, ok := tx.bucket(name).values[key]
	tx.m.reads++
	return slices.Clone(v), ok, nil
}

func (tx *memoryTx) write() {
	if tx.readonly {
		panic("a write while reading")
	}
}

func (tx *memoryTx) Put(name, key string, value []byte) error {
	tx.write()
	tx.m.writes = append(tx.m.writes, name)
	b := tx.bucket(name)
	old, ok := b.values[key]
	keys := slices.Clone(b.keys)
	if !ok {
		b.keys = append(b.keys, key)
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

func (tx *memoryTx) Delete(name, key string) error {
	tx.write()
	b := tx.bucket(name)
	old, ok := b.values[key]
	if !ok {
		return nil
	}
	tx.m.writes = append(tx.m.writes, name)
	keys := slices.Clone(b.keys)
	b.keys = slices.DeleteFunc(b.keys, func(k string) bool { return k == key })
	delete(b.values, key)
	tx.undo = append(tx.undo, func() { b.keys, b.values[key] = keys, old })
	return nil
}

func (tx *memoryTx) Each(name string, f func(string, []byte) error) error {
	b := tx.bucket(name)
	for _, k := range slices.Clone(b.keys) {
		tx.m.reads++
		if err := f(k, slices.Clone(b.values[k])); err != nil {
			return err
		}
	}
	return nil
}

func (tx *memoryTx) Append(log string, value []byte) (uint64, error) {
	tx.write()
	old := tx.m.logs[log]
	tx.m.logs[log] = append(slices.Clone(old), slices.Clone(value))
	tx.undo = append(tx.undo, func() { tx.m.logs[log] = old })
	return uint64(len(old) + 1), nil
}

func (tx *memoryTx) Scan(log string, after uint64, limit int, f func(uint64, []byte) error) error {
	for i, v := range tx.m.logs[log] {
		if seq := uint64(i + 1); seq > after && limit > 0 {
			limit--
			if err := f(seq, slices.Clone(v)); err != nil {
				return err
			}
		}
	}
	return nil
}
