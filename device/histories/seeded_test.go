package histories_test

import (
	"flag"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
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
	forgets := func(plain bool) func(device.Incoming) bool {
		return func(item device.Incoming) bool {
			m, err := mls.ParseMessage(item.Message)
			return err == nil && m.ContentType() == mls.ContentApplication && plain == (item.Conversation == "")
		}
	}
	require.Contains(t, found(t, func(m *machine) { m.only, m.nodes[2].forgets = []string{"say", "settle"}, forgets(false) }), "has never got")
	require.Contains(t, found(t, func(m *machine) { m.only, m.nodes[0].forgets = []string{"plain", "settle"}, forgets(true) }), "has never got the plain")
}

// TestOldPackages: a sidecar that hands out a key package twice is found.
func TestOldPackages(t *testing.T) {
	require.Contains(t, found(t, func(m *machine) { m.only, m.nodes[0].wasteful = []string{"change", "settle", "work all"}, true }), "handed out twice")
}

// TestNostalgicDevice: a device that encrypts for an epoch that is over, with who has been put out since, is found.
func TestNostalgicDevice(t *testing.T) {
	require.Contains(t, found(t, func(m *machine) {
		m.only, m.agents[1].nostalgic = []string{"say", "change", "settle"}, true
		m.agents[1].saves[m.ids[0]] = 0 // it is looked at again
		m.observe(m.agents[1])
	}), "for an epoch before")
}

// TestConfidant: somebody who is not in the conversation, or not any more, and has a member's keys is found.
func TestConfidant(t *testing.T) {
	for name, whom := range map[string]int{"who never was in it": 4, "who was put out": 2} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, found(t, func(m *machine) {
				m.only, m.agents[1].confidant = []string{"say", "change", "settle"}, m.agents[whom]
			}), "which is not for them")
		})
	}
}

// TestGenerousDevice: a device that encrypts what it wrote anew for those who came later is found.
func TestGenerousDevice(t *testing.T) {
	require.Contains(t, found(t, func(m *machine) {
		m.only, m.agents[1].generous = []string{"say", "change", "settle"}, true
	}), "encrypted anew for")
}

// TestGrumpyDevice: a device that disputes what others apply is found.
func TestGrumpyDevice(t *testing.T) {
	require.Contains(t, found(t, func(m *machine) { m.only, m.agents[2].grumpy = []string{"change", "settle"}, true }), "a commit was refused")
}

// TestStutteringProgram: what is sent twice is found.
func TestStutteringProgram(t *testing.T) {
	require.Contains(t, found(t, func(m *machine) { m.only, m.agents[1].stutters = []string{"say", "settle"}, true }), "twice")
}

// TestSilentHub: a hub that shows nobody the way back is found.
func TestSilentHub(t *testing.T) {
	require.Contains(t, found(t, func(m *machine) {
		m.only = []string{"break", "change", "settle", "settle more"}
		for _, n := range m.nodes {
			n.silent = true
		}
	}), "it has not come back")
}
