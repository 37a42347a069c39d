// Package sidecartest is for tests that open many sidecars. No program imports it.
package sidecartest

import (
	"crypto/rsa"
	"sync"
	"sync/atomic"

	"github.com/waxwing-dm/waxwing/sidecar/internal/rsakey"
)

// stocked is how many keys there are: enough that those of one test differ.
const stocked = 16

// StockKeys has sidecars of this process take their RSA keys, whose making is slow, from a stock, again and again in the same order. Call it
// before the first is opened.
func StockKeys() {
	var stock [stocked]func() (*rsa.PrivateKey, error)
	for i := range stock {
		stock[i] = sync.OnceValues(rsakey.Fresh)
	}
	var taken atomic.Uint64
	rsakey.New = func() (*rsa.PrivateKey, error) { return stock[taken.Add(1)%stocked]() }
}
