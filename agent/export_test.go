package agent

import "time"

// Patience is how long a login waits for the directory.
func (a *Agent) Patience(d time.Duration) { a.patience = d }
