// Package sidecartest is for tests that open many sidecars. No program imports it.
package sidecartest

import (
	"crypto/rsa"
	"sync"
	"sync/atomic"

	"github.com/waxwing-dm/waxwing/sidecar/internal/rsakey"
)

// stocked is how many keys there are: enough that those of one test differ.
const stocked = 32

var (
	stock [stocked]func() (*rsa.PrivateKey, error)
	taken atomic.Uint64
)

func init() {
	for i := range stock {
		stock[i] = sync.OnceValues(rsakey.Fresh)
	}
}

// Key is one of a stock of RSA keys, whose making is slow. They are handed out again and again, in the same order.
func Key() (*rsa.PrivateKey, error) { return stock[taken.Add(1)%stocked]() }

// StockKeys has the sidecars of this process take theirs from the stock, too. Call it before the first is opened.
func StockKeys() { rsakey.New = Key }
