package histories_test

import (
	"flag"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A trial is a test that is expected to fail.
type trial struct {
	testing.TB
	failed bool
	said   strings.Builder
}

func (t *trial) Logf(format string, args ...any)   { fmt.Fprintf(&t.said, format+"\n", args...) }
func (t *trial) Log(args ...any)                   { fmt.Fprintln(&t.said, args...) }
func (t *trial) Errorf(format string, args ...any) { t.failed = true; t.Logf(format, args...) }
func (t *trial) Error(args ...any)                 { t.failed = true; t.Log(args...) }
func (t *trial) Fatalf(format string, args ...any) { t.Errorf(format, args...); runtime.Goexit() }
func (t *trial) Fatal(args ...any)                 { t.Error(args...); runtime.Goexit() }
func (t *trial) FailNow()                          { t.failed = true; runtime.Goexit() }
func (t *trial) Fail()                             { t.failed = true }
func (t *trial) Failed() bool                      { return t.failed }

// found runs histories with something wrong in them and returns what the first one that fails says.
func found(t *testing.T, wrong func(*machine)) string {
	shrink := flag.Lookup("rapid.shrinktime")
	before := shrink.Value.String()
	require.NoError(t, shrink.Value.Set("0s"))
	defer func() { require.NoError(t, shrink.Value.Set(before)) }()
	file := flag.Lookup("rapid.nofailfile")
	require.NoError(t, file.Value.Set("true"))
	defer func() { require.NoError(t, file.Value.Set("false")) }()
	tr := &trial{TB: t}
	done := make(chan bool)
	go func() {
		defer close(done)
		rapid.Check(tr, func(rt *rapid.T) { history(rt, wrong) })
	}()
	<-done
	require.True(t, tr.failed, "no history has found it")
	return tr.said.String()
}

// TestCarelessHub: a hub whose register does not compare before it swaps grants two commits of one epoch, and that is found.
func TestCarelessHub(t *testing.T) {
	said := found(t, func(m *machine) {
		for _, n := range m.nodes {
			n.registers.careless = true
		}
	})
	require.Regexp(t, "two receipts for one place|two commits of one epoch", said)
}

// TestHastyDevice: a device that applies its commits before they are ordered is found.
func TestHastyDevice(t *testing.T) {
	require.Regexp(t, "another authenticator|to another epoch", found(t, func(m *machine) { m.agents[1].hasty = true }))
}

// TestForgetfulSidecar: a sidecar that says it has a message and does not write it down is found.
func TestForgetfulSidecar(t *testing.T) {
	require.Contains(t, found(t, func(m *machine) { m.nodes[2].forgets = true }), "has never got")
}

// TestOldPackages: a sidecar that hands out a key package twice is found.
func TestOldPackages(t *testing.T) {
	require.Contains(t, found(t, func(m *machine) { m.nodes[0].wasteful = true }), "handed out twice")
}
