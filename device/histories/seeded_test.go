package histories_test

import (
	"flag"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A trial is a test that is expected to fail. What rapid tells of it is of no interest.
type trial struct {
	testing.TB
	failed bool
}

func (t *trial) Logf(string, ...any)   {}
func (t *trial) Log(...any)            {}
func (t *trial) Errorf(string, ...any) { t.failed = true }
func (t *trial) Error(...any)          { t.failed = true }
func (t *trial) Fatalf(string, ...any) { t.FailNow() }
func (t *trial) Fatal(...any)          { t.FailNow() }
func (t *trial) FailNow()              { t.failed = true; runtime.Goexit() }
func (t *trial) Fail()                 { t.failed = true }
func (t *trial) Failed() bool          { return t.failed }

// A witness notes what a history fails with.
type witness struct {
	require.TestingT
	said *string
}

func (w witness) Errorf(format string, args ...any) {
	if *w.said == "" {
		*w.said = fmt.Sprintf(format, args...)
	}
	w.TestingT.Errorf(format, args...)
}

// found runs histories with something wrong in them and returns what the first one that fails says.
func found(t *testing.T, wrong func(*machine)) string {
	if testing.Short() {
		t.Skip("up to two hundred histories each")
	}
	shrink := flag.Lookup("rapid.shrinktime")
	before := shrink.Value.String()
	require.NoError(t, shrink.Value.Set("0s"))
	defer func() { require.NoError(t, shrink.Value.Set(before)) }()
	file := flag.Lookup("rapid.nofailfile")
	require.NoError(t, file.Value.Set("true"))
	defer func() { require.NoError(t, file.Value.Set("false")) }()
	checks := flag.Lookup("rapid.checks")
	all := checks.Value.String()
	require.NoError(t, checks.Value.Set("200")) // the first that fails is the last
	defer func() { require.NoError(t, checks.Value.Set(all)) }()
	seed := flag.Lookup("rapid.seed")
	number := seed.Value.String()
	require.NoError(t, seed.Value.Set("2"))
	defer func() { require.NoError(t, seed.Value.Set(number)) }()
	tr, said := &trial{TB: t}, ""
	done := make(chan bool)
	go func() {
		defer close(done)
		rapid.Check(tr, func(rt *rapid.T) {
			history(rt, func(m *machine) {
				m.t = witness{m.t, &said}
				wrong(m)
			})
		})
	}()
	<-done
	require.True(t, tr.failed, "no history has found it")
	return said
}

// TestCarelessHub: a hub whose register does not compare before it swaps grants two commits of one epoch, and that is found.
func TestCarelessHub(t *testing.T) {
	said := found(t, func(m *machine) {
		m.only = []string{"race", "settle", "change"}
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
	require.Contains(t, found(t, func(m *machine) { m.only, m.nodes[2].forgets = []string{"say", "settle"}, true }), "has never got")
}

// TestOldPackages: a sidecar that hands out a key package twice is found.
func TestOldPackages(t *testing.T) {
	require.Contains(t, found(t, func(m *machine) { m.only, m.nodes[0].wasteful = []string{"change", "settle", "work all"}, true }), "handed out twice")
}
