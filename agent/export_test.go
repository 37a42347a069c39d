package agent

import (
	"context"
	"time"

	"github.com/waxwing-dm/waxwing/agent/store/storetest"
	"github.com/waxwing-dm/waxwing/sidecar/sidecartest"
)

// What only costs time here: passphrases, and the sidecars' RSA keys.
func init() {
	storetest.Cheapen()
	sidecartest.StockKeys()
}

// Patience is how long a login waits for the directory.
func (a *Agent) Patience(d time.Duration) { a.patience = d }

// LookAfter is what the agent does every ten minutes.
func (a *Agent) LookAfter(ctx context.Context) error { return a.lookAfter(ctx) }

// Look has it see what time it is.
func (a *Agent) Look() { a.touch() }
