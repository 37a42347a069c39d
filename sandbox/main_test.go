package sandbox_test

import (
	"os"
	"testing"

	"github.com/waxwing-dm/waxwing/agent/store/storetest"
	"github.com/waxwing-dm/waxwing/sidecar/sidecartest"
)

// TestMain leaves out what only costs time here: passphrases, and RSA keys.
func TestMain(m *testing.M) {
	storetest.Cheapen()
	sidecartest.StockKeys()
	os.Exit(m.Run())
}
