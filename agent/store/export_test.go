package store

import (
	"testing"

	"github.com/waxwing-dm/waxwing/agent/store/internal/passphrase"
	"github.com/waxwing-dm/waxwing/agent/store/storetest"
)

var realCost = passphrase.Least

func init() { storetest.Cheapen() }

// UseRealCost makes passphrases cost what they do outside tests.
func UseRealCost(t *testing.T) {
	quick := passphrase.Least
	passphrase.Least = realCost
	t.Cleanup(func() { passphrase.Least = quick })
}
