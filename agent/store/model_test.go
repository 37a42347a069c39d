package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/device"
)

// forgetful is a store that is closed and opened again before each transaction.
type forgetful struct {
	t    *testing.T
	path string
}

func (f forgetful) Update(do func(device.Tx) error) error {
	s := open(f.t, f.path)
	return errors.Join(s.Update(do), s.Close())
}

func (f forgetful) View(do func(device.Tx) error) error {
	s := open(f.t, f.path)
	return errors.Join(s.View(do), s.Close())
}

// unjoined lets an error of f be compared as the contract has it.
type unjoined struct{ device.Store }

func (u unjoined) Update(do func(device.Tx) error) error { return first(u.Store.Update(do)) }
func (u unjoined) View(do func(device.Tx) error) error   { return first(u.Store.View(do)) }

func first(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()[0]
	}
	return err
}

func TestConformance(t *testing.T) {
	conformance(t, func(t *testing.T) device.Store { s, _ := create(t); return s })
}

func TestConformanceReopened(t *testing.T) {
	conformance(t, func(t *testing.T) device.Store {
		s, path := create(t)
		require.NoError(t, s.Close())
		return unjoined{forgetful{t, path}}
	})
}

// TestLikeAModel does at random what a slice of pairs does too.
func TestLikeAModel(t *testing.T) {
	s, _ := create(t)
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		round++
		bucket := fmt.Sprint("bucket", round)
		var model [][2]string
		for range rapid.IntRange(1, 4).Draw(r, "transactions") {
			next, failed := append([][2]string(nil), model...), errors.New("failed")
			err := s.Update(func(tx device.Tx) error {
				for range rapid.IntRange(0, 6).Draw(r, "steps") {
					key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "key")
					at := find(next, key)
					if rapid.Bool().Draw(r, "put") {
						value := rapid.StringN(0, 5, -1).Draw(r, "value")
						require.NoError(r, tx.Put(bucket, key, []byte(value)))
						if at < 0 {
							next = append(next, [2]string{key, value})
						} else {
							next[at][1] = value
						}
					} else {
						require.NoError(r, tx.Delete(bucket, key))
						if at >= 0 {
							next = append(next[:at:at], next[at+1:]...)
						}
					}
				}
				if rapid.Bool().Draw(r, "fail") {
					return failed
				}
				return nil
			})
			if err == nil {
				model = next
			}
			var want []string
			for _, row := range model {
				want = append(want, row[0]+"="+row[1])
			}
			view(t, s, func(tx device.Tx) { require.Equal(r, want, all(t, tx, bucket)) })
		}
	})
}

func find(rows [][2]string, key string) int {
	for i, row := range rows {
		if row[0] == key {
			return i
		}
	}
	return -1
}
